"""Names that the whole nuScenes side shares."""

CLASSES = (
    "car", "truck", "trailer", "bus", "construction_vehicle",
    "bicycle", "motorcycle", "pedestrian", "traffic_cone", "barrier",
)  # fmt: skip
"""Detection classes in mmdet3d's order: the position is the label."""

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
"""Camera names in mmdet3d's order, which is the order of every camera dimension."""

POINT_FEATURES = 5
"""Numbers per point of a nuScenes ``.pcd.bin``, all float32: x, y, z (metres), intensity (0 to 255), ring."""

REGENERATE = "make it again with `python tools/create_data.py nuscenes DATA_ROOT`"
