"""The Markdown page of the comparison, written from the measurements."""

import math
from collections.abc import Iterable, Sequence
from statistics import linear_regression, median
from typing import Any

from benchmarks.comparison.data import SIZES
from benchmarks.comparison.jobs import JOBS, Record
from benchmarks.comparison.peers import BASELINE, UNIMPORTABLE

__all__ = ["in_order", "page", "peers_of"]

_TITLES = {
    "iteration": "One Lloyd iteration",
    "fit": "A default fit",
    "seeding": "k-means++",
    "predict": "Predict",
    "minibatch": "Mini-batches",
    "tiny": "Tiny fits",
    "converge": "A fit to convergence, by each algorithm",
    "scaling": "How the time grows",
    "bisecting": "Trees",
    "cosine": "Cosine distances",
    "batched": "Many problems",
    "memory": "Memory of a fit",
    "import": "Import and first fit",
}

_REMARKS = {
    "iteration": "Each library assigns the rows and computes new centroids, from the same "
    "centroids. scikit-learn does it by `lloyd_iter_chunked_dense`, this package by `lloyd_step` "
    "and `update_centroids`, and faiss by a `Kmeans` of one iteration. The inertia of the new "
    "centroids agrees. A fit of this package leaves out most products from its second iteration "
    "on, where that pays: see [Performance](performance.md).",
    "fit": "Each library fits `KMeans(k, random_state=0)`, k-means++ included, with the same bound "
    "on the iterations (second column). sklearnex and faiss draw other initial rows, so their "
    "iterations and inertia differ. The second table has them. faiss does as many iterations as "
    "scikit-learn did. Before the clock runs, fits from the same rows by the same number of "
    "iterations must agree. *kmeans_xp on torch* is given a tensor: NumPy's kernels compute in its "
    "memory.",
    "seeding": "Each library runs `kmeans_plusplus` with the same seed. scikit-learn and this "
    "package are greedy, and choose the same rows. faiss makes one trial per step.",
    "predict": "Each library finds the labels of all rows, by the same centroids. These are one "
    "iteration old. The labels agree.",
    "minibatch": "`MiniBatchKMeans` makes whole passes (one, and more of small data), in batches "
    "of 1024 rows. Nothing can end it earlier. scikit-learn draws each batch by "
    "`RandomState.choice` with weights, which adds up the weights of all rows each time.",
    "tiny": "*n_init=10* is a default fit with ten restarts. *same work* is one fit from the same "
    "rows by the same number of iterations; the inertia agrees.",
    "converge": "The data are separated blobs. Fits start from the same k-means++ rows, with "
    "`tol=0`, and run until no label changes. faiss does as many iterations as scikit-learn did.",
    "scaling": "Fits make ten iterations from the same rows. One of the three numbers varies.",
    "bisecting": "Both fit `BisectingKMeans(k, random_state=0)`, which grow the same tree.",
    "cosine": '`KMeans(k, random_state=0)` with `metric="cosine"`. scikit-learn has none: it '
    "normalizes a copy of the rows, and fits that. *kmeans_xp euclidean* is this package on the "
    "rows as they are.",
    "batched": "One call of `k_means_batched`. scikit-learn calls `k_means` in a loop, as this "
    "package does in the last column.",
    "memory": "A fit makes three iterations from k-means++, in a fresh process. The table has the "
    "most resident memory during the fit, less what the process had before. The data and the "
    "libraries were loaded before.",
    "import": "Each library runs in a fresh interpreter, whose bytecode is compiled. It is "
    "imported, and then fits twice in the same process, with 20 iterations each. The empty cache "
    "is numba's.",
}

#: columns of peers, where all are there
_ORDER = (BASELINE, "kmeans_xp", "sklearnex", "faiss", "kmeans_xp on torch", "kmeans_xp on jax")


def page(machine: dict[str, Any], records: Sequence[Record], picture: str | None) -> str:
    """Return the page.

    Parameters
    ----------
    machine : dict
        As ``peers.machine`` gives it.
    records : sequence of Record
    picture : str or None
        Its file name beside the page.
    """
    parts = ["# Compared on a CPU", _introduction(), _about(machine, records)]
    if picture:
        parts.append(f"![Ratios to scikit-learn's time]({picture})")
    for job in JOBS:
        mine = in_order(record for record in records if record["job"] == job)
        if mine:
            parts += [f"## {_TITLES[job]}", _REMARKS[job], *_tables(job, mine), *_left_out(mine)]
    return "\n\n".join(parts) + "\n"


