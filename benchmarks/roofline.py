"""The minimum time of one Lloyd iteration on a GPU, by a formula; needs no GPU.

``python benchmarks/roofline.py`` prints the tables of ``docs/roofline.md``, and with ``--write``
puts them there.
"""

import argparse
import math
import re
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "GRID",
    "H100",
    "QUICK_GRID",
    "Design",
    "Rates",
    "Size",
    "aimed_at",
    "binding",
    "design_of",
    "floor_s",
    "padded_columns",
    "padded_features",
    "page_tables",
    "reach_s",
]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "roofline.md"


class Size(NamedTuple):
    """One problem of the benchmark grid.

    Parameters
    ----------
    name : str
    n_points, n_features, n_clusters : int
    """

    name: str
    n_points: int
    n_features: int
    n_clusters: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points, features, clusters."""
        return self.n_points, self.n_features, self.n_clusters


class Rates(NamedTuple):
    """What a device can do.

    Parameters
    ----------
    name : str
    gemm : dict of int to float
        Floating-point operations a second in a matrix product, by bytes of a number.
    bandwidth : float
        Bytes a second to and from device memory.
    half_products : float
        Operations a second of half-precision products in a kernel of `mma.sync` that chooses too.
    choices : float
        Instructions a second of those that compare and choose.
    """

    name: str
    gemm: dict[int, float]
    bandwidth: float
    half_products: float
    choices: float


class Design(NamedTuple):
    """How for_cupy/labels.py does one iteration.

    Parameters
    ----------
    path : {"one pass", "certified", "chain"}
    n_launches : int
        Kernels and memsets.
    n_bytes : int
        Read from and written to device memory.
    """

    path: str
    n_launches: int
    n_bytes: int


GRID = (
    Size("100k x 16, k=8", 100_000, 16, 8),
    Size("1M x 2, k=10", 1_000_000, 2, 10),
    Size("1M x 16, k=100", 1_000_000, 16, 100),
    Size("200k x 128, k=256", 200_000, 128, 256),
    Size("500k x 3, k=64", 500_000, 3, 64),
    Size("100k x 768, k=1000", 100_000, 768, 1000),
    Size("1797 x 64, k=10 (digits)", 1797, 64, 10),
    Size("500 x 4, k=5 (tiny)", 500, 4, 5),
    Size("10M x 16, k=16", 10_000_000, 16, 16),
    Size("1M x 128, k=1024", 1_000_000, 128, 1024),
)

#: Microseconds of an iteration that the certified kernels were to take when they were designed, of
#: float32 and (many sets) float16: from the same assumed rates, before there were kernels.
AIMS = {
    "1M x 2, k=10": (12, 12),
    "500k x 3, k=64": (12, 15),
    "10M x 16, k=16": (235, 235),
    "1M x 16, k=100": (55, 55),
    "200k x 128, k=256": (100, 100),
    "1M x 128, k=1024": (1000, 1250),
    "100k x 768, k=1000": (800, 1050),
}
BATCH = Size("131072 x 128, k=1000, 32 sets of float16", 131_072, 128, 1000)
N_SETS = 32
BATCH_AIM = (4000, 4700)

#: numbers of problems for one call of `k_means_batched`, and the size of each
PROBLEMS = (
    (1000, Size("500 x 8, k=8", 500, 8, 8)),
    (100, Size("500 x 64, k=20", 500, 64, 20)),
    (200, Size("2000 x 64, k=64", 2000, 64, 64)),
    (100, Size("5000 x 128, k=256", 5000, 128, 256)),
    (30, Size("20k x 128, k=256", 20_000, 128, 256)),
)

#: sizes of some ways that an iteration is done, small enough for any machine
QUICK_GRID = (Size("quick, few features", 500, 4, 5), Size("quick, many features", 300, 80, 7))

#: NVIDIA's datasheet for the H100 SXM: float32 and float64 without tensor cores, HBM3. Products of
#: halves: assumed, not measured; 990e12 by the datasheet, of which cuBLAS reaches 0.75 and
#: `mma.sync` can reach some 0.62. Choices: 132 multiprocessors, 64 a clock, 1.755 GHz.
H100 = Rates("H100 SXM", {4: 67e12, 8: 34e12}, 3.35e12, 350e12, 14.8e12)

#: Assumed, not measured: seconds that a launch takes of a queue of small kernels.
LAUNCH_S = (2.5e-6, 5e-6)

#: Assumed, not measured: parts of the datasheet's rates that the design reaches. The one-pass
#: kernel chooses and adds up beside its multiply-adds; a tiled kernel that waits for its loads
#: reaches less than cuBLAS, which reaches 0.7.
EFFICIENCY = {"one pass": 0.5, "chain": 0.5}
#: Instructions that choose, for each score on tensor cores.
CHOOSING = 5
#: Assumed of all rows: left to the chain. docs/design.md has what was counted.
DOUBTFUL = 0.02
READ_EFFICIENCY = 0.85

# Bounds of for_cupy, said again so that this runs without CuPy; a test holds them equal.
_SHARED_BYTES = 96 * 2**10
_PART_ROWS = 2**24
_WIDTHS = (2, 4, 8, 16, 32, 64)
_MOST_BYTES_OF_TWO = 64
_LEAST_SORTED = (16, 52, 2**28)
_MOST_BATCHED = 2**22
_THREADS = 256
_DEPTHS = (16, 32, 64, 128)
_WIDE_DEPTH = 64
_COLUMNS = 128
_NARROW_COLUMNS = 16  # up to 128 features
_LEAST_FEATURES = 8
_LEAST_CLUSTERS = 16
_LEAST_WORK = 2**26


def floor_s(
    n_points: int,
    n_features: int,
    n_clusters: int,
    itemsize: int,
    gemm_rate: float,
    bandwidth: float,
) -> float:
    """Return max(2 n k d / GEMM rate, n d itemsize / bandwidth), in seconds."""
    return max(
        _gemm_s(n_points, n_features, n_clusters, gemm_rate),
        _read_s(n_points, n_features, itemsize, bandwidth),
    )


def binding(
    n_points: int,
    n_features: int,
    n_clusters: int,
    itemsize: int,
    gemm_rate: float,
    bandwidth: float,
) -> str:
    """Return which of the two the floor is: "GEMM" or "bandwidth"."""
    gemm = _gemm_s(n_points, n_features, n_clusters, gemm_rate)
    return "GEMM" if gemm > _read_s(n_points, n_features, itemsize, bandwidth) else "bandwidth"


def design_of(n_points: int, n_features: int, n_clusters: int, itemsize: int) -> Design:
    """Return how for_cupy/labels.py does an iteration of this size on data with an origin."""
    data = n_points * n_features * itemsize
    if is_one_pass(n_points, n_features, n_clusters, itemsize):
        # The step, its merge, the means; the signals by themselves where clusters are many.
        return Design("one pass", 3 if n_clusters <= 128 else 4, data)
    # Labels: centroids made ready, then a launch or more. Rows sorted by label, then summed with
    # the means that follow; the sums read the rows again, labels and places twice.
    n_bytes = 2 * data + 12 * n_points
    if not is_certified(n_points, n_features, n_clusters, itemsize):
        is_few = _few_bytes(n_features, n_clusters, itemsize) <= _SHARED_BYTES
        return Design("chain", 3 if is_few else 4, n_bytes)
    # Halves of more than 128 features are written too, but stay in the L2 cache.
    return Design("certified", 3 + -(-n_points // _PART_ROWS), n_bytes)


def is_certified(n_points: int, n_features: int, n_clusters: int, itemsize: int) -> bool:
    """Return whether labels are made by tensor cores."""
    return (
        itemsize < 8
        and n_features >= _LEAST_FEATURES
        and n_clusters >= _LEAST_CLUSTERS
        and n_points * n_features * n_clusters >= _LEAST_WORK
    )


def padded_features(n_features: int) -> int:
    """Return how many features tensor cores multiply."""
    in_whole = -(-n_features // _WIDE_DEPTH) * _WIDE_DEPTH
    return next((depth for depth in _DEPTHS if depth >= n_features), in_whole)


def padded_columns(n_features: int, n_clusters: int) -> int:
    """Return how many centroids tensor cores multiply with a row."""
    columns = _NARROW_COLUMNS if n_features <= _DEPTHS[-1] else _COLUMNS
    return -(-n_clusters // columns) * columns


def is_one_pass(n_points: int, n_features: int, n_clusters: int, itemsize: int) -> bool:
    """Return whether an iteration reads the rows once: it could, and no other way is faster."""
    if not fits_one_pass(n_features, n_clusters, itemsize):
        return False
    width = next(width for width in _WIDTHS if width >= n_features)
    least_width, clusters, work = _LEAST_SORTED
    return not (
        width >= least_width
        and n_clusters >= clusters
        and n_points * n_features * n_clusters >= work
        and n_points * n_features > _MOST_BATCHED
        and is_certified(n_points, n_features, n_clusters, itemsize)
    )


def fits_one_pass(n_features: int, n_clusters: int, itemsize: int) -> bool:
    """Return whether a tile of rows, the centroids and one set of sums fit shared memory."""
    weights_and_labels = (itemsize + 4) * _tile_rows(n_features, itemsize)
    sums = 8 * n_clusters * (n_features + 1)
    values = _few_bytes(n_features, n_clusters, itemsize)
    return values + weights_and_labels + sums <= _SHARED_BYTES


def _few_bytes(n_features: int, n_clusters: int, itemsize: int) -> float:
    """Return what a tile of rows and the centroids take, where a thread can have a row."""
    width = next((width for width in _WIDTHS if width >= n_features), math.inf)
    return itemsize * (width + 1) * (_tile_rows(n_features, itemsize) + n_clusters)


def _tile_rows(n_features: int, itemsize: int) -> int:
    width = next((width for width in _WIDTHS if width >= n_features), math.inf)
    return 2 * _THREADS if width * itemsize <= _MOST_BYTES_OF_TWO else _THREADS


def reach_s(size: Size, itemsize: int, rates: Rates, n_problems: int = 1) -> float:
    """Return what an iteration should take by the assumptions above, in seconds.

    The launches for several problems are those for one.
    """
    launching = design_of(*size.shape, itemsize).n_launches * sum(LAUNCH_S) / 2
    return max(n_problems * _work_s(size, itemsize, rates), launching)


def _work_s(size: Size, itemsize: int, rates: Rates) -> float:
    shape = size.shape
    design = design_of(*shape, itemsize)
    gemm_rate = rates.gemm[max(itemsize, 4)]  # halves are computed in float32
    moving = design.n_bytes / (READ_EFFICIENCY * rates.bandwidth)
    if design.path == "one pass":
        return max(_gemm_s(*shape, EFFICIENCY[design.path] * gemm_rate), moving)
    # Labels first, then sums, which are memory's.
    in_chain = _gemm_s(*shape, EFFICIENCY["chain"] * gemm_rate)
    reading = _read_s(size.n_points, size.n_features, itemsize, READ_EFFICIENCY * rates.bandwidth)
    if design.path == "chain":
        labels = max(in_chain, reading)
    else:
        n_scores = size.n_points * padded_columns(size.n_features, size.n_clusters)
        products = 2.0 * n_scores * padded_features(size.n_features) / rates.half_products
        choosing = n_scores * CHOOSING / rates.choices
        # Of more than 128 features a block reads its rows first, and then multiplies.
        is_wide = padded_features(size.n_features) not in _DEPTHS
        multiplying = max(products, choosing)
        labels = multiplying + reading if is_wide else max(multiplying, reading)
        labels += DOUBTFUL * in_chain
    return labels + moving - reading


def aimed_at(rates: Rates = H100) -> dict[str, tuple[float, float]]:
    """Return the least time that was aimed at for each size, and what it should reach; seconds."""
    found = {
        size.name: (AIMS[size.name][0] * 1e-6, reach_s(size, 4, rates))
        for size in GRID
        if size.name in AIMS
    }
    return found | {BATCH.name: (BATCH_AIM[0] * 1e-6, N_SETS * reach_s(BATCH, 2, rates))}


def page_tables(rates: Rates = H100) -> str:
    """Return the tables of the page, in Markdown."""
    tables = {
        "float32": _table(4, rates),
        "float64": _table(8, rates),
        "Beside the aim": _table_of_aims(rates),
        "Problems at once": _table_of_problems(rates),
    }
    return "\n\n".join(f"### {name}\n\n{table}" for name, table in tables.items())


def _table_of_aims(rates: Rates) -> str:
    lines = ["| size | aimed at | should reach | over the least aimed at |", "|---|---:|---:|---:|"]
    for name, (least, reach) in aimed_at(rates).items():
        _, most = AIMS.get(name, BATCH_AIM)
        both = _us(least) if most == round(least * 1e6) else f"{_us(least)}-{most}"
        lines.append(f"| {name} | {both} | {_us(reach)} | {reach / least:.2f} |")
    return "\n".join(lines)


def _table_of_problems(rates: Rates) -> str:
    lines = [
        "| problems of float32 | path | launches | one after another | at once | of that |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for n_problems, size in PROBLEMS:
        design = design_of(*size.shape, 4)
        in_turn = n_problems * reach_s(size, 4, rates)
        together = reach_s(size, 4, rates, n_problems)
        cells = (f"{n_problems} of {size.name}", design.path, str(design.n_launches))
        times = (_us(in_turn), _us(together), f"{together / in_turn:.2g}")
        lines.append(f"| {' | '.join((*cells, *times))} |")
    return "\n".join(lines)


def _table(itemsize: int, rates: Rates) -> str:
    head = (
        "| size | 2nkd / rate | nd bytes / bandwidth | floor | binds | path | launches "
        "| launching | should reach | of the floor |"
    )
    rule = "|---|---:|---:|---:|---|---|---:|---:|---:|---:|"
    return "\n".join([head, rule, *(_line(size, itemsize, rates) for size in GRID)])


def _line(size: Size, itemsize: int, rates: Rates) -> str:
    shape = size.shape
    gemm_rate, bandwidth = rates.gemm[itemsize], rates.bandwidth
    floor = floor_s(*shape, itemsize, gemm_rate, bandwidth)
    design = design_of(*shape, itemsize)
    low, high = (design.n_launches * each for each in LAUNCH_S)
    reach = reach_s(size, itemsize, rates)
    cells = (
        size.name,
        _us(_gemm_s(*shape, gemm_rate)),
        _us(_read_s(size.n_points, size.n_features, itemsize, bandwidth)),
        _us(floor),
        binding(*shape, itemsize, gemm_rate, bandwidth),
        design.path,
        str(design.n_launches),
        f"{_us(low)}-{_us(high)}",
        _us(reach),
        f"{reach / floor:.3g}",
    )
    return f"| {' | '.join(cells)} |"


def _gemm_s(n_points: int, n_features: int, n_clusters: int, gemm_rate: float) -> float:
    return 2.0 * n_points * n_clusters * n_features / gemm_rate


def _read_s(n_points: int, n_features: int, itemsize: int, bandwidth: float) -> float:
    return n_points * n_features * itemsize / bandwidth


def _us(seconds: float) -> str:
    micros = seconds * 1e6
    return f"{micros:.0f}" if micros >= 100 else f"{micros:.3g}"


def _written(page: str, tables: str) -> str:
    begin, end = "<!-- tables -->\n", "<!-- end of tables -->"
    pattern = re.compile(f"({begin}).*({end})", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"{PAGE} has lost its mark {begin!r}; put it where the tables go.")
    return pattern.sub(lambda match: f"{match[1]}\n{tables}\n\n{match[2]}", page)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(_written(PAGE.read_text(), page_tables()))
    else:
        print(page_tables())


if __name__ == "__main__":
    _main()
