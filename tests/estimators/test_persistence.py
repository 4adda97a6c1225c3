"""Saved models load exactly, and damaged files raise errors."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from kmeans_xp import KMeans, MiniBatchKMeans, persistence


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


@pytest.fixture
def saved(points: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    KMeans(n_clusters=4, random_state=0).fit(points).save(path)
    return path


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal in value, type, dtype and shape, all the way down."""
    assert type(ours) is type(theirs)
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(ours, np.random.RandomState):
        assert_same(ours.get_state(legacy=False), theirs.get_state(legacy=False))
    elif isinstance(ours, np.random.Generator):
        assert_same(ours.bit_generator.state, theirs.bit_generator.state)
    else:
        assert ours == theirs


def round_trip(estimator: Any, path: Path) -> Any:
    estimator.save(path)
    return type(estimator).load(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator_class", [KMeans, MiniBatchKMeans])
def test_round_trip_is_exact(
    estimator_class: type, dtype: type, points: np.ndarray, tmp_path: Path
) -> None:
    # Far from the origin, where the published centres alone would not give the same labels.
    points = (points + 1e4).astype(dtype)
    fitted = estimator_class(n_clusters=4, random_state=3, n_init=2, tol=1e-3).fit(points)
    loaded = round_trip(fitted, tmp_path / "model.safetensors")
    assert_same(vars(fitted), vars(loaded))
    assert loaded.get_params() == fitted.get_params()
    np.testing.assert_array_equal(loaded.predict(points), fitted.labels_)
    assert loaded.cluster_centers_.dtype == dtype


def test_partial_fit_goes_on_as_if_never_saved(points: np.ndarray, tmp_path: Path) -> None:
    fitted = MiniBatchKMeans(n_clusters=4, random_state=0).partial_fit(points[:150])
    loaded = round_trip(fitted, tmp_path / "model.safetensors")
    for estimator in (fitted, loaded):
        estimator.partial_fit(points[150:])
    assert_same(vars(fitted), vars(loaded))


def test_names_of_columns_survive(points: np.ndarray, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(points, columns=["a", "b", "ü"])
    loaded = round_trip(KMeans(3, random_state=0).fit(frame), tmp_path / "model")
    assert loaded.feature_names_in_.tolist() == ["a", "b", "ü"]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"a": "z"}))


def test_an_unfitted_estimator_keeps_its_parameters(tmp_path: Path) -> None:
    estimator = KMeans(5, init=np.eye(5), tol=np.float32(0.1), max_iter=np.int64(7))
    loaded = round_trip(estimator, tmp_path / "model")
    assert_same(vars(loaded), vars(estimator))


def random_generator() -> np.random.Generator:
    generator = np.random.default_rng(5)
    generator.normal(size=3)
    return generator


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        0.1,
        float("inf"),
        "text\n",
        [1, [2.5, None]],
        (1, "two"),
        {"tensor": "not a tensor", "deep": {"list": [1]}},
        np.float32(0.1),
        np.float64("nan"),
        np.int64(2**62),
        np.bool_(True),
        np.array(1.5, dtype=np.float16),
        np.zeros((0, 3)),
        np.arange(6).reshape(2, 3).T,
        np.arange(12.0).reshape(3, 4)[::2, ::-2],
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array(["a", "bc"], dtype=object),
        np.random.RandomState(3),
        np.random.RandomState(np.random.PCG64(3)),
        random_generator(),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],  # no address: ids must repeat
)
def test_any_attribute_survives(value: Any, tmp_path: Path) -> None:
    estimator = KMeans()
    estimator.extra_ = value
    loaded = round_trip(estimator, tmp_path / "model").extra_
    if isinstance(value, float) and np.isnan(value):
        assert type(loaded) is type(value)
        assert np.isnan(loaded)
    else:
        assert_same(loaded, value)


