"""The report: one HTML file that says what the fit found."""

import base64
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import sklearn.metrics

pa = pytest.importorskip("pyarrow")
pytest.importorskip("typer")
pytest.importorskip("matplotlib").use("Agg")

from pyarrow import csv, parquet  # noqa: E402

import kmeans_xp  # noqa: E402
from kmeans_xp import KMeans  # noqa: E402
from kmeans_xp.cli import html, inputs, report, tables  # noqa: E402
from kmeans_xp.cli.asked import Asked  # noqa: E402

WEATHER = Path(__file__).parents[2] / "examples" / "data" / "jfk_weather_2013.csv"
VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('a')</script>&\"$x^$"

Run = Callable[..., Any]


class Page(HTMLParser):
    """A page taken apart: its elements, tables and text; raises where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self.command = ""
        self.headings: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.rows: list[list[str]] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "caption":
            self.caption = ""
        elif tag in ("h1", "h2"):
            self.headings.append((tag, ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.caption] = self.rows

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside in ("th", "td"):
            self.rows[-1][-1] += data
        elif inside == "caption":
            self.caption += data
        elif inside in ("h1", "h2"):
            self.headings[-1] = (inside, self.headings[-1][1] + data)
        if "code" in self.open:
            self.command += data
        if inside != "style":
            self.text.append(data)

    def table(self, begin: str) -> list[list[str]]:
        """Return the one table whose caption begins so."""
        (found,) = (rows for caption, rows in self.tables.items() if caption.startswith(begin))
        return found

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return partial(run, "report")


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [60, 40, 20])
    points = np.array([[0.0, 5.0], [10.0, 5.0], [0.0, 15.0]])[truth]
    points = (points + rng.normal(size=points.shape)) * [1000.0, 1.0]
    path = tmp_path / "table.csv"
    names = [f"row {i}" for i in range(len(truth))]
    csv.write_csv(pa.table({"name": names, "metres": points[:, 0], "kg": points[:, 1]}), path)
    return path


def points_of(path: Path) -> np.ndarray:
    read = tables.read(path)
    return np.column_stack([read["metres"].to_numpy(), read["kg"].to_numpy()])


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def number(text: str) -> float:
    return float(text.replace(",", "").rstrip("%"))


@pytest.mark.parametrize("scale", [False, True])
def test_its_numbers_are_those_of_the_fit(scale: bool, run: Run, table_file: Path) -> None:
    done = run(table_file, "-k", 3, "--seed", 7, *(["--scale"] if scale else []))
    assert done.exit_code == 0, done.output
    page = page_of(Path("report.html"))
    values = points_of(table_file)
    points = (values - values.mean(axis=0)) / values.std(axis=0) if scale else values
    kmeans = KMeans(3, random_state=7, n_init=10).fit(points)
    sizes = np.bincount(kmeans.labels_)
    _, *rows = page.table("Sizes.")
    assert [number(row[1]) for row in rows] == sizes.tolist()
    np.testing.assert_allclose([number(row[2]) for row in rows], 100 * sizes / 120, atol=0.06)
    distances = np.linalg.norm(points - kmeans.cluster_centers_[kmeans.labels_], axis=1)
    means = np.bincount(kmeans.labels_, distances) / sizes
    np.testing.assert_allclose([number(row[3]) for row in rows], means, rtol=0.01)
    centres = np.array([values[kmeans.labels_ == i].mean(axis=0) for i in range(3)])
    header, *rows = page.table("Centres")
    assert header == ["column", "0", "1", "2"]
    assert [row[0] for row in rows] == ["metres", "kg"]
    found = np.array([[number(cell) for cell in row[1:]] for row in rows]).T
    np.testing.assert_allclose(found, centres, rtol=0.01, atol=60)
    measures = {row[0]: row[1] for row in page.table("Scores")[1:]}
    assert number(measures["Inertia"]) == pytest.approx(kmeans.inertia_, rel=1e-4)
    for name, measure in (
        ("Silhouette", sklearn.metrics.silhouette_score),
        ("Calinski-Harabasz", sklearn.metrics.calinski_harabasz_score),
        ("Davies-Bouldin", sklearn.metrics.davies_bouldin_score),
    ):
        expected = measure(points, kmeans.labels_)
        assert number(measures[name]) == pytest.approx(
            expected, abs=0.051 if expected > 9 else 6e-4
        )
    _, *rows = page.table("Inertia after")
    history = [*kmeans.history_["inertia"], kmeans.inertia_]
    np.testing.assert_allclose([number(row[1]) for row in rows], history, rtol=1e-4)


def test_cosine_distances_are_measured_and_said(run: Run, table_file: Path) -> None:
    options = ["-k", 3, "--scale", "--seed", 7, "--metric", "cosine"]
    done = run(table_file, *options)
    assert done.exit_code == 0, done.output
    page = page_of(Path("report.html"))
    values = points_of(table_file)
    points = (values - values.mean(axis=0)) / values.std(axis=0)
    kmeans = KMeans(3, random_state=7, n_init=10, metric="cosine").fit(points)
    units = points / np.linalg.norm(points, axis=1)[:, None]
    distances = 1.0 - (units * kmeans.cluster_centers_[kmeans.labels_]).sum(axis=1)
    means = np.bincount(kmeans.labels_, distances) / np.bincount(kmeans.labels_)
    _, *rows = page.table(
        "Sizes. The mean distance is that of a cluster's rows to its centre, 1 - cos."
    )
    np.testing.assert_allclose([number(row[3]) for row in rows], means, rtol=0.01, atol=1e-4)
    _, *rows = page.table("Centres, of rows of length 1.")
    found = np.array([[number(cell) for cell in row[1:]] for row in rows]).T
    np.testing.assert_allclose(found, kmeans.cluster_centers_, atol=0.01)
    measures = {row[0]: row[1] for row in page.table("Scores")[1:]}
    assert number(measures["Inertia"]) == pytest.approx(kmeans.inertia_, rel=1e-4)
    silhouette = sklearn.metrics.silhouette_score(points, kmeans.labels_, metric="cosine")
    assert number(measures["Silhouette"]) == pytest.approx(silhouette, abs=6e-4)
    davies_bouldin = sklearn.metrics.davies_bouldin_score(units, kmeans.labels_)
    assert number(measures["Davies-Bouldin"]) == pytest.approx(davies_bouldin, abs=6e-4)
    assert "distances are between the rows' directions" in " ".join(page.text)
    assert "--metric cosine" in page.command


def test_it_tells_how_it_was_made(run: Run, table_file: Path) -> None:
    out = Path("other.html")
    options = ["-k", 3, "--columns", "kg, metres", "--scale", "--seed", 5, "--n-init", 2, "-o", out]
    assert run(table_file, *options).exit_code == 0
    page = page_of(out)
    facts = dict(page.table("Run details.")[1:])
    points = points_of(table_file)
    reason = KMeans(3, random_state=5, device="auto").fit(points).device_reason_
    assert facts["Device"] == reason
    assert facts["Seed"] == "5"
    assert facts["kmeans_xp"] == kmeans_xp.__version__
    assert facts["numpy"] == np.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d \S+", facts["Date"])
    assert page.command == (
        f"kmeans-xp report {table_file} -k 3 --columns 'kg, metres' --scale --seed 5 --n-init 2 "
        "--device auto --out other.html"
    )


def test_the_command_in_it_makes_it_again(run: Run, table_file: Path) -> None:
    assert run(table_file, "-k", 3, "--max-iter", 2, "--device", "cpu").exit_code == 0
    first = page_of(Path("report.html"))
    Path("report.html").unlink()
    program, subcommand, *arguments = shlex.split(first.command)
    assert (program, subcommand) == ("kmeans-xp", "report")
    assert run(*arguments).exit_code == 0
    second = page_of(Path("report.html"))
    changing = "Run details."  # the date and the time that it took
    assert first.tables.pop(changing)[2:4] == second.tables.pop(changing)[2:4]
    assert first.tables == second.tables


def test_it_tells_what_the_data_are(run: Run, table_file: Path) -> None:
    assert run(table_file, "-k", 2).exit_code == 0
    page = page_of(Path("report.html"))
    assert "table.csv: 120 rows, 3 columns." in page.text
    assert page.table("Columns left out.")[1:] == [["name", "holds text"]]
    _, *rows = page.table("Clustered columns.")
    values = points_of(table_file)
    measured = np.array([measure(values, axis=0) for measure in (np.mean, np.std, np.min, np.max)])
    found = np.array([[number(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_allclose(found, measured.T, rtol=0.01, atol=60)


def test_notes_of_the_fit_are_in_it(run: Run, table_file: Path) -> None:
    done = run(table_file, "-k", 3, "--max-iter", 1)
    assert "Note: stopped by --max-iter 1" in done.stderr
    text = "".join(page_of(Path("report.html")).text)
    assert "Note: stopped by --max-iter 1" in text
    assert "Note: column metres spreads" in text


def test_it_is_well_formed_and_accessible(run: Run) -> None:
    assert run(WEATHER, "-k", 4, "--scale").exit_code == 0
    text = Path("report.html").read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    page = Page(text)
    levels = [level for level, _ in page.headings]
    assert levels == ["h1"] + ["h2"] * 6
    assert page.headings[0][1] == "Clusters of jfk_weather_2013.csv"
    assert len(page.all("title")) == len(page.all("main")) == 1
    images = page.all("img")
    assert len(images) == 4
    assert all(len(image["alt"] or "") > 30 for image in images)
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("n_columns", [1, 2, 60])
@pytest.mark.parametrize("n_clusters", [2, 12])
def test_pictures_scroll_on_a_narrow_page_and_are_not_cut(
    n_clusters: int, n_columns: int, run: Run, tmp_path: Path
) -> None:
    names = [f"column {i}" for i in range(n_columns)]
    values = np.random.default_rng(0).normal(size=(n_columns, 60))
    csv.write_csv(pa.table(dict(zip(names, values, strict=True))), tmp_path / "t.csv")
    assert run(tmp_path / "t.csv", "-k", n_clusters).exit_code == 0
    text = Path("report.html").read_text(encoding="utf-8")
    page = Page(text)
    drawings = [
        base64.b64decode((image["src"] or "").partition(",")[2]) for image in page.all("img")
    ]
    for image, drawing in zip(page.all("img"), drawings, strict=True):
        points = float(ET.fromstring(drawing).attrib["width"].removesuffix("pt"))
        assert float(image["width"] or 0) == pytest.approx(points / 72 * 96, abs=1)
        assert image["style"] == f"min-width: {image['width']}px"  # it does not shrink
    assert re.search(r"\.picture \{[^}]*overflow-x: auto", text)
    assert len(page.all("img")) == sum(
        each.get("class") == "picture" and each.get("tabindex") == "0" for each in page.all("div")
    )
    assert all(f"<!-- {name} -->".encode() in drawings[1] for name in names)


def test_it_needs_no_other_file_and_no_network(run: Run) -> None:
    assert run(WEATHER, "-k", 4, "--scale").exit_code == 0
    text = Path("report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on")]
        assert "href" not in attributes
    policies = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policies == [report.POLICY]
    for image in page.all("img"):
        head, _, encoded = (image["src"] or "").partition(",")
        assert head == "data:image/svg+xml;base64"
        drawing = ET.fromstring(base64.b64decode(encoded))
        links = [
            value
            for element in drawing.iter()
            for name, value in element.attrib.items()
            if name.rpartition("}")[2] in ("href", "src")
        ]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_hostile_names_are_text(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>.parquet"
    columns = {
        HOSTILE: [0.0, 1.0, 9.0, 10.0],
        "<b>": [1.0, 2.0, 3.0, 4.0],
        "</style>": list("abcd"),
    }
    parquet.write_table(pa.table(columns), file)
    done = run(file, "-k", 2)
    assert done.exit_code == 0, done.output
    text = Path("report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.all("script") == page.all("b") == []
    assert len(page.all("img")) == 4
    assert "<script" not in text
    assert text.count("</style>") == 1
    assert [row[0] for row in page.table("Centres")[1:]] == [HOSTILE, "<b>"]
    assert page.table("Columns left out.")[1:] == [["</style>", "holds text"]]
    assert page.headings[0][1] == f"Clusters of {file.name}"


@pytest.mark.parametrize(
    ("rows", "n_clusters", "reason"),
    [
        ("1\n2\n3\n", 1, "there is only one cluster"),
        ("1\n1\n1\n", 2, "there is only one cluster"),
        ("1\n2\n3\n", 3, "every row is its own cluster"),
    ],
)
def test_measures_that_are_not_defined_say_so(
    rows: str, n_clusters: int, reason: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "in.csv"
    file.write_text("a\n" + rows)
    done = run(file, "-k", n_clusters)
    assert done.exit_code == 0, done.output
    page = page_of(Path("report.html"))
    values = [row[1] for row in page.table("Scores")[1:]]
    assert values[1:] == ["not defined"] * 3
    assert f"Scores that compare clusters are not defined: {reason}." in page.text
    assert len(page.all("img")) == 3


def test_the_silhouette_of_many_rows_is_sampled(
    run: Run, table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SILHOUETTE_SAMPLE", 50)
    assert run(table_file, "-k", 3).exit_code == 0
    readings = {row[0]: row[2] for row in page_of(Path("report.html")).table("Scores")[1:]}
    assert readings["Silhouette"].endswith("Mean of a random sample of 50 rows.")


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (["-k", 2, "-o", "report.pdf"], "the extension must be .html, not '.pdf'", 2),
        (["-k", 2, "-o", "absent/report.html"], "No such file or directory: .*report.html'", 1),
        (["-k", 121], "120 rows are too few for 121 clusters", 1),
        (["-k", 2, "--columns", "depth"], "no column 'depth'", 1),
        (["-k", 2, "--device", "abacus"], "device 'abacus' is not known", 2),
        ([], "Missing option '-k'", 2),
    ],
)
def test_errors_are_one_line_and_leave_no_file(
    arguments: list[object], message: str, exit_code: int, run: Run, table_file: Path
) -> None:
    done = run(table_file, *arguments)
    assert done.exit_code == exit_code
    assert isinstance(done.exception, SystemExit)
    assert re.search(message, done.stderr), done.stderr
    assert list(table_file.parent.iterdir()) == [table_file]


def test_without_matplotlib_it_says_what_to_install(table_file: Path) -> None:
    program = "import sys; sys.modules['matplotlib'] = None; from kmeans_xp.cli import main; main()"
    out = table_file.with_name("report.html")
    command = [sys.executable, "-c", program, "report", table_file, "-k", "2", "-o", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == ("Error: Drawing needs matplotlib: pip install 'kmeans_xp[plot]'")
    assert list(table_file.parent.iterdir()) == [table_file]


def test_a_failure_leaves_an_older_report_as_it_was(
    run: Run, table_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    Path("report.html").write_text("older")
    monkeypatch.setattr(Figure, "savefig", fail)
    done = run(table_file, "-k", 2)
    assert done.exit_code == 1
    assert "Error: disk full" in done.stderr
    assert Path("report.html").read_text() == "older"
    assert sorted(path.name for path in Path().iterdir()) == ["report.html", "table.csv"]


def test_the_input_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("a\n1\n2\n")
    link = tmp_path / "report.html"
    link.symlink_to(file)
    assert "would be overwritten" in run(file, "-k", 1).stderr
    assert file.read_text() == "a\n1\n2\n"


def test_markup_is_only_what_was_made_as_markup() -> None:
    inner = html.tag("b", "<i>", title='"&')
    assert inner == '<b title="&quot;&amp;">&lt;i&gt;</b>'
    assert html.tag("p", inner, "&", class_="x") == f'<p class="x">{inner}&amp;</p>'
    assert html.void("img", aria_label="<") == '<img aria-label="&lt;">'


def test_columns_not_asked_for_are_told(table_file: Path) -> None:
    data = inputs.read(table_file, Asked("kg"))
    assert data.names == ["kg"]
    assert data.skipped == {"name": "not in --columns", "metres": "not in --columns"}
    assert data.notes == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_it(run: Run, tmp_path: Path) -> None:
    assert run(WEATHER, "-k", 4, "--scale").exit_code == 0
    profile = tmp_path / "profile"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", f"--user-data-dir={profile}", "--dump-dom"]
    address = (tmp_path / "report.html").as_uri()
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=100)
    page = Page(done.stdout)
    assert [text for _, text in page.headings][1:] == [
        "Clusters",
        "Profiles",
        "Quality",
        "Convergence",
        "Data",
        "Run details",
    ]
    assert "Refused" not in done.stderr
