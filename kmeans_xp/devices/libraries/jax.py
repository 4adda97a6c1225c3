"""JAX."""

from contextlib import AbstractContextManager
from typing import Any

from kmeans_xp.config import get_config
from kmeans_xp.devices.libraries.record import Library

__all__ = ["Jax"]


class Jax(Library):
    """Has arrays that cannot be written to, and tracers, which hold no numbers yet."""

    out_of_memory = ("RESOURCE_EXHAUSTED",)

    def settled(self, array: Any) -> Any:
        """Return the array; TypeError if it is a tracer."""
        if isinstance(array, self.module.core.Tracer):
            raise TypeError(
                "kmeans_xp got an array that JAX is tracing, inside jax.jit, grad or vmap: "
                "clustering chooses and stops by numbers, which a tracer does not have. Call it "
                "outside, on arrays."
            )
        return array

    def working(self, device: Any) -> AbstractContextManager[object]:
        """Return a context that sets the precision: on a GPU, JAX's default is TF32."""
        name = "tensorfloat32" if get_config().precision == "tf32" else "float32"
        jax = self.module
        precision: AbstractContextManager[object] = jax.default_matmul_precision(name)
        return precision

    def cpu(self, xp: Any) -> tuple[Any, Any]:
        """Return JAX's device."""
        return xp, self.module.devices("cpu")[0]
