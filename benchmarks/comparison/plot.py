"""The picture of the comparison: ratios to scikit-learn's time, one row for each size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import Record
from benchmarks.comparison.peers import BASELINE, OURS
from benchmarks.comparison.report import in_order

__all__ = ["draw"]

#: jobs with a ratio for each size, and their titles
_PANELS = {
    "iteration": "one Lloyd iteration",
    "fit": "default fit",
    "seeding": "k-means++",
    "predict": "predict",
    "minibatch": "mini-batches",
    "tiny": "tiny fits",
    "converge": "fit to convergence",
}

#: colours of Okabe and Ito, which colour-blind people tell apart too; shapes say the same
_MARKS = {
    OURS: ("#0072B2", "o"),
    "sklearnex": ("#E69F00", "s"),
    "faiss": ("#009E73", "^"),
    f"{OURS} on torch": ("#D55E00", "D"),
    f"{OURS} on jax": ("#CC79A7", "v"),
    BASELINE: ("#555555", "P"),
}

#: ticks of a decade, for axes of several decades and of few
_FEW, _MANY = (1.0, 3.0), (1.0, 2.0, 5.0)

_ROW_INCHES = 0.3
_PANEL_INCHES = 0.55
#: height in a row over which markers of different libraries are spread
_SPREAD = 0.5


def draw(records: Sequence[Record], path: Path, jobs: Sequence[str] = tuple(_PANELS)) -> bool:
    """Draw the picture of some jobs; return False if there is nothing to draw, or no matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = {job: _rows(job, records) for job in jobs}
    rows = {job: of_job for job, of_job in rows.items() if of_job}
    dtypes = sorted({record["dtype"] for of_job in rows.values() for _, record in of_job})
    if not rows:
        return False
    names = {job: list(dict.fromkeys(name for name, _ in rows[job])) for job in rows}
    heights = [_ROW_INCHES * len(names[job]) + _PANEL_INCHES for job in rows]
    figure = Figure(figsize=(2.2 + 4.2 * len(dtypes), sum(heights) + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(rows), len(dtypes), sharex=True, sharey="row", squeeze=False, height_ratios=heights
    )
    for line, job in zip(axes, rows, strict=True):
        for ax, dtype in zip(line, dtypes, strict=True):
            some = [(name, each) for name, each in rows[job] if each["dtype"] == dtype]
            if not some:  # not measured in this dtype
                ax.set_visible(False)
                continue
            _panel(ax, names[job], some, f"{_title(job, some)}, {dtype}")
    _finish(figure, axes)
    figure.savefig(path, dpi=130, facecolor="white")
    return True


def _rows(job: str, records: Sequence[Record]) -> list[tuple[str, Record]]:
    """Return records with the name of their row; algorithms have a row each."""
    mine = in_order(record for record in records if record["job"] == job)
    if job == "converge":
        peers = dict.fromkeys(peer for each in mine for peer in each["peers"] if peer != BASELINE)
        return [
            (peer, each | {"peers": {peer: each["peers"][peer]}})
            for each in mine
            for peer in peers
            if peer in each["peers"]
        ]
    of_many = {record["data"] for record in mine} - {"digits"}
    return [(_name(record, has_kind=len(of_many) > 1), record) for record in mine]


def _title(job: str, rows: Sequence[tuple[str, Record]]) -> str:
    sizes = dict.fromkeys(record["name"] for _, record in rows)
    return f"{_PANELS[job]}, {', '.join(sizes)}" if job == "converge" else _PANELS[job]


def _name(record: Record, *, has_kind: bool) -> str:
    return f"{record['name']}, {record['data']}" if has_kind else record["name"]


def _panel(ax: Any, names: Sequence[str], rows: Sequence[tuple[str, Record]], title: str) -> None:
    libraries = list(_MARKS)
    shown = sorted(
        {_library(peer) for _, record in rows for peer in record["peers"]} - {BASELINE},
        key=libraries.index,
    )
    for number in range(0, len(names), 2):
        ax.axhspan(number - 0.5, number + 0.5, color="0.95", zorder=0)
    ax.axvline(1.0, color="0.3", linewidth=1.2, zorder=1)
    for name, record in rows:
        for peer, found in record["peers"].items():
            if peer == BASELINE:
                continue
            library = _library(peer)
            colour, shape = _MARKS[library]
            step = _SPREAD / max(len(shown) - 1, 1)
            shift = 0.0 if len(record["peers"]) == 1 else shown.index(library) * step - _SPREAD / 2
            ax.plot(
                found["ratio"],
                names.index(name) + shift,
                shape,
                color=colour,
                markersize=7.5 if library == OURS else 6,
                markeredgecolor="white",
                markeredgewidth=0.6,
                zorder=4 if library == OURS else 3,
                label=library,
            )
    ax.set_yticks(range(len(names)), names, fontsize=8.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_title(title, fontsize=10, loc="left", fontweight="bold")


def _library(peer: str) -> str:
    """Return the library of a peer that may say an algorithm too."""
    return max((name for name in _MARKS if peer.startswith(name)), key=len)


def _finish(figure: Any, axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for ax in axes.flat:
        ax.set_xscale("log")
        low, high = ax.get_xlim()
        ax.xaxis.set_major_locator(LogLocator(subs=_FEW if high > 300 * low else _MANY))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="x", labelsize=8, labelbottom=True)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color="0.85", linewidth=0.6, zorder=0.5)
        ax.spines[["top", "right", "left"]].set_visible(False)
    figure.supxlabel(
        "time over scikit-learn's, log scale: left of 1 is faster than scikit-learn", fontsize=10
    )
    marks: dict[str, Any] = {}
    for ax in axes.flat:
        marks |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ordered = [name for name in _MARKS if name in marks]
    figure.legend(
        [marks[name] for name in ordered],
        [f"{name} elkan" if name == BASELINE else name for name in ordered],
        loc="outside upper center",
        ncols=len(ordered),
        frameon=False,
        fontsize=9,
    )
