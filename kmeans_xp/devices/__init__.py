"""Which library an array is of, which device it is on, and what is usable here."""

from kmeans_xp.devices.availability import (
    DeviceReport,
    DeviceUnavailableError,
    available,
    why_numba_is_unusable,
)
from kmeans_xp.devices.libraries import (
    Array,
    Device,
    DType,
    Namespace,
    accumulation_dtype,
    begin_read,
    computing_dtype,
    device_of,
    from_host,
    is_array,
    is_of_kind,
    library_name,
    namespace_of,
    to_host,
    working_device,
)
from kmeans_xp.devices.memory import (
    is_out_of_memory,
    shrink_tiles,
    tile_shape,
    within_budget,
)
from kmeans_xp.devices.placement import Placement, adopted, bring, choose, send

__all__ = [
    "Array",
    "DType",
    "Device",
    "DeviceReport",
    "DeviceUnavailableError",
    "Namespace",
    "Placement",
    "accumulation_dtype",
    "adopted",
    "available",
    "begin_read",
    "bring",
    "choose",
    "computing_dtype",
    "device_of",
    "from_host",
    "is_array",
    "is_of_kind",
    "is_out_of_memory",
    "library_name",
    "namespace_of",
    "send",
    "shrink_tiles",
    "tile_shape",
    "to_host",
    "why_numba_is_unusable",
    "within_budget",
    "working_device",
]
