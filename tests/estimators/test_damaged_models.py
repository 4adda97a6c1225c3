"""Model files that no program wrote, and models whose arrays were changed by hand."""

import copy
import json
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmeans_xp import BisectingKMeans, Checkpoint, KMeans, MiniBatchKMeans
from kmeans_xp.kernels import DenseRows, kernels
from kmeans_xp.persistence import load_values
from tests.mutations import Mutations, n_mutations, write_anew

pytestmark = pytest.mark.skip_library(
    "array_api_strict", "torch", "jax", "dpnp", "cupy", reason="reads NumPy arrays"
)

X = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
SMALL = np.ascontiguousarray(X[:, :5])

#: of models by each of the seeds, and of checkpoints of each estimator
SEEDS, N_MUTATIONS, N_CHECKPOINTS = range(4), n_mutations(500), n_mutations(1000)

#: what JSON could hold in the place of anything
STRANGE = [
    None, True, 0, -1, 1, 2**40, -(2**70), 2**70, 1e308, float("nan"), "x", "", [], {}, [1, 2],
    {"a": 1}, {"tensor": "cluster_centers_"}, {"tensor": "nowhere"}, {"tensor": "labels_"},
    {"tensor": "_origin"}, {"tuple": [1]}, {"dict": {"a": 1}}, {"strings": ["a"], "dtype": "O"},
    {"strings": ["a"], "dtype": "<U999999999"}, {"scalar": "int8", "value": 300},
    {"scalar": "float64", "value": 1.0}, {"scalar": "M8[ns]", "value": 3}, {"float": "nan"},
    {"generator": {"dict": {"bit_generator": "MT19937"}}}, "numpy",
]  # fmt: skip
DTYPES = ["F32", "I32", "F64", "U8", "BF16", "F16", "I64", "BOOL", "F8_E4M3"]
NAMES = ["predict", "fit", "__class__", "_x", "y_", "cluster_centers_", "labels_"]

Json = Any