def _introduction() -> str:
    return (
        "`python benchmarks/compare.py` writes this page. The raw numbers are in "
        "`cpu_comparison.json`. All libraries of a row take turns in one process, on the same "
        "data. Times are medians, in milliseconds. A ratio is the median of the ratios to "
        "scikit-learn's time in the same round: **less than 1 is faster than scikit-learn**. If a "
        "case takes minutes, it is measured once or twice, and its cell says so."
    )


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records by dtype and size; sizes of no list in the order they were measured."""
    kept = list(records)
    names = [size.name for size in SIZES]
    names = list(dict.fromkeys([*names, *(record["name"] for record in kept)]))
    return sorted(kept, key=lambda each: (each["dtype"], names.index(each["name"]), each["data"]))


def peers_of(records: Iterable[Record]) -> list[str]:
    """Return the libraries of some records, in the order of columns."""
    found = dict.fromkeys(peer for record in records for peer in record["peers"])
    return sorted(found, key=lambda peer: _ORDER.index(peer) if peer in _ORDER else len(_ORDER))


def _about(machine: dict[str, Any], records: Sequence[Record]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    cores = "; ".join(f"{name}: {core}" for name, core in machine["blas"].items())
    commands = dict.fromkeys((each["command"], each["commit"]) for each in records)
    rows = [
        ("CPU", f"{machine['cpu']}, {machine['n_threads']} threads used"),
        ("system", f"{machine['system']}, Python {machine['python']}"),
        ("versions", versions),
        ("kernels that each BLAS has chosen", cores),
        ("measured by", "<br>".join(f"`{command}` at {commit}" for command, commit in commands)),
    ]
    busy = [each["busy"] for each in records if each.get("busy") is not None]
    if busy:
        rows.append(("processors used by other programs, before and after", f"≤ {max(busy):.1f}"))
    missing = {
        name: why
        for each in records
        for name, why in each.get("left_out", {}).items()
        if why.startswith(UNIMPORTABLE)
    }
    rows += [(f"left out: {name}", why) for name, why in missing.items()]
    return _table(("", ""), rows, "--")


def _tables(job: str, records: Sequence[Record]) -> list[str]:
    if job == "memory":
        return [_memory(records)]
    if job == "scaling":
        return [_growth(records)]
    if job == "converge":
        return [_by_peer(record) for record in records]
    tables = [_times(records, with_bound=job == "fit")]
    if job in ("fit", "minibatch", "seeding"):
        tables.append(_found(records))
    return tables


def _times(records: Sequence[Record], *, with_bound: bool) -> str:
    peers = peers_of(records)
    heads = ["size", *(["at most"] if with_bound else []), "data", "dtype"]
    heads += [f"{peer}, ms" + (" (ratio)" if peer != BASELINE else "") for peer in peers]
    rows = []
    for record in records:
        bound = [f"{record['max_iter']} iterations"] if with_bound else []
        cells = [_time(record["peers"].get(peer), is_baseline=peer == BASELINE) for peer in peers]
        rows.append((record["name"], *bound, record["data"], record["dtype"], *cells))
    return _table(heads, rows, "-" * (3 + with_bound) + ">" * len(peers))


def _time(found: dict[str, Any] | None, *, is_baseline: bool) -> str:
    if found is None:
        return "–"
    time = _number(median(found["seconds"]) * 1e3)
    few = {1: ", once", 2: ", twice"}.get(len(found["seconds"]), "")
    return f"{time}{few}" if is_baseline else f"{time} (**{found['ratio']:.2f}**{few})"


def _found(records: Sequence[Record]) -> str:
    """Return what the libraries ended with: iterations, and the inertia over scikit-learn's."""
    peers = peers_of(records)
    heads = ["size", "data", "dtype", *(f"{peer}: {_what(records)}" for peer in peers)]
    rows = []
    for record in records:
        cells = [_result(record["peers"], peer) for peer in peers]
        rows.append((record["name"], record["data"], record["dtype"], *cells))
    return _table(heads, rows, "---" + ">" * len(peers))


