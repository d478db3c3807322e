"""Pipeline transforms: LiDAR sweeps, cameras, bird's-eye-view augmentation and packing (importing registers them)."""

from .augment import BEVAugment
from .cameras import LoadCameras
from .lidar import LoadSweeps, LoadWaymoPoints
from .pack import PackBEV

__all__ = ["BEVAugment", "LoadCameras", "LoadSweeps", "LoadWaymoPoints", "PackBEV"]