def parts_of(raw: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: dict[str, Any], tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


def places_in(value: Json, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each part."""
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for key, part in parts:
        yield (*above, key)
        yield from places_in(part, (*above, key))


def at(value: Json, place: tuple[Any, ...]) -> Json:
    for key in place:
        value = value[key]
    return value


class ModelMutations(Mutations):
    """Files that differ from a good one also in what their parts mean."""

    def of_numbers(self, raw: bytes) -> bytes:
        header, tensors = parts_of(raw)
        changed = bytearray(tensors)
        for _ in range(4):
            changed[self.random.randrange(len(changed))] = self.random.choice([0, 127, 128, 255])
        return joined(header, bytes(changed))

    def of_tensors(self, raw: bytes) -> bytes:
        header, tensors = parts_of(raw)
        names = [name for name in header if name != "__metadata__"]
        one, other = self.random.choice(names), self.random.choice(names)
        tensor, change = header[one], self.random.randrange(3)
        if change == 0:
            size = int(np.prod(tensor["shape"]))
            rows = self.random.choice([n for n in range(1, size + 1) if size % n == 0] or [1])
            shapes = [[rows, size // rows], [size], [rows, 1, size // rows], []]
            tensor["shape"] = self.random.choice(shapes)
        elif change == 1:
            tensor["dtype"] = self.random.choice(DTYPES)
        else:
            header[one], header[other] = header[other], header[one]
        return joined(header, tensors)

    def of_json(self, raw: bytes) -> bytes:
        header, tensors = parts_of(raw)
        model = json.loads(header["__metadata__"]["kmeans_xp"])
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            self.change(model)
        header["__metadata__"]["kmeans_xp"] = json.dumps(model)
        return joined(header, tensors)

    def change(self, model: Json) -> None:
        places = list(places_in(model))
        if not places:
            return
        *above, key = self.random.choice(places)
        parent, change = at(model, tuple(above)), self.random.random()
        if change < 0.25:
            del parent[key]
        elif change < 0.35 and isinstance(parent, dict):
            parent[self.random.choice(NAMES)] = parent.pop(key)
        elif change < 0.5:
            parent[key] = copy.deepcopy(at(model, self.random.choice(places)))
        else:
            parent[key] = copy.deepcopy(self.random.choice(STRANGE))

    def one_of(self, raw: bytes) -> bytes:
        ways = (self.of_bits, self.of_length, self.of_numbers, self.of_tensors, self.of_json)
        (way,) = self.random.choices(ways, weights=(15, 5, 5, 15, 60))
        return way(raw)


def models() -> list[Any]:
    batches = MiniBatchKMeans(3, random_state=0, batch_size=8)
    return [
        KMeans(3, random_state=0).fit(SMALL),
        KMeans(3, init=SMALL[:3], n_init=1).fit(SMALL),
        batches.fit(SMALL),
        MiniBatchKMeans(3, random_state=1).partial_fit(SMALL),
        BisectingKMeans(4, random_state=0).fit(SMALL),
    ]


def use(model: Any, path: Path) -> None:
    """Call everything; a ValueError is not a fault."""
    model.set_params(n_init=1, max_iter=1, verbose=0)
    repr(model)
    try:
        if hasattr(model, "cluster_centers_"):
            for method in (model.predict, model.transform, model.score):
                method(SMALL)
            model.get_feature_names_out()
            model.to_sklearn()
            model.save(path)
            if isinstance(model, MiniBatchKMeans):
                model.partial_fit(SMALL)
        model.fit(SMALL)
    except ValueError:
        pass


@pytest.fixture
def _no_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not survive the machine; a flush takes longer than ten mutations."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.usefixtures("_no_flushes")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_file_is_refused_or_gives_a_model_that_works(seed: int, tmp_path: Path) -> None:
    mutations, path = ModelMutations(seed), tmp_path / "model"
    good = []
    for model in models():
        model.save(path)
        good.append((path.read_bytes(), type(model)))
    reasons = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(N_MUTATIONS):
            raw, cls = mutations.random.choice(good)
            write_anew(path, mutations.one_of(raw))
            try:
                model = cls.load(path)
            except ValueError as error:
                reasons.append(str(error))
                continue
            (tmp_path / "again").unlink(missing_ok=True)
            use(model, tmp_path / "again")
    assert len(reasons) > N_MUTATIONS // 3
    assert all(str(path) in reason for reason in reasons)


def kept_checkpoint(make: Any, path: Path) -> bytes:
    watched_fit(make, path, keep=True)
    return path.read_bytes()


def watched_fit(make: Any, path: Path, *, keep: bool = False) -> Any:
    model = make(3, init="random", n_init=2, random_state=np.random.RandomState(0), max_iter=4)
    return model.set_callbacks(Checkpoint(path, keep=keep)).fit(SMALL)


@pytest.mark.usefixtures("_no_flushes")
@pytest.mark.since_sklearn("1.9")
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
def test_a_damaged_checkpoint_is_refused_or_gone_on_with(make: Any, tmp_path: Path) -> None:
    mutations, path = ModelMutations(0), tmp_path / "checkpoint"
    good, reasons = kept_checkpoint(make, path), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(N_CHECKPOINTS):
            write_anew(path, mutations.one_of(good))
            try:
                load_values(path, "checkpoint")  # as a fit does, after what takes longer
                fitted = watched_fit(make, path)
            except ValueError as error:
                reasons.append(str(error))
                continue
            assert fitted.predict(SMALL).shape == (40,)
    assert len(reasons) > N_CHECKPOINTS // 3


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cluster_centers_", lambda c: c[:, :2], r"cluster_centers_|n_features_in_|_origin"),
        ("cluster_centers_", lambda c: c[0], "cluster_centers_ is of shape"),
        ("cluster_centers_", lambda c: np.full_like(c, np.nan), "cluster_centers_ is not finite"),
        ("_origin", lambda o: o[:2], "_origin is of shape"),
        ("_centroids", lambda c: c[:, :1], "_centroids is of shape"),
        ("_counts", lambda c: c[:2], "_counts is of shape"),
        ("_counts", lambda c: -c, "_counts is below 0"),
        ("labels_", lambda _: "none", "labels_ is a str"),
        ("n_features_in_", lambda _: 7, "n_features_in_ is 7, not 50"),
        ("history_", lambda _: [1], "history_ is not a dict"),
        ("n_steps_", lambda _: -3, "n_steps_ is -3"),
        ("_random_state", lambda _: None, "_random_state is a NoneType"),
        ("predict", lambda _: 3, "'predict' is not an attribute"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    name: str, change: Any, message: str, tmp_path: Path
) -> None:
    model = MiniBatchKMeans(5, random_state=0).fit(X)
    setattr(model, name, change(getattr(model, name)))
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        MiniBatchKMeans.load(tmp_path / "model")


@pytest.mark.parametrize("name", sorted(MiniBatchKMeans._state_needed))
def test_a_field_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    model = MiniBatchKMeans(5, random_state=0).fit(X)
    delattr(model, name)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"{name} is missing"):
        MiniBatchKMeans.load(tmp_path / "model")


def test_random_numbers_that_would_be_read_elsewhere_are_refused(tmp_path: Path) -> None:
    model = MiniBatchKMeans(3, random_state=0).partial_fit(SMALL)
    model.save(tmp_path / "model")
    header, tensors = parts_of((tmp_path / "model").read_bytes())
    text = header["__metadata__"]["kmeans_xp"]
    for place in (10**9, -1, 625):
        saved = json.loads(text)
        state = saved["fitted"]["_random_state"]["random_state"]["dict"]["state"]["dict"]
        assert "pos" in state
        state["pos"] = place
        header["__metadata__"]["kmeans_xp"] = json.dumps(saved)
        (tmp_path / "model").write_bytes(joined(header, tensors))
        with pytest.raises(ValueError, match="'pos'"):
            MiniBatchKMeans.load(tmp_path / "model")


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize(
    "change", [lambda c: c[:, :2], lambda c: c[:2, :1], lambda c: c[0], lambda c: c.tolist()]
)
def test_centroids_that_do_not_fit_the_rows_are_refused(make: Any, change: Any) -> None:
    model = make(6, random_state=0).fit(X)
    model.cluster_centers_ = change(model.cluster_centers_)
    for method in (model.predict, model.transform, model.score):
        with pytest.raises(ValueError, match="cluster_centers_"):
            method(X)


@pytest.mark.parametrize("n_features", [20, 47, 60])
def test_centroids_set_by_hand_say_how_many_features_there_are(n_features: int) -> None:
    model = KMeans(6)
    model.cluster_centers_ = X[:6, :48]
    assert model.predict(X[:, :48]).shape == (40,)
    rows = np.ones((40, n_features), np.float32)
    with pytest.raises(ValueError, match=f"X has {n_features} features"):
        model.predict(rows)


def test_centroids_of_another_number_may_be_set() -> None:
    model = KMeans(6, random_state=0).fit(X)
    model.cluster_centers_ = X[:2]
    np.testing.assert_array_equal(model.predict(X[:2]), [0, 1])


SHAPES = {
    "centroids": [(3, 4), (3, 6), (5,), (2, 3, 5)],
    "labels": [(39,), (40, 1), (41,)],
    "closest": [(39,), (40, 1)],
}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (name, wrong)
        for name in ("nearest_labels", "nearest_centroid", "lloyd_step", "sq_distances")
        for wrong in SHAPES["centroids"]
    ],
)
def test_kernels_refuse_centroids_of_other_features(name: str, wrong: tuple[int, ...]) -> None:
    import array_api_compat.numpy as xp

    with pytest.raises(ValueError, match=rf"{name}: centroids must be of shape \("):
        kernels[name](DenseRows(SMALL), np.ones(wrong, np.float32), xp=xp)


@pytest.mark.parametrize("wrong", SHAPES["labels"])
def test_kernels_refuse_labels_of_other_rows(wrong: tuple[int, ...]) -> None:
    import array_api_compat.numpy as xp

    with pytest.raises(ValueError, match="labels must be of shape"):
        kernels["cluster_sums"](DenseRows(SMALL), np.zeros(wrong, np.int32), 3, xp=xp)


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_kernels_refuse_labels_of_no_cluster(label: int, dtype: Any) -> None:
    import array_api_compat.numpy as xp

    labels = np.zeros(40, dtype)
    labels[17] = label
    with pytest.raises(ValueError, match="labels must lie in 0 to 2"):
        kernels["cluster_sums"](DenseRows(SMALL), labels, 3, xp=xp)
    with pytest.raises(ValueError, match="labels must lie in 0 to 2"):
        kernels["assigned_inertia"](DenseRows(SMALL), labels, SMALL[:3], xp=xp)


def test_labels_in_the_other_order_of_bytes_are_labels() -> None:
    import array_api_compat.numpy as xp

    labels = np.arange(40) % 3
    expected = kernels["cluster_sums"](DenseRows(SMALL), labels, 3, xp=xp)
    for dtype in (">i4", ">i8", "<i8", "u1"):
        found = kernels["cluster_sums"](DenseRows(SMALL), labels.astype(dtype), 3, xp=xp)
        np.testing.assert_array_equal(found.sums, expected.sums)