def _what(records: Sequence[Record]) -> str:
    has_steps = any("n_iter" in found for each in records for found in each["peers"].values())
    return "iterations, inertia" if has_steps else "inertia, mean of 20 seeds"


def _result(peers: dict[str, dict[str, Any]], peer: str) -> str:
    found = peers.get(peer)
    if found is None:
        return "–"
    steps = [f"{found['n_iter']}"] if "n_iter" in found else []
    keys = [key for key in ("inertia", "mean_inertia") if key in found]
    return ", ".join([*steps, *(f"{found[key] / peers[BASELINE][key]:.4f}" for key in keys)])


def _by_peer(record: Record) -> str:
    baseline = record["peers"][BASELINE]
    rows = []
    for peer in record["peers"]:
        found = record["peers"][peer]
        inertia = f"{found['inertia'] / baseline['inertia']:.6f}"
        time = _number(median(found["seconds"]) * 1e3)
        rows.append((peer, time, f"**{found['ratio']:.2f}**", str(found["n_iter"]), inertia))
    heads = (f"{record['name']}, {record['dtype']}", "ms", "ratio", "iterations", "inertia")
    return _table(heads, rows, "->>>>")


def _growth(records: Sequence[Record]) -> str:
    """Return times by what varies, and the power of it that they grow with."""
    peers = peers_of(records)
    rows = []
    for variant, dtype in dict.fromkeys((each["variant"], each["dtype"]) for each in records):
        axis = variant.removeprefix("by ")
        some = [each for each in records if (each["variant"], each["dtype"]) == (variant, dtype)]
        some.sort(key=lambda each: each[axis])
        for record in some:
            cells = [
                _time(record["peers"].get(peer), is_baseline=peer == BASELINE) for peer in peers
            ]
            rows.append((f"{axis} = {record[axis]:,}", dtype, *cells))
        if len(some) > 1:
            powers = [f"*power {_power(some, axis, peer):.2f}*" for peer in peers]
            rows.append((f"*{axis}: growth*", dtype, *powers))
    heads = ["", "dtype", *(f"{peer}, ms" for peer in peers)]
    return _table(heads, rows, "--" + ">" * len(peers))


def _power(records: Sequence[Record], axis: str, peer: str) -> float:
    """Return the slope of log time over log size, by least squares."""
    sizes = [math.log(record[axis]) for record in records]
    times = [math.log(median(record["peers"][peer]["seconds"])) for record in records]
    return linear_regression(sizes, times).slope


def _memory(records: Sequence[Record]) -> str:
    peers = peers_of(records)
    heads = ["size", "data", "dtype", "data, MiB", *(f"{peer}, MiB" for peer in peers)]
    heads += [f"loaded by a first tiny fit: {peer}, MiB" for peer in peers]
    rows = []
    for record in records:
        itemsize = {"float32": 4, "float64": 8}[record["dtype"]]
        cells = [record["n_points"] * record["n_features"] * itemsize]
        cells += [record["peers"][peer]["peak_bytes"] for peer in peers]
        cells += [record["peers"][peer]["loaded_bytes"] for peer in peers]
        texts = [_number(n_bytes / 2**20) for n_bytes in cells]
        rows.append((record["name"], record["data"], record["dtype"], *texts))
    return _table(heads, rows, "---" + ">" * (1 + 2 * len(peers)))


def _left_out(records: Sequence[Record]) -> list[str]:
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        for name, why in record.get("left_out", {}).items():
            if not why.startswith(UNIMPORTABLE):
                reasons.setdefault((name, why), {})[record["dtype"]] = None
    if not reasons:
        return []
    names: dict[str, list[str]] = {}
    for (name, why), dtypes in reasons.items():
        is_for_all = dtypes.keys() == {record["dtype"] for record in records}
        where = f"({why})" if is_for_all else f"for {', '.join(dtypes)} ({why})"
        names.setdefault(where, []).append(name)
    cells = [f"{', '.join(those)} {where}" for where, those in names.items()]
    return [f"Left out: {'; '.join(cells)}."]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> str:
    rule = "|".join("---:" if side == ">" else "---" for side in sides)
    lines = [f"| {' | '.join(heads)} |", f"|{rule}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
