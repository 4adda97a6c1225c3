"""One command that checks and measures kmeans_xp on a GPU.

``python benchmarks/gpu_check.py [--out FOLDER] [--minutes 9]``, from a checkout, with CuPy, NumPy,
SciPy, scikit-learn and pytest installed; kmeans_xp itself need not be. Other packages that it and
its tests need may be carried along in a folder, which is looked at after what is installed::

    pip install --target benchmarks/_vendor array-api-compat array-api-extra safetensors \
        hypothesis array-api-strict

What is installed comes first, so it must be recent enough itself (scikit-learn 1.9).
``benchmarks/_vendor`` is found by itself, another folder by ``--vendor FOLDER``.

Steps: the environment; copy bandwidth and GEMM rate; each size of ``benchmarks/roofline.py``,
compared with the least time at those rates, and with NumPy. Then a batch of sets of float16 rows;
many small problems in one call; waits for the device; memory; other libraries where they can be
imported; the tests on CuPy. Each runs in a process with a time limit: if it fails, hangs or breaks
the device, the others still run.
``results.json`` and ``results.md`` are written after each step, to ``benchmarks/results/GPU`` by
default. The page ends with what to change if a number is off. Exits with 1 if any step failed.
``--quick`` runs the same steps on tiny sizes: its times mean nothing.
"""

import argparse
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "benchmarks" / "_vendor"
TUNING = ROOT / "docs" / "gpu_tuning.md"
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_answer import Answer, Setting, write_whole  # noqa: E402 (needs the path)
from benchmarks.roofline import GRID, QUICK_GRID, Size, binding, floor_s  # noqa: E402

__all__ = ["Step", "main", "missing", "steps", "table", "with_floors"]

ITEMSIZES = {"float32": 4, "float64": 8}


class Step(NamedTuple):
    """A part of the check.

    Parameters
    ----------
    name : str
    limit_s : float
    """

    name: str
    limit_s: float


