"""Torch twins of the compiled ops: same names, same results, written to be read. Slow on purpose."""

from bevkd.ops.reference.bev_pool import bev_pool, lift_cells
from bevkd.ops.reference.voxelize import voxelize, voxelize_dynamic, voxelize_mean

__all__ = ["bev_pool", "lift_cells", "voxelize", "voxelize_dynamic", "voxelize_mean"]
