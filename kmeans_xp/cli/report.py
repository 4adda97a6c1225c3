"""``kmeans-xp report``: describe the clusters of a table in one HTML file."""

import base64
import datetime as dt
import io
import platform
import shlex
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from kmeans_xp import KMeans, __version__, persistence, plotting
from kmeans_xp.cli import inputs, quality, summary
from kmeans_xp.cli.asked import Asked, Missing
from kmeans_xp.cli.comparison import Comparison, comparisons
from kmeans_xp.cli.console import reported, results
from kmeans_xp.cli.fitting import Fit, fit
from kmeans_xp.cli.html import Html, table, tag, void
from kmeans_xp.cli.inputs import Inputs
from kmeans_xp.cli.options import (
    ColumnsOption,
    DecimalOption,
    DelimiterOption,
    DeviceOption,
    EncodeOption,
    EncodingOption,
    ExcludeOption,
    InputFile,
    MaxIterOption,
    Metric,
    MetricOption,
    MissingOption,
    NClustersOption,
    NInitOption,
    ScaleOption,
    SeedOption,
    ThousandsOption,
    check_files,
    n_starts,
    text_format,
)
from kmeans_xp.cli.pictures import clusters_picture
from kmeans_xp.cli.progress import progress
from kmeans_xp.cli.standard_input import readable
from kmeans_xp.plotting.numerals import counted, formatted

__all__ = ["report"]

SILHOUETTE_SAMPLE = 10_000
SUFFIXES = (".html", ".htm")
# The page loads and runs nothing, even if names in the table contain HTML.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PIXELS_PER_INCH = 96


class _Report(NamedTuple):
    """The content of the page."""

    file: Path
    command: str
    data: Inputs
    result: Fit
    clusters: summary.Summary
    silhouette: plotting.SilhouetteDisplay | None