def steps(grid: Sequence[Size]) -> list[Step]:
    """Return the steps in their order; the tests are last and get the time that is left."""
    return [
        Step("environment", 45),
        Step("rates", 45),
        *(Step(f"size: {size.name}", 60) for size in grid),
        Step("batch", 45),
        Step("problems", 45),
        Step("syncs", 45),
        Step("memory", 45),
        Step("peers", 90),
        Step("tests", 400),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check, or with ``--step`` one step of it, and return the exit status."""
    options = _parser().parse_args(arguments)
    vendor = options.vendor or (VENDOR if VENDOR.is_dir() else None)
    if vendor is not None:
        if not vendor.is_dir():
            print(f"--vendor: there is no folder {vendor}", file=sys.stderr)
            return 2
        sys.path.append(str(vendor.resolve()))
    if options.step:
        setting = Setting(options.quick, options.limit, str(vendor.resolve()) if vendor else "")
        _answer(options.step, setting, Answer(options.answer))
        return 0
    return _checked(options)


def _answer(step: str, setting: Setting, answer: Answer) -> None:
    """Run one step in this process; its answer is in the file even where it fails."""
    answer.add()
    try:
        # Only here: the process that keeps the time must not depend on a GPU's libraries.
        from benchmarks.gpu_steps import answer_step

        answer_step(step, setting, answer)
    except Exception as error:  # noqa: BLE001 (whatever it is, the other steps go on)
        traceback.print_exc()
        answer.fail(f"{type(error).__name__}: {error}")


def missing() -> list[str]:
    """Return what the package and its tests need, by pyproject.toml, and is not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = [re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in wanted]
    return [name for name in names if name != project["name"] and not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all steps; default 9")
    parser.add_argument("--vendor", type=Path, metavar="FOLDER", help="packages carried along")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the check itself")
    # How the check calls itself.
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    return parser


def _checked(options: argparse.Namespace) -> int:
    began = time.monotonic()
    report: dict[str, Any] = {
        "schema": 1,
        "is_quick": options.quick,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "missing": missing(),
        "steps": {},
    }
    for step in steps(_grid(is_quick=options.quick)):
        left_s = 60 * options.minutes - (time.monotonic() - began)
        report["steps"][step.name] = _run(step, left_s, options)
        report["seconds"] = time.monotonic() - began
        with_floors(report)
        _write(report, options.out)
    print(table(report))
    return 1 if any(each["status"] != "passed" for each in report["steps"].values()) else 0


def _grid(*, is_quick: bool) -> Sequence[Size]:
    return QUICK_GRID if is_quick else GRID


def _run(step: Step, left_s: float, options: argparse.Namespace) -> dict[str, Any]:
    """Run a step in a process of its own; return what it found and how it went."""
    if left_s < 5:
        return _outcome("not run", 0.0, {}, ["the time for all steps was over"], "")
    limit_s = min(step.limit_s, left_s)
    print(f"{step.name} ...", end=" ", flush=True, file=sys.stderr)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        answer, log = Path(folder) / "answer.json", Path(folder) / "log"
        code = _ended(_command(step, limit_s, answer, options), log, limit_s)
        found = json.loads(answer.read_text()) if answer.exists() else {}
        tail = log.read_text(errors="replace")[-4000:]
    failures = list(found.get("failures", ()))
    if code is None:
        failures.append(f"not done in {limit_s:.0f} s")
    elif code != 0:
        failures.append(f"the process ended with {_said(code)}")
    status = "timed out" if code is None else "failed" if failures else "passed"
    seconds = time.monotonic() - began
    print(f"{status} ({seconds:.1f} s)", flush=True, file=sys.stderr)
    return _outcome(status, seconds, found.get("result", {}), failures, tail if failures else "")


def _command(step: Step, limit_s: float, answer: Path, options: argparse.Namespace) -> list[str]:
    command = [sys.executable, str(Path(__file__).resolve()), "--step", step.name]
    command += ["--limit", str(limit_s), "--answer", str(answer)]
    command += ["--quick"] if options.quick else []
    return command + (["--vendor", str(options.vendor)] if options.vendor else [])


def _ended(command: list[str], log: Path, limit_s: float) -> int | None:
    """Run a command, its output to a file; None if it had to be ended."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            # With its children: pytest is one.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def _outcome(
    status: str, seconds: float, result: dict[str, Any], failures: list[str], log: str
) -> dict[str, Any]:
    made = {"status": status, "seconds": seconds, "result": result, "failures": failures}
    return made | ({"log": log} if log else {})


def _said(code: int) -> str:
    return f"status {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


def _commit() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.strip()


def with_floors(report: dict[str, Any]) -> None:
    """Add to each size its floor by the measured rates, and the time's ratio to it."""
    rates = report["steps"].get("rates", {}).get("result", {})
    for size, dtype, found in _sizes(report):
        gemm_rate = rates.get("gemm_per_s", {}).get(dtype)
        bandwidth = rates.get("copy_bytes_per_s")
        floor = ratio = binds = None
        if gemm_rate and bandwidth:
            by = (*size.shape, ITEMSIZES[dtype], gemm_rate, bandwidth)
            floor, binds = floor_s(*by), binding(*by)
            ratio = found["iteration_s"] / floor if "iteration_s" in found else None
        found |= {"floor_s": floor, "binds": binds, "iteration_over_floor": ratio}


def _sizes(report: dict[str, Any]) -> Iterator[tuple[Size, str, dict[str, Any]]]:
    """Yield each size and dtype that was measured, and what was found."""
    for size in _grid(is_quick=report["is_quick"]):
        step = report["steps"].get(f"size: {size.name}", {"result": {}})
        for dtype, found in step["result"].items():
            yield size, dtype, found


def _write(report: dict[str, Any], out: Path | None) -> None:
    found = report["steps"]["environment"]["result"]
    name = re.sub(r"[^A-Za-z0-9]+", "-", found.get("gpu", "unknown GPU")).strip("-")
    folder = out or ROOT / "benchmarks" / "results" / name
    write_whole(folder / "results.json", json.dumps(report, indent=1) + "\n")
    write_whole(folder / "results.md", table(report))


# ---- the table ----


def table(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    parts = (
        _heading(report),
        _table_of_steps(report),
        _table_of_sizes(report),
        _line_of_the_batch(report),
        _table_of_problems(report),
        _table_of_peers(report),
        _table_of_waits(report),
        _lines_of_memory(report),
        _what_to_change(),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(report: dict[str, Any]) -> str:
    found = _result(report, "environment")
    rates = _result(report, "rates")
    gemm = rates.get("gemm_per_s", {})
    versions = ", ".join(f"{name} {each}" for name, each in found.get("versions", {}).items())
    lines = [
        f"# kmeans_xp on {found.get('gpu', 'an unknown GPU')}",
        f"{report['began']}, commit {report['commit']}, {report.get('seconds', 0):.0f} s. CUDA "
        f"{found.get('runtime_cuda')} (driver {found.get('driver_cuda')}), {versions}.",
        f"Copy {_scaled(rates.get('copy_bytes_per_s'), 1e12)} TB/s (read and written), GEMM "
        f"{_scaled(gemm.get('float32'), 1e12)} TFLOP/s in float32 and "
        f"{_scaled(gemm.get('float64'), 1e12)} in float64, a launch "
        f"{_scaled(rates.get('launch_s'), 1e-6)} us.",
    ]
    if report["missing"]:
        lines.append(f"Not installed, so that tests may fail: {', '.join(report['missing'])}.")
    if report["is_quick"]:
        lines.append("**Quick: tiny sizes, so that the times mean nothing.**")
    return "\n\n".join(lines)


def _table_of_steps(report: dict[str, Any]) -> str:
    rows = [
        (name, step["status"], f"{step['seconds']:.1f}", "; ".join(step["failures"]))
        for name, step in report["steps"].items()
    ]
    return _markdown(("step", "status", "seconds", "failures"), rows)


def _table_of_sizes(report: dict[str, Any]) -> str:
    head = "size, dtype, floor us, binds, iteration us, of the floor, in the loop us, seeding ms"
    head += ", labels us, by the chain us, without a proof, products TFLOP/s, predict us, fit ms"
    head += ", its parts ms, iterations, parity, bit-equal"
    rows = [
        (
            size.name,
            dtype,
            _scaled(found["floor_s"], 1e-6),
            found["binds"] or "?",
            _scaled(found.get("iteration_s"), 1e-6),
            _scaled(found["iteration_over_floor"], 1.0),
            _scaled(found.get("loop_iteration_s"), 1e-6),
            _scaled(found.get("seeding_s"), 1e-3),
            _scaled(found.get("labels_s"), 1e-6),
            _scaled(found.get("chain_labels_s"), 1e-6),
            _share(found.get("doubtful_share")),
            _rate(found.get("products_per_s")),
            _scaled(found.get("predict_s"), 1e-6),
            _scaled(found.get("fit_s"), 1e-3),
            _scaled(found.get("fit_parts_s"), 1e-3),
            str(found.get("fit_n_iter", "?")),
            _scaled(found.get("parity", {}).get("relative_difference"), 1.0),
            _told(found.get("is_bit_equal")),
        )
        for size, dtype, found in _sizes(report)
    ]
    return _markdown(head.split(", "), rows)


def _line_of_the_batch(report: dict[str, Any]) -> str:
    found = _result(report, "batch")
    if not found:
        return ""
    return (
        f"A step of each of {found['size']}: {_scaled(found['all_s'], 1e-3)} ms at once, "
        f"{_rate(found['products_per_s'])} TFLOP/s of products, sums and all; "
        f"{_scaled(found['in_turn_s'], 1e-3)} ms one after another. "
        f"Bit-equal: {_told(found['is_bit_equal'])}."
    )


def _table_of_problems(report: dict[str, Any]) -> str:
    rows = [
        (
            name,
            _scaled(found["all_s"], 1e-3),
            _scaled(found["each_s"], 1e-6),
            _scaled(found["in_turn_s"], 1e-6),
            str(found["most_iterations"]),
            _told(found["is_bit_equal"]),
        )
        for name, found in _result(report, "problems").items()
    ]
    head = "problems, all ms, each us, one after another us each, most iterations, bit-equal"
    return _markdown(head.split(", "), rows)


def _table_of_peers(report: dict[str, Any]) -> str:
    rows = []
    for size, peers in _result(report, "peers").items():
        own = peers.get("kmeans_xp", {})
        for name, found in peers.items():
            if "unusable" in found:
                rows.append((size, name, "", "", "", found["unusable"]))
                continue
            ratios = [
                _scaled(found[key] / own[key] if key in own else None, 1.0)
                for key in ("iteration_s", "inertia")
            ]
            title = f"{name} {found['version']}"
            rows.append(
                (size, title, _scaled(found["iteration_s"], 1e-6), *ratios, found["remark"])
            )
    head = ("size, float32", "library", "iteration us", "to ours", "inertia to ours", "remark")
    return _markdown(head, rows)


def _table_of_waits(report: dict[str, Any]) -> str:
    found = dict(_result(report, "syncs"))
    counted = found.pop("what_is_counted", "")
    rows = [
        (
            name,
            str(each["seeding_waits"] or "none"),
            str(each["iteration_waits"] or "none"),
            f"{each['iteration_bytes_to_host']:g}",
            ", ".join(f"{what}: {_told(ahead)}" for what, ahead in each["host_is_ahead"].items()),
        )
        for name, each in found.items()
    ]
    head = ("waits", "in seeding", "an iteration", "bytes read an iteration", "host is ahead")
    made = _markdown(head, rows)
    return f"{made}\n\n{counted}" if made else ""


def _lines_of_memory(report: dict[str, Any]) -> str:
    found = _result(report, "memory")
    if not found:
        return ""
    mebibytes = {key: f"{value / 2**20:.1f}" for key, value in found.items() if key != "size"}
    return (
        f"Memory of a fit of {found['size']}: data {mebibytes['data_bytes']} MiB; besides them at "
        f"most {mebibytes['peak_bytes']} MiB in use at a time, of {mebibytes['stated_bytes']} "
        f"stated (labels {mebibytes['labels_bytes']}, the larger of seeding "
        f"{mebibytes['seeding_bytes']} and two tiles {mebibytes['tiles_bytes']}, and what has a "
        f"cluster's size); CuPy's pool took {mebibytes['pool_bytes']}, the process "
        f"{mebibytes['device_bytes']}."
    )


def _what_to_change() -> str:
    """Return the table of ``docs/gpu_tuning.md``: which constant changes which number."""
    lines = [line for line in TUNING.read_text().splitlines() if line.startswith("|")]
    table = "\n".join(lines)
    return f"## What to change if a number is off\n\n{table}"


def _result(report: dict[str, Any], step: str) -> dict[str, Any]:
    result: dict[str, Any] = report["steps"].get(step, {}).get("result", {})
    return result


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    # A bar or a line break in an error would break the table.
    cells = ([" ".join(cell.replace("|", "/").split()) for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _scaled(value: float | None, unit: float) -> str:
    return "?" if value is None else f"{value / unit:.3g}"


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f"{per_s / 1e12:.3g}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2g} %"


def _told(answer: bool | None) -> str:
    return {True: "yes", False: "NO", None: "not known"}[answer]


if __name__ == "__main__":
    sys.exit(main())
