"""Models on disk, as safetensors: opening one runs no code."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmeans_xp import devices
from kmeans_xp._version import __version__
from kmeans_xp.checks import check_path

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = [
    "SavedModel",
    "load",
    "load_estimator",
    "load_values",
    "remove_half_written",
    "save",
    "save_values",
    "staged",
]

FORMAT_VERSION = 1
METADATA_KEY = "kmeans_xp"

_RANDOM_SOURCES = (np.random.RandomState, np.random.Generator)
_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
#: greatest value of each number in a generator's state that is a position or has few bits
_PLACES = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}
_SCALARS = frozenset(
    np.dtype(kind).name for kind in ("?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d")
)
_CALLBACK_PREFIXES = ("_skl_callbacks", "_callback_")
_WHAT_TO_SET = {
    "init": "'k-means++', 'random' or an array such as the model's cluster_centers_",
    "random_state": "an int or None",
}


#: what reading damaged values may raise
_DAMAGES = (
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


class SavedModel(NamedTuple):
    """The contents of a model file."""

    estimator: Any
    arrays: dict[str, np.ndarray[Any, Any]]


class _UnstorableError(TypeError):
    """A value that only pickle could store."""


def save(
    estimator: BaseEstimator,
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any] | None = None,
) -> None:
    """Write an estimator, fitted or not, to a safetensors file.

    Parameters are stored in the file's metadata, arrays as tensors. Nothing is pickled.
    Arrays of any library and device are stored as NumPy arrays. The file appears under
    its name only when it is complete; on failure an older file stays as it was.

    Parameters
    ----------
    estimator : KMeans, MiniBatchKMeans or BisectingKMeans
        The estimator to save. Callbacks set on it are not saved.
    path : path-like
        The file to write. A file of that name is replaced.
    arrays : mapping of str to array, default=None
        More arrays to keep with the estimator, such as the scaling of its input.

    Raises
    ------
    ValueError
        If a file cannot hold a parameter or attribute: a function as `init`, or a random
        generator as `random_state`.
    OSError
        If the file cannot be written.
    """
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    _write(path, _header(estimator, arrays or {}, tensors), tensors)


def save_values(path: str | os.PathLike[str], kind: str, values: Mapping[str, Any]) -> None:
    """Write named values, such as the state of a fit, to a safetensors file.

    Parameters
    ----------
    path : path-like
        The file to write. A file of that name is replaced whole, or stays as it was.
    kind : str
        A name for these values; `load_values` needs the same.
    values : mapping of str to object
        Numbers, strings, arrays, random generators, None, and lists, tuples and dicts of them.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    encoded = {name: _encoded_part(name, value, tensors) for name, value in values.items()}
    header = {
        "format": FORMAT_VERSION,
        "class": kind,
        "library_version": __version__,
        "values": encoded,
    }
    _write(path, header, tensors)


