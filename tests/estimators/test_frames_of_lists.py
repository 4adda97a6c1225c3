"""Data frames with a column of lists, such as embeddings, instead of an array."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from kmeans_xp import KMeans, MiniBatchKMeans, k_means, open_rows
from kmeans_xp.metrics import silhouette_score

N_ROWS, WIDTH = 40, 3
POINTS = np.random.default_rng(0).normal(size=(N_ROWS, WIDTH)).astype(np.float32)
NUMBERS = np.arange(N_ROWS, dtype=np.float32) % 4
EXPECTED = np.column_stack([POINTS, NUMBERS])
NAMES = ["e[0]", "e[1]", "e[2]", "n"]

FRAMES: dict[str, Callable[[], Any]] = {
    "pandas, arrays": lambda: pd.DataFrame({"e": list(POINTS), "n": NUMBERS}),
    "pandas, lists": lambda: pd.DataFrame({"e": POINTS.tolist(), "n": NUMBERS}),
    "pandas, Arrow": lambda: pd.DataFrame(
        {"e": pd.Series(POINTS.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float32()))), "n": NUMBERS}
    ),
    "polars, lists": lambda: pl.DataFrame(
        {"e": POINTS.tolist(), "n": NUMBERS}, {"e": pl.List(pl.Float32), "n": pl.Float32}
    ),
    "polars, arrays": lambda: pl.DataFrame({"e": POINTS, "n": NUMBERS}),
    "Arrow": lambda: pa.table({"e": pa.array(list(POINTS), pa.list_(pa.float32())), "n": NUMBERS}),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
def test_a_fit_is_that_of_the_array(estimator: Any, kind: str) -> None:
    frame = FRAMES[kind]()
    plain = estimator(3, n_init=1, random_state=0).fit(EXPECTED)
    model = estimator(3, n_init=1, random_state=0).fit(frame)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_features_in_ == WIDTH + 1
    np.testing.assert_allclose(model.cluster_centers_, plain.cluster_centers_, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(frame), plain.labels_)
    np.testing.assert_allclose(model.transform(frame), plain.transform(EXPECTED), rtol=1e-4)


@pytest.mark.parametrize("kind", FRAMES)
def test_functions_and_open_rows_take_them(kind: str) -> None:
    frame = FRAMES[kind]()
    labels = k_means(EXPECTED, 3, random_state=0, n_init=1)[1]
    np.testing.assert_array_equal(k_means(frame, 3, random_state=0, n_init=1)[1], labels)
    assert silhouette_score(frame, labels) == pytest.approx(silhouette_score(EXPECTED, labels))
    rows = open_rows(frame, block_rows=7)
    assert list(rows.feature_names) == NAMES
    np.testing.assert_array_equal(np.vstack([block.points for block in rows.read()]), EXPECTED)


def test_the_narrowest_dtype_of_all_columns_is_kept() -> None:
    frame = FRAMES["pandas, arrays"]()
    assert KMeans(2, n_init=1).fit(frame).cluster_centers_.dtype == np.float32
    wide = frame.assign(e=list(POINTS.astype(np.float64)))
    assert KMeans(2, n_init=1).fit(wide).cluster_centers_.dtype == np.float64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [1.0]], "a list of 1 numbers in one of these rows, but a list of 2"),
        ([[1.0, 2.0], None], "'e' holds None in one of these rows"),
        ([[1.0, 2.0], [1.0, np.nan]], "contains NaN"),
        ([[1.0, 2.0], ["a", "b"]], "rows must be of real numbers"),
    ],
)
def test_lists_that_are_no_points_are_errors(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMeans(2).fit(pd.DataFrame({"e": values}))


def test_other_columns_must_hold_numbers() -> None:
    for frame in (
        FRAMES["pandas, lists"]().assign(text="a"),
        FRAMES["polars, lists"]().with_columns(text=pl.lit("a")),
    ):
        with pytest.raises(ValueError, match=r"Column 'text' of DataFrame holds .*, not numbers"):
            KMeans(2).fit(frame)


def test_features_of_another_fit_are_refused() -> None:
    model = KMeans(2, n_init=1).fit(FRAMES["pandas, lists"]())
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(pd.DataFrame({"f": POINTS.tolist(), "n": NUMBERS}))
