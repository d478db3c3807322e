"""Synthetic worlds in genuine nuScenes or Waymo form.

``create`` writes streets with traffic, seen by a spinning LiDAR and six cameras that ray cast the same solids, as a
v1.0-mini folder that the unmodified nuscenes-devkit loads, renders and evaluates. Points are in the LiDAR frame at
the time of their sweep (every ray is cast at one instant: there is no motion to undo); ``num_radar_pts`` is 0, as
there is no radar. ``waymo_create.create_waymo`` writes the same streets, seen by five LiDARs and five cameras, as a
Waymo Open Dataset v2 (Parquet) folder.
"""

from bevkd.datasets.synthetic.create import create

__all__ = ["create"]
