"""Compare with scikit-learn, sklearnex and faiss on a CPU, and with other libraries' arrays.

Run on an idle machine, from a checkout, with those libraries that are to be compared::

    pip install scikit-learn-intelex faiss-cpu torch
    python benchmarks/compare.py --jobs fit --sizes 0 2 --dtypes float32
    python benchmarks/compare.py --redraw

Each command adds what it measures to ``docs/cpu_comparison.json``, in the place of what was
measured of the same cases before, and writes ``cpu_comparison.md`` and two pictures beside it. A
library that gives another result than scikit-learn ends the command. ``--quick`` does the jobs
on tiny sizes, in a temporary folder: its times mean nothing.

Sizes:

- 0 is 100k x 16, k=8; 1 is 1M x 2, k=10; 2 is 1M x 16, k=100;
- 3 is 200k x 128, k=256; 4 is 500k x 3, k=64; 5 is 100k x 768, k=1000;
- 6 is digits.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.comparison.checks import DisagreementError  # noqa: E402 (needs the path)
from benchmarks.comparison.data import DATA, DTYPES, SIZES, Choice  # noqa: E402
from benchmarks.comparison.jobs import JOBS, line, records  # noqa: E402
from benchmarks.comparison.peers import BLAS_SETTINGS, PEERS, busy_processors, load, machine  # noqa: E402
from benchmarks.comparison.plot import draw  # noqa: E402
from benchmarks.comparison.report import page  # noqa: E402
from benchmarks.comparison.store import OtherMachineError, Store  # noqa: E402
from benchmarks.comparison.timing import Pace  # noqa: E402
from benchmarks.gpu_answer import write_whole  # noqa: E402

__all__ = ["main"]

_NAME = "cpu_comparison"

#: processors that an idle machine may use for itself
_IDLE = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and write the page; return the exit status."""
    options = _parser().parse_args(arguments)
    if (why := _refusal(options)) is not None:
        print(why, file=sys.stderr)
        return 2
    folder = options.out or (Path(tempfile.mkdtemp()) if options.quick else ROOT / "docs")
    store = Store(folder / f"{_NAME}.json")
    if options.anew:
        store.clear()
    try:
        if not options.redraw:
            _measure(options, store, " ".join(arguments or sys.argv[1:]))
    except (DisagreementError, OtherMachineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if store.records:
            _write(store, folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", nargs="+", choices=JOBS, default=["iteration", "fit"], metavar="JOB")
    add("--sizes", nargs="+", type=int, choices=range(len(SIZES)), default=range(len(SIZES)))
    add("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    add("--data", choices=DATA, help="instead of what each job is usually measured on")
    add("--peers", nargs="*", choices=PEERS, default=PEERS, help="beside scikit-learn")
    add("--max-iter", type=int, metavar="N", help="of fits; default 300, less for large sizes")
    add("--seconds", type=float, default=30.0, help="for the rounds of a case; default 30")
    add("--repeats", type=int, default=15, help="rounds at most, and at least 3; default 15")
    add("--out", type=Path, metavar="FOLDER", help="where results are kept; default docs")
    add("--anew", action="store_true", help="forget what was measured before")
    add("--redraw", action="store_true", help="write page and picture again, measure nothing")
    add("--quick", action="store_true", help="tiny sizes, to try the comparison itself")
    add("--keep-blas-settings", action="store_true", help=f"allow {' and '.join(BLAS_SETTINGS)}")
    return parser


def _refusal(options: argparse.Namespace) -> str | None:
    """Return why nothing can be measured in this environment, if so."""
    found = [name for name in BLAS_SETTINGS if name in os.environ]
    if not found or options.redraw or options.keep_blas_settings:
        return None
    return (
        f"{' and '.join(found)} in the environment would choose the kernels of every OpenBLAS, "
        "which users of these libraries do not have: run "
        f"`env -u {' -u '.join(found)} python benchmarks/compare.py ...`, or give "
        "--keep-blas-settings."
    )


def _measure(options: argparse.Namespace, store: Store, words: str) -> None:
    peers = load(options.peers)
    here = machine(peers)
    store.add_machine(here)
    _print_header(here, peers.left_out)
    choice = Choice(
        [SIZES[index] for index in options.sizes],
        options.dtypes,
        options.data,
        options.max_iter,
        options.quick,
    )
    pace = Pace(0.0, 1, 0.0) if options.quick else Pace(options.seconds, options.repeats)
    origin = {"command": f"python benchmarks/compare.py {words}", "commit": _commit()}
    watched_s = 0.02 if options.quick else 0.5
    for job in options.jobs:
        before = busy_processors(watched_s)
        for record in records(job, choice, peers, pace):
            after = busy_processors(watched_s)
            busy = max(filter(None, [before, after]), default=after)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            store.add(record | origin | {"ended": now, "busy": busy})
            warning = f"  (OTHERS USED {busy:.1f} PROCESSORS)" if busy and busy > _IDLE else ""
            print(line(record) + warning, flush=True)
            before = after


def _print_header(here: dict[str, object], left_out: dict[str, str]) -> None:
    for key, value in here.items():
        print(f"{key}: {value}")
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "an unknown commit"
    return ran.stdout.strip()


def _write(store: Store, folder: Path) -> None:
    picture = folder / f"{_NAME}.png"
    is_drawn = draw(store.records, picture)
    draw(store.records, folder / f"{_NAME}_fits.png", jobs=["fit"])  # README.md shows it
    text = page(store.machine, store.records, picture.name if is_drawn else None)
    write_whole(folder / f"{_NAME}.md", text)
    print(f"written: {shlex.quote(str(folder / _NAME))}.json, .md" + (", .png" * is_drawn))


if __name__ == "__main__":
    sys.exit(main())