def report(
    file: InputFile,
    n_clusters: NClustersOption,
    column_names: ColumnsOption = None,
    exclude: ExcludeOption = None,
    encode: EncodeOption = False,
    missing: MissingOption = Missing.fail,
    scale: ScaleOption = False,
    seed: SeedOption = 0,
    n_init: NInitOption = None,
    max_iter: MaxIterOption = 300,
    metric: MetricOption = Metric.euclidean,
    delimiter: DelimiterOption = None,
    decimal: DecimalOption = None,
    thousands: ThousandsOption = None,
    encoding: EncodingOption = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Write the report to this .html file.")
    ] = Path("report.html"),
) -> None:
    """Cluster the rows of FILE and write a report: one HTML file with tables and pictures.

    The report shows the clusters' sizes, their centres in the columns' own units, quality
    scores, and the details of the run. It opens without a network or other files.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(
            f"the extension must be .html, not {out.suffix!r}", param_hint="--out"
        )
    text = text_format(delimiter, decimal, thousands, encoding)
    check_files(file, None, out)
    with reported(), persistence.staged(out) as (temporary,), readable(file) as path:
        plotting.check_format("picture.svg")
        asked = Asked(column_names, exclude, missing, scale, encode, text)
        data = inputs.read(path, asked)
        estimator = KMeans(
            n_clusters,
            n_init=n_starts(n_init, data.points.shape, n_clusters),
            max_iter=max_iter,
            random_state=seed,
            metric=metric.value,
            device=device,
        )
        result = fit(estimator, data)
        with progress("Writing"):
            command = _command(file, asked, estimator, out)
            page = _page(_measured(path, command, data, result))
            temporary.write_text(page, encoding="utf-8", errors="replace")
            size = temporary.stat().st_size
    results().print(f"Wrote: {out} ({size / 1000:,.0f} kB)", soft_wrap=True)


def _command(file: Path, asked: Asked, estimator: KMeans, out: Path) -> str:
    """Return the command that makes the same report."""
    words = ["kmeans-xp", "report", str(file), "-k", str(estimator.n_clusters)]
    words += asked.words()
    words += ["--seed", str(estimator.random_state)]
    words += ["--n-init", str(estimator.n_init)]
    words += ["--max-iter", str(estimator.max_iter)] if estimator.max_iter != 300 else []
    words += ["--metric", estimator.metric] if estimator.metric != Metric.euclidean else []
    words += ["--device", str(estimator.device), "--out", str(out)]
    return shlex.join(words)


def _measured(file: Path, command: str, data: Inputs, result: Fit) -> _Report:
    metric = result.estimator.metric
    # Directions have no length in the columns' own units.
    centres = result.centroids if metric == Metric.cosine else result.centres
    clusters = summary.summarize(
        data.points, result.labels, result.centroids, centres, data.names, metric
    )
    silhouette = None
    if quality.why_undefined(data, result) is None:
        silhouette = plotting.SilhouetteDisplay.from_predictions(
            data.points, result.labels, sample_size=SILHOUETTE_SAMPLE, metric=metric
        )
    return _Report(file, command, data, result, clusters, silhouette)


def _page(report: _Report) -> str:
    title = f"Clusters of {report.file.name}"
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", http_equiv="Content-Security-Policy", content=POLICY),
        void("meta", name="generator", content=f"kmeans_xp {__version__}"),
        tag("title", title),
        tag("style", Html(style)),
    )
    sections = (tag("section", tag("h2", heading), *body) for heading, body in _sections(report))
    header = tag("header", tag("h1", title), tag("p", _lead(report), class_="lead"))
    body = tag("body", tag("main", header, *sections))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _lead(report: _Report) -> str:
    n_rows, n_columns = report.data.points.shape
    scaled = ", each scaled to mean 0 and standard deviation 1" if report.data.scaling else ""
    compared = "; distances are between the rows' directions" if _is_cosine(report) else ""
    return (
        f"{counted(n_rows, 'row')} in {counted(len(report.result.centroids), 'cluster')}, "
        f"by {counted(n_columns, 'column')}{scaled}{compared}."
    )


def _is_cosine(report: _Report) -> bool:
    return bool(report.result.estimator.metric == Metric.cosine)


def _sections(report: _Report) -> Iterator[tuple[str, list[Html]]]:
    yield "Clusters", _clusters(report)
    yield "Profiles", _profiles(report)
    n_clusters = len(report.result.centroids)
    if compared := list(comparisons(report.data, report.result.labels, n_clusters)):
        yield "Columns left out", [_comparison(each) for each in compared]
    yield "Quality", _quality(report)
    yield "Convergence", _convergence(report)
    yield "Data", _data(report)
    yield "Run details", _making(report)


def _clusters(report: _Report) -> list[Html]:
    clusters = report.clusters
    shares = clusters.sizes / clusters.sizes.sum()
    rows = [
        [str(i), f"{size:,}", f"{share:.1%}", distance]
        for i, (size, share, distance) in enumerate(
            zip(clusters.sizes, shares, formatted(clusters.mean_distances), strict=True)
        )
    ]
    plane = {1: "along a line", 2: "by its two columns"}.get(
        len(clusters.names), "in the plane of their first two principal components"
    )
    unit = "1 - cos" if _is_cosine(report) else f"in {report.data.unit} of the columns"
    return [
        *(tag("p", f"Note: {text}.", class_="note") for text in _notes(report)),
        table(
            f"Sizes. The mean distance is that of a cluster's rows to its centre, {unit}.",
            ["cluster", "rows", "share", "mean distance"],
            rows,
            class_="numbers",
        ),
        _picture(
            clusters_picture(report.file, report.data, report.result),
            f"Scatter plot of the rows {plane}. Colours show clusters, numbers their centres.",
            f"The rows {plane}. Numbers mark the clusters' centres.",
        ),
    ]


def _notes(report: _Report) -> list[str]:
    # The section about the data lists the columns that were left out.
    told = [text for text in report.data.notes if not text.startswith("columns left out")]
    return told + report.result.notes


def _profiles(report: _Report) -> list[Html]:
    centres = report.clusters.centres
    values, what = report.data.values, "in the columns' own units"
    if _is_cosine(report):
        values, what = quality.compared_points(report.data, report.result), "of rows of length 1"
    display = plotting.ProfilesDisplay.from_predictions(
        values,
        report.result.labels,
        centroids=centres,
        feature_names=report.clusters.names,
    )
    rows = [
        [name, *formatted(column)]
        for name, column in zip(report.clusters.names, centres.T, strict=True)
    ]
    return [
        _picture(
            display.figure_,
            "Heat map of the clusters' centres: a row a cluster, a column a column of the data. "
            "Its values are in the table below.",
            f"Red: above the mean of all rows, blue: below. The values are {what}.",
        ),
        table(
            f"Centres, {what}.",
            ["column", *map(str, range(len(centres)))],
            rows,
            class_="numbers",
        ),
    ]


def _comparison(compared: Comparison) -> Html:
    sizes = np.maximum(compared.counts.sum(axis=0), 1)
    rows = [
        [
            value or "(empty)",
            *(f"{n:,} ({n / size:.0%})" for n, size in zip(counts, sizes, strict=True)),
        ]
        for value, counts in zip(compared.values, compared.counts, strict=True)
    ]
    return table(
        f"Number of rows of each {compared.column} in each cluster, with the share of the cluster.",
        [compared.column, *map(str, range(len(sizes)))],
        rows,
        class_="numbers",
    )


def _quality(report: _Report) -> list[Html]:
    scores = quality.scores(report.data, report.result, report.silhouette)
    content = [
        table(
            "Scores, and how to read them.",
            ["measure", "value", "reading"],
            scores,
            class_="words",
        )
    ]
    if report.silhouette is None:
        reason = quality.why_undefined(report.data, report.result)
        return [*content, tag("p", f"Scores that compare clusters are not defined: {reason}.")]
    return [
        *content,
        _picture(
            report.silhouette.figure_,
            f"Silhouette plot, by cluster; the mean is {report.silhouette.mean:.3f}.",
            "Each row is a bar as long as its silhouette, the longest first. If a cluster's bars "
            "stay below the dashed mean, or go below 0, its rows lie between clusters.",
        ),
    ]


def _convergence(report: _Report) -> list[Html]:
    estimator = report.result.estimator
    display = plotting.InertiaHistoryDisplay.from_estimator(estimator)
    values = formatted(display.inertias, n_digits=6)
    numbers = table(
        "Inertia after each iteration.",
        ["iteration", "inertia"],
        [[str(i), value] for i, value in enumerate(values)],
        class_="numbers",
    )
    return [
        _picture(
            display.figure_,
            f"Line of the inertia, from {values[0]} to {values[-1]} in "
            f"{counted(estimator.n_iter_, 'iteration')}.",
            "The inertia after each iteration; iteration 0 is that of the initial centroids.",
        ),
        tag("details", tag("summary", "The same as a table"), numbers),
    ]


def _data(report: _Report) -> list[Html]:
    data = report.data
    values = data.values
    by_name = zip(data.names, values.astype(np.float64, copy=False).T, strict=True)
    rows = [[name, *_column_numbers(column)] for name, column in by_name]
    columns = counted(len(data.schema), "column")
    content = [
        tag("p", f"{report.file.name}: {counted(len(values), 'row')}, {columns}."),
        table(
            "Clustered columns.",
            ["column", "mean", "standard deviation", "minimum", "maximum"],
            rows,
            class_="numbers",
        ),
    ]
    if data.skipped:
        left_out = "Columns left out."
        content.append(table(left_out, ["column", "why"], data.skipped.items(), class_="words"))
    return content


def _column_numbers(column: np.ndarray[Any, Any]) -> list[str]:
    mean, std = column.mean(), column.std()
    return formatted(np.array([mean, std, column.min(), column.max()]), spread=float(std))


def _making(report: _Report) -> list[Html]:
    estimator = report.result.estimator
    now = dt.datetime.now().astimezone()
    facts = [
        ["Date", now.strftime("%Y-%m-%d %H:%M %Z")],
        ["Device", estimator.device_reason_],
        ["Seed", str(estimator.random_state)],
        ["Starts", str(estimator.n_init)],
        ["Iterations", str(estimator.n_iter_)],
        ["Time to fit", f"{report.result.seconds:.2f} s"],
        ["kmeans_xp", __version__],
        ["Python", platform.python_version()],
        *([name, metadata.version(name)] for name in ("numpy", "scikit-learn", "matplotlib")),
    ]
    return [
        tag("p", "This command repeats the run:"),
        tag("pre", tag("code", _unbroken(report.command))),
        table("Run details.", ["detail", "value"], facts, class_="words"),
    ]


def _unbroken(command: str) -> Html:
    """Return a command whose options do not break at their hyphens."""
    words = (tag("span", shlex.quote(word), class_="word") for word in shlex.split(command))
    return Html(" ".join(words))


def _picture(figure: Any, alternative: str, caption: str) -> Html:
    """Return an HTML figure with the picture and its caption."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(drawn.getvalue()).decode("ascii")
    width, height = (round(PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
    image = void(
        "img",
        src=f"data:image/svg+xml;base64,{encoded}",
        alt=alternative,
        width=width,
        height=height,
        # On a narrow screen a picture scrolls; if it shrank, nobody could read it.
        style=f"min-width: {width}px",
    )
    scrolling = tag("div", image, class_="picture", role="region", aria_label=caption, tabindex="0")
    return tag("figure", scrolling, tag("figcaption", caption))