def load_values(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Read a file that `save_values` wrote.

    Parameters
    ----------
    path : path-like
        The file to read.
    kind : str
        The name that `save_values` got.

    Returns
    -------
    dict of str to object
        With NumPy arrays.

    Raises
    ------
    ValueError
        If the file is truncated, was not written by `save_values`, was written by a newer
        version, or is of another kind.
    OSError
        If the file cannot be read.
    """
    header, tensors = _read(path)
    _check_version(header, path)
    if header.get("class") != kind:
        raise ValueError(f"{os.fspath(path)!r} holds a {header.get('class')}, not a {kind}.")
    try:
        return {name: _decoded(value, tensors) for name, value in header["values"].items()}
    except _DAMAGES as error:
        raise ValueError(
            f"{os.fspath(path)!r} holds a {kind} that cannot be rebuilt: {error}"
        ) from error


def load(
    path: str | os.PathLike[str], *, expected: type[Any] | tuple[type[Any], ...]
) -> SavedModel:
    """Read a file that `save` wrote.

    Parameters
    ----------
    path : path-like
        The file to read.
    expected : type or tuple of types
        The estimator class that the file must hold, or those that it may hold. The file cannot
        make this function import or call any other class.

    Returns
    -------
    SavedModel
        The estimator, with NumPy arrays, and the arrays that were saved with it.

    Raises
    ------
    ValueError
        If the file is truncated, was not written by `save`, was written by a newer
        version, or holds another class than `expected`.
    OSError
        If the file cannot be read.
    """
    header, tensors = _read(path)
    _check_version(header, path)
    saved_class = _one_of(expected, header, path)
    try:
        params, fitted, arrays = (
            {name: _decoded(value, tensors) for name, value in header[part].items()}
            for part in ("params", "fitted", "arrays")
        )
        estimator = saved_class(**params)
        estimator._check_state(fitted)
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name!r} is not an array")
    except _DAMAGES as error:
        raise ValueError(
            f"{os.fspath(path)!r} holds a model that cannot be rebuilt: {error}"
        ) from error
    vars(estimator).update(fitted)
    return SavedModel(estimator, arrays)


def load_estimator(path: str | os.PathLike[str], *, expected: type[Any]) -> Any:
    """Read the estimator from a file that `save` wrote; warn if the file holds more.

    Parameters
    ----------
    path : path-like
        The file to read.
    expected : type
        The estimator class that the file must hold.

    Returns
    -------
    object
        An instance of `expected`, with NumPy arrays.

    Raises
    ------
    ValueError, OSError
        As `load`.

    Warns
    -----
    UserWarning
        If the file also holds other arrays, which an estimator does not apply. There is no
        warning for names that begin with "file_": these arrays say how a file was read.
    """
    estimator, arrays = load(path, expected=expected)
    if applied := [name for name in arrays if not name.startswith("file_")]:
        warnings.warn(
            f"{os.fspath(path)!r} also holds {', '.join(applied)}, which "
            f"{expected.__name__} does not apply: `kmeans-xp predict` does, or get them "
            "with kmeans_xp.persistence.load",
            UserWarning,
            stacklevel=3,
        )
    return estimator


@contextlib.contextmanager
def staged(*paths: str | os.PathLike[str]) -> Iterator[tuple[Path, ...]]:
    """Write files that appear under their names all together, or not at all.

    Parameters
    ----------
    *paths : path-like
        The files to write. Links are followed.

    Yields
    ------
    tuple of Path
        An empty file beside each path, with the same suffix, for the body to write. They are
        renamed when the body ends, and removed if it raises.

    Raises
    ------
    OSError
        If a path cannot be written. The body does not run then.
    """
    for path in paths:
        check_path("path", path)
    targets = [Path(os.path.realpath(path)) for path in paths]
    temporaries: dict[Path, int] = {}
    try:
        for target in targets:
            mode = _target_mode(target)
            temporary = _created_beside(target)
            temporaries[temporary] = mode or temporary.stat().st_mode
        yield tuple(temporaries)
        for temporary, mode in temporaries.items():
            temporary.chmod(mode & 0o777)
            _flush_to_disk(temporary)
        for temporary, target in zip(temporaries, targets, strict=True):
            temporary.replace(target)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def _target_mode(target: Path) -> int | None:
    """Return the mode of the file to replace, or None if there is no such file."""
    if not target.exists():
        return None
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not target.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(target))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    return target.stat().st_mode


def _created_beside(target: Path) -> Path:
    temporary = target.with_name(f".{secrets.token_hex(4)}-{target.name}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    return temporary


def remove_half_written(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files beside `path` of a process that was killed while it wrote.

    Parameters
    ----------
    path : path-like
        A file; no other process may be writing it.
    """
    target = Path(os.path.realpath(path))
    name = re.compile(r"\.[0-9a-f]{8}-" + re.escape(target.name))
    for beside in target.parent.iterdir():
        if name.fullmatch(beside.name):
            beside.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _write(
    path: str | os.PathLike[str], header: Mapping[str, Any], tensors: dict[str, Any]
) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    metadata = {METADATA_KEY: json.dumps(header, allow_nan=False)}
    with staged(path) as (temporary,):
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # also for a full disk
            raise OSError(f"{os.fspath(path)!r} could not be written: {error}") from error


def _header(
    estimator: BaseEstimator,
    arrays: Mapping[str, Any],
    tensors: dict[str, np.ndarray[Any, Any]],
) -> dict[str, Any]:
    """Return the JSON part of the file; put its arrays into `tensors`."""
    params = estimator.get_params(deep=False)
    fitted = {
        name: value
        for name, value in estimator._attributes().items()
        if name not in params and not name.startswith(_CALLBACK_PREFIXES)
    }
    return {
        "format": FORMAT_VERSION,
        "class": type(estimator).__name__,
        "library_version": __version__,
        "params": {name: _encoded_param(name, value, tensors) for name, value in params.items()},
        "fitted": {name: _encoded_part(name, value, tensors) for name, value in fitted.items()},
        "arrays": {
            name: _encoded_part(f"arrays.{name}", value, tensors) for name, value in arrays.items()
        },
    }


def _encoded_param(name: str, value: Any, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    try:
        if isinstance(value, _RANDOM_SOURCES):
            raise _UnstorableError
        return _encoded(value, name, tensors)
    except _UnstorableError:
        wanted = _WHAT_TO_SET.get(name, "a string, a number or an array")
        raise ValueError(
            f"Parameter {name!r} is a {type(value).__name__}, which a model file cannot hold: "
            f"before saving, use set_params({name}=...) with {wanted}."
        ) from None


def _encoded_part(name: str, value: Any, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    try:
        return _encoded(value, name, tensors)
    except _UnstorableError:
        raise ValueError(
            f"{name!r} is a {type(value).__name__}, which a model file cannot hold."
        ) from None


def _encoded(value: Any, name: str, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    """Return `value` as JSON: itself, or an object with one key that names its kind."""
    if isinstance(value, np.generic):
        return _encoded_scalar(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list | tuple):
        items = [_encoded(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {
            "dict": {key: _encoded(item, f"{name}.{key}", tensors) for key, item in value.items()}
        }
    if isinstance(value, np.random.RandomState):
        return {"random_state": _encoded(value.get_state(legacy=False), name, tensors)}
    if isinstance(value, np.random.Generator):
        return {"generator": _encoded(value.bit_generator.state, name, tensors)}
    if isinstance(value, np.ndarray) or hasattr(value, "__dlpack__"):
        return _encoded_array(devices.to_host(value), name, tensors)
    raise _UnstorableError


def _encoded_scalar(value: np.generic) -> dict[str, Any]:
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise _UnstorableError
    return {"scalar": value.dtype.name, "value": _encoded(value.item(), "", {})}


def _encoded_array(
    array: np.ndarray[Any, Any], name: str, tensors: dict[str, np.ndarray[Any, Any]]
) -> dict[str, Any]:
    if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
        # safetensors writes the buffer as it is: it must be in C order and native byte order.
        tensors[name] = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
        return {"tensor": name}
    strings = array.tolist()
    if array.ndim != 1 or not all(isinstance(string, str) for string in strings):
        raise _UnstorableError
    return {"strings": strings, "dtype": array.dtype.str}


def _read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    from safetensors import SafetensorError, safe_open

    check_path("path", path)
    with open(path, "rb"):
        pass  # safetensors' own OSError would not name the file
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if METADATA_KEY not in metadata:
                raise ValueError(
                    f"{os.fspath(path)!r} is a safetensors file, but holds no kmeans_xp model"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, KeyError, TypeError) as error:  # NumPy lacks dtypes
        raise ValueError(
            f"{os.fspath(path)!r} is truncated, or not a safetensors file: {error}"
        ) from error
    try:
        header = json.loads(metadata[METADATA_KEY])
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r} has damaged metadata: {error}") from error
    return header, tensors


def _check_version(header: Any, path: str | os.PathLike[str]) -> None:
    version = header.get("format") if isinstance(header, dict) else None
    if not isinstance(version, int):
        raise ValueError(f"{os.fspath(path)!r} has damaged metadata: it states no format version")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{os.fspath(path)!r} is of format {version}, written by kmeans_xp "
            f"{header.get('library_version')}; this version reads up to format "
            f"{FORMAT_VERSION}: upgrade kmeans_xp"
        )


def _one_of(
    expected: type[Any] | tuple[type[Any], ...],
    header: dict[str, Any],
    path: str | os.PathLike[str],
) -> type[Any]:
    classes = {c.__name__: c for c in (expected if isinstance(expected, tuple) else (expected,))}
    name = header.get("class")
    if not isinstance(name, str) or name not in classes:
        raise ValueError(f"{os.fspath(path)!r} holds a {name}, not a {' or '.join(classes)}.")
    return classes[name]


def _decoded(value: Any, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"strings": list(strings), "dtype": str(dtype)}:
            if not all(isinstance(string, str) for string in strings):
                raise ValueError("an array of strings holds something else")
            # NumPy takes the length of the longest string: do not trust the file's dtype.
            return np.asarray(strings, dtype=object if dtype.endswith("O") else None)
        case {"scalar": str(dtype), "value": item}:
            return _scalar(dtype, _decoded(item, tensors))
        case {"float": str(text)}:
            return float(text)
        case {"tuple": items}:
            return tuple(_decoded(item, tensors) for item in items)
        case {"dict": items}:
            return {key: _decoded(item, tensors) for key, item in items.items()}
        case {"random_state": state}:
            return _random_state(_decoded(state, tensors))
        case {"generator": state}:
            return np.random.Generator(_bit_generator(_decoded(state, tensors)))
        case list():
            return [_decoded(item, tensors) for item in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise ValueError(f"unknown kind of value: {value}")


def _scalar(dtype: str, value: Any) -> np.generic:
    if dtype not in _SCALARS or not isinstance(value, bool | int | float):
        raise ValueError(f"unknown kind of number: {dtype!r:.60}")
    if isinstance(value, float) != dtype.startswith("float"):
        raise ValueError(f"{value!r} is not of dtype {dtype}")
    scalar: np.generic = np.dtype(dtype).type(value)
    return scalar


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    source = np.random.RandomState(_bit_generator(state))
    if state["has_gauss"] not in (0, 1) or not isinstance(state["gauss"], float):
        raise ValueError("the state of random numbers has no number kept from a pair")
    source.set_state(state)
    return source


def _bit_generator(state: dict[str, Any]) -> np.random.BitGenerator:
    if state["bit_generator"] not in _BIT_GENERATORS:
        raise ValueError(f"unknown bit generator {state['bit_generator']!r}")
    source: np.random.BitGenerator = getattr(np.random, state["bit_generator"])()
    parts = {key: state[key] for key in state if key not in ("has_gauss", "gauss")}
    _check_like(parts, source.state, "the state of random numbers")
    source.state = parts
    return source


def _check_like(value: Any, model: Any, name: str) -> None:
    """Raise ValueError if a state differs in form from a new one: NumPy does not check it."""
    if isinstance(model, dict):
        if not isinstance(value, dict) or set(value) != set(model):
            raise ValueError(f"{name} has other parts than {', '.join(model)}")
        for key, part in model.items():
            _check_like(value[key], part, f"{key!r} of {name}")
    elif isinstance(model, np.ndarray):
        is_like = isinstance(value, np.ndarray) and value.shape == model.shape
        if not is_like or value.dtype != model.dtype:
            raise ValueError(f"{name} is not an array of {model.dtype} of shape {model.shape}")
    elif isinstance(model, str):
        if value != model:
            raise ValueError(f"{name} is not {model!r}")
    else:
        key = name.split("'")[1]
        most = _PLACES.get(key, 2**128 - 1)
        is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= most:
            raise ValueError(f"{name} is not a number from 0 to {most}")
