"""Make cdnow_purchases.csv from the package lifetimes: pip install --no-deps lifetimes==0.11.3."""

from importlib.metadata import files
from pathlib import Path

import pandas as pd

# The file has no header. The master number is that of the customer among all 23,570.
NAMES = ["master_number", "customer", "date", "n_cds", "amount_usd"]


def main() -> None:
    # Importing the package would need more than its files, so this finds the file without import.
    (source,) = (file for file in files("lifetimes") if file.name == "CDNOW_sample.txt")
    purchases = pd.read_csv(
        source.locate(), sep=r"\s+", header=None, names=NAMES, dtype={"date": str}
    )
    purchases["date"] = pd.to_datetime(purchases["date"], format="%Y%m%d")
    path = Path(__file__).with_name("cdnow_purchases.csv")
    columns = ["customer", "date", "n_cds", "amount_usd"]
    purchases.to_csv(path, columns=columns, index=False, lineterminator="\n", float_format="%.2f")
    print(f"{path}: {len(purchases)} purchases of {purchases['customer'].nunique()} customers")


if __name__ == "__main__":
    main()
