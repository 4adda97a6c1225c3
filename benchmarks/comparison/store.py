"""The measurements so far, in a JSON file to which several commands add."""

import json
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import Record
from benchmarks.gpu_answer import write_whole

__all__ = ["OtherMachineError", "Store"]

_SCHEMA = 1
#: what tells one measurement of a case from another; a later one of the same takes its place
_KEY = ("job", "name", "dtype", "data")


class OtherMachineError(Exception):
    """The file holds times of another machine, or of other versions."""


class Store:
    """Records of one machine, in a file.

    Parameters
    ----------
    path : Path
        Read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine: dict[str, Any] = {}
        self.records: list[Record] = []
        if path.exists():
            content = json.loads(path.read_text())
            if content["schema"] != _SCHEMA:
                raise ValueError(f"{path} is of another form: measure anew, with --anew.")
            self.machine, self.records = content["machine"], content["records"]

    def clear(self) -> None:
        """Forget all records."""
        self.machine, self.records = {}, []

    def add_machine(self, machine: dict[str, Any]) -> None:
        """Say where the records that follow are measured.

        Raises
        ------
        OtherMachineError
            If the file's records are from elsewhere.
        """
        for key, here in machine.items():
            there = self.machine.get(key, here)
            if _differ(here, there):
                raise OtherMachineError(
                    f"{self.path} was measured with {key} {there}, and here it is {here}: give "
                    "another folder with --out, or start anew with --anew."
                )
            self.machine[key] = there | here if isinstance(here, dict) else here

    def add(self, record: Record) -> None:
        """Add a record in the place of an older one of the same case, and write the file."""
        key = [record[field] for field in _KEY]
        others = [each for each in self.records if [each[field] for field in _KEY] != key]
        self.records = [*others, record]
        content = {"schema": _SCHEMA, "machine": self.machine, "records": self.records}
        write_whole(self.path, json.dumps(content, indent=1) + "\n")


def _differ(here: Any, there: Any) -> bool:
    if not isinstance(here, dict):
        return bool(here != there)
    # Of a peer that only one of two commands has loaded, the other says nothing.
    return any(here.get(name, value) != value for name, value in there.items())