def test_arrays_of_any_library_become_numpy(xp: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    persistence.save(KMeans(), path, {"mean": xp.asarray([1.5, 2.5], dtype=xp.float32)})
    loaded = persistence.load(path, expected=KMeans)
    assert_same(loaded.arrays, {"mean": np.asarray([1.5, 2.5], dtype=np.float32)})


def test_a_model_fitted_on_any_library_predicts_on_numpy(xp: Any, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    fitted = KMeans(3, random_state=0).fit(xp.asarray(points))
    loaded = round_trip(fitted, tmp_path / "model")
    assert isinstance(loaded.cluster_centers_, np.ndarray)
    np.testing.assert_array_equal(loaded.predict(points), loaded.labels_)


def test_estimators_warn_of_arrays_that_they_do_not_apply(tmp_path: Path) -> None:
    path = tmp_path / "model"
    persistence.save(KMeans(7), path, {"input_mean": np.zeros(2)})
    with pytest.warns(UserWarning, match="also holds input_mean, which KMeans does not apply"):
        estimator = persistence.load_estimator(path, expected=KMeans)
    assert estimator.n_clusters == 7


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"init": lambda *_: None}, "Parameter 'init' is a function.*'k-means\\+\\+'"),
        ({"random_state": np.random.RandomState(0)}, "'random_state' is a RandomState.*an int"),
        ({"random_state": np.random.default_rng(0)}, "'random_state' is a Generator.*an int"),
        ({"init": np.array([object()])}, "Parameter 'init' is a ndarray"),
    ],
)
def test_what_only_pickle_holds_is_refused(
    params: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    path.write_text("the older file")
    with pytest.raises(ValueError, match=message):
        KMeans(**params).save(path)
    assert path.read_text() == "the older file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [object(), {1: 2}, {1, 2}, 1j, np.complex64(1), np.longdouble(1)])
def test_attributes_that_cannot_be_stored_are_named(value: Any, tmp_path: Path) -> None:
    estimator = KMeans()
    estimator.extra_ = value
    with pytest.raises(ValueError, match="'extra_' is a"):
        estimator.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.since_sklearn("1.9")
def test_callbacks_are_left_out(points: np.ndarray, tmp_path: Path) -> None:
    from sklearn.callback import ScoringMonitor

    estimator = KMeans(2, random_state=0).set_callbacks(ScoringMonitor(scoring=None))
    loaded = round_trip(estimator, tmp_path / "model")
    assert "_skl_callbacks" not in vars(loaded)


def test_a_failed_write_leaves_the_older_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        KMeans(2).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_full_disk_is_an_oserror(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors
    import safetensors.numpy

    def full(*_: Any, **__: Any) -> None:
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    before = saved.read_bytes()
    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match=f"{saved.name}.*No space left"):
        KMeans(2).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_replacing_keeps_the_mode_and_the_link(saved: Path, tmp_path: Path) -> None:
    saved.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(saved)
    KMeans(9).save(link)
    assert link.is_symlink()
    assert saved.stat().st_mode & 0o777 == 0o640
    assert KMeans.load(saved).n_clusters == 9


def test_a_new_file_has_the_usual_mode(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    assert saved.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("name", "error"),
    [(".", IsADirectoryError), ("absent/model", FileNotFoundError)],
)
def test_unwritable_paths_are_named(name: str, error: type[OSError], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        KMeans().save(tmp_path / name)
    assert caught.value.filename == os.path.realpath(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(kept: int, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors' is truncated, or not a safetensors"):
        KMeans.load(saved)


def rewrite_header(path: Path, **changes: Any) -> None:
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["kmeans_xp"])
    save_file(tensors, path, metadata={"kmeans_xp": json.dumps(header | changes)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": 99, "library_version": "9.1"},
            "of format 99, written by kmeans_xp 9.1.*upgrade",
        ),
        ({"format": None}, "states no format version"),
        ({"class": "MiniBatchKMeans"}, "holds a MiniBatchKMeans, not a KMeans"),
        ({"class": "print"}, "holds a print, not a KMeans"),
        ({"params": {"n_groups": 3}}, "cannot be rebuilt.*n_groups"),
        ({"params": None}, "cannot be rebuilt"),
        ({"fitted": {"labels_": {"tensor": "absent"}}}, "cannot be rebuilt.*absent"),
        ({"fitted": {"labels_": {"pickle": "gASV"}}}, "cannot be rebuilt: unknown kind"),
        (
            {"fitted": {"x": {"generator": {"dict": {"bit_generator": "seed"}}}}},
            "cannot be rebuilt: unknown bit generator 'seed'",
        ),
    ],
)
def test_strange_metadata_are_refused(changes: dict[str, Any], message: str, saved: Path) -> None:
    rewrite_header(saved, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        KMeans.load(saved)
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "holds no kmeans_xp model"),
        ({"format": "pt"}, "holds no kmeans_xp model"),
        ({"kmeans_xp": "{"}, "has damaged metadata"),
        ({"kmeans_xp": "[]"}, "states no format version"),
    ],
)
def test_foreign_files_are_refused(
    metadata: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weights": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=message):
        KMeans.load(path)


def test_the_class_must_be_the_one_asked_for(saved: Path) -> None:
    with pytest.raises(ValueError, match="holds a KMeans, not a MiniBatchKMeans"):
        MiniBatchKMeans.load(saved)


def test_the_file_is_plain_safetensors(saved: Path) -> None:
    raw = saved.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    assert "cluster_centers_" in json.loads(raw[8 : 8 + length])


def test_an_absent_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        KMeans.load(tmp_path / "absent.safetensors")
