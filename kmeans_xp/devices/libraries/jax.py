"""JAX."""

import functools
import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from kmeans_xp.config import get_config
from kmeans_xp.devices.libraries.record import Host, Library, is_half

__all__ = ["Jax"]

#: bytes of an array that JAX copies in less time than it takes to share it by DLPack
_SOONER_COPIED = 2**16


class Jax(Library):
    """Has arrays that cannot be written to, and tracers, which hold no numbers yet."""

    namespace_name = "jax.numpy"
    out_of_memory = ("RESOURCE_EXHAUSTED",)
    flushes_subnormals = True  # XLA does so, on CPUs too
    #: of the array that was looked at last
    _last_device: tuple[Any, Any] = (None, None)

    def settled(self, array: Any) -> Any:
        """Return the array; TypeError if it is a tracer."""
        if isinstance(array, self.module.core.Tracer):
            raise TypeError(
                "kmeans_xp got an array that JAX is tracing, inside jax.jit, grad or vmap: "
                "clustering chooses and stops by numbers, which a tracer does not have. Call it "
                "outside, on arrays."
            )
        return array

    def device(self, array: Any) -> Any:
        """Return the device of an array."""
        sharding, known = array.sharding, self._last_device
        if known[0] is not sharding:  # its hash, in Python, takes as long as to lend the array
            self._last_device = known = sharding, _device_of(sharding)
        return known[1]

    def working(self, device: Any) -> AbstractContextManager[object]:
        """Return a context that sets the precision: on a GPU, JAX's default is TF32."""
        name = "tensorfloat32" if get_config().precision == "tf32" else "float32"
        jax = self.module
        precision: AbstractContextManager[object] = jax.default_matmul_precision(name)
        return precision

    def held(self, array: Any, xp: Any, device: Any) -> Any:
        """Return an array in a dtype that JAX has as it is configured now."""
        # To ask for its list of dtypes takes longer than a fit of few rows.
        is_held = array.dtype.itemsize < 8 or self.module.config.jax_enable_x64
        return array if is_held else super().held(array, xp, device)

    def shared(self, array: Any, xp: Any, device: Any = None) -> Any:
        """Return an array of NumPy or CuPy in the same memory, or a copy of a small one."""
        if not isinstance(array, np.ndarray):
            return xp.from_dlpack(array)
        first = self._first_of_host  # DLPack's arrays are there: another device gets a copy
        if array.nbytes > _SOONER_COPIED and (device is None or device is first):
            return xp.from_dlpack(array)
        return self._copier(device or first)(array)

    def lasting(self, array: Any, xp: Any, device: Any) -> Any:
        """Return an array of the same dtype, whatever JAX makes and copies at this moment."""
        is_wide = array.dtype.itemsize == 8
        with self._enable_x64(True) if is_wide else nullcontext():
            try:
                return self.shared(array, xp, device)
            except RuntimeError:
                with self.module.transfer_guard("allow"):  # as long as a fit of few rows
                    return self.shared(array, xp, device)

    def lender(self, array: Any) -> str | None:
        """Return the library whose kernels can compute in an array's memory; None for its own."""
        return "numpy" if self.device(array).platform == "cpu" else super().lender(array)

    def seen_by_numpy(self, array: Any) -> Host | None:
        """Return an array on the host as NumPy's; TypeError if it is a tracer."""
        # Together a quarter of the time that DLPack takes.
        return _widened(array) if self.device(self.settled(array)).platform == "cpu" else None

    def lent(self, array: Any, borrower: Library, xp: Any) -> Any:
        """Return an array in the same memory; on the host, of float32 for halves."""
        return _widened(array) if borrower.name == "numpy" else borrower.shared(array, xp)

    @functools.cached_property
    def _enable_x64(self) -> Any:
        if hasattr(self.module, "enable_x64"):
            return self.module.enable_x64
        return importlib.import_module("jax.experimental").enable_x64  # older versions

    @functools.cached_property
    def _first_of_host(self) -> Any:
        return self.module.devices("cpu")[0]

    @functools.cached_property
    def _copier(self) -> Callable[[Any], Callable[[Any], Any]]:
        return functools.lru_cache(self._copier_to)

    def _copier_to(self, device: Any) -> Callable[[Any], Any]:
        """Return a function that copies a host array to a device."""
        jax = self.module
        devices = [device]
        sharding = jax.sharding.SingleDeviceSharding(device)

        def publicly(array: Any) -> Any:
            # Not ``jax.numpy.array``: it compiles a copy for each new shape, which takes longer
            # than a fit.
            return jax.make_array_from_callback(array.shape, sharding, lambda _: array)

        def directly(array: Any) -> Any:
            return put(shaped(array.shape, array.dtype), sharding, [array], devices)

        # What JAX's own functions call in the end takes a third of their time, but is not public:
        # a version without it, or with other arguments, takes the public way.
        try:
            shaped = functools.lru_cache(jax.core.ShapedArray)
            put = importlib.import_module("jaxlib.xla_client").batched_device_put
            directly(np.zeros(1, np.float32)).block_until_ready()
        except Exception:  # noqa: BLE001 (it is not known what another version raises)
            return publicly
        return directly

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return JAX's device."""
        return xp, self._first_of_host


# On few rows, to ask for ``array.device`` twice takes as long as to lend the array.
@functools.lru_cache
def _device_of(sharding: Any) -> Any:
    """Return the one device of arrays with a sharding; ValueError if they lie on several."""
    devices = sharding.device_set
    if len(devices) > 1:
        raise ValueError(
            f"kmeans_xp got an array of JAX that lies on {len(devices)} devices, and computes on "
            "one: move it there first, X = jax.device_put(X, jax.devices()[0])."
        )
    return next(iter(devices))


def _widened(array: Any) -> Host:
    """Return an array on the host as NumPy's, in float32 if it is of halves."""
    host = np.asarray(array)
    return host.astype(np.float32) if is_half(host.dtype) else host
