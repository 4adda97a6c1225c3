"""JAX."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from kmeans_xp.config import get_config
from kmeans_xp.devices.libraries.record import Library, is_bfloat16

__all__ = ["Jax"]

#: bytes of an array that JAX copies in less time than it takes to share it by DLPack
_SOONER_COPIED = 2**16


class Jax(Library):
    """Has arrays that cannot be written to, and tracers, which hold no numbers yet."""

    out_of_memory = ("RESOURCE_EXHAUSTED",)
    flushes_subnormals = True  # XLA does so, on CPUs too

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
        return array.device

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

    def shared(self, array: Any, xp: Any) -> Any:
        """Return an array of NumPy or CuPy in the same memory, or a copy of a small one."""
        if not isinstance(array, np.ndarray) or array.nbytes > _SOONER_COPIED:
            return xp.from_dlpack(array)
        # Not ``jax.numpy.array``: it compiles a copy for each new shape, which takes longer than
        # a fit.
        make: Callable[..., Any] = self.module.make_array_from_callback
        return make(array.shape, self._on_host, lambda _: array)

    def lender(self, array: Any) -> str | None:
        """Return the library whose kernels can compute in an array's memory; None for its own."""
        # A third of the time that DLPack takes to say it. Arrays on several devices have none.
        if getattr(array.device, "platform", None) != "cpu":
            return super().lender(array)
        return None if is_bfloat16(array.dtype) else "numpy"

    def lent(self, array: Any, borrower: Library, xp: Any) -> Any:
        """Return an array in the same memory."""
        # A quarter of the time that DLPack takes.
        return np.asarray(array) if borrower.name == "numpy" else borrower.shared(array, xp)

    @functools.cached_property
    def _on_host(self) -> Any:
        """The first device on the host, where DLPack's arrays are too, as a sharding."""
        jax = self.module
        return jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return JAX's device."""
        return xp, self.module.devices("cpu")[0]
