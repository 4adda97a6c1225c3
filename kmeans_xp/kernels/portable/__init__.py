"""The kernels written against the Array API alone: each docstring is the contract.

Every kernel that takes ``rows`` takes them first, works in tiles of them, and never holds an
n_points x n_clusters matrix. ``centroids`` and candidates are relative to the rows' origin, as
the points are. Sums and masses are float64 where the device has it ("accumulated"). Inputs
are never written to. Nothing here waits for the device.
"""
