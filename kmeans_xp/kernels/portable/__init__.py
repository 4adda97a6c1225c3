"""The kernels written only against the Array API: each docstring is the contract.

Every kernel that takes ``rows`` takes them first, works tile by tile, and never holds an
n_points x n_clusters matrix. ``centroids`` and candidates are relative to the rows' origin, as
the points are. "Accumulated" sums and masses are float64 where the device has it. No kernel
writes to its inputs or waits for the device.
"""
