"""The Waymo Open Dataset v2 (Parquet): read with pyarrow alone, converted to mmdet3d's infos, given out as samples.

Light by itself; ``bevkd.datasets.waymo.dataset`` brings mmdet3d and registers the data set with its loader. Everything
is in Waymo's vehicle frame: x forward, y left, z up, origin on the ground under the rear axle.
"""
