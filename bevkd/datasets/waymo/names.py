"""Waymo's numbers for sensors, objects and difficulties, and the names that bevkd and mmdet3d give them."""

SPLITS = {"training": "train", "validation": "val", "testing": "test", "testing_location": "testing_location"}
"""Folder of each split, and its name in the info file's. The two testing splits share no segment and have no labels."""

LASERS = {1: "TOP", 2: "FRONT", 3: "SIDE_LEFT", 4: "SIDE_RIGHT", 5: "REAR"}

CAMERAS = {
    1: "CAM_FRONT", 2: "CAM_FRONT_LEFT", 3: "CAM_FRONT_RIGHT", 4: "CAM_SIDE_LEFT", 5: "CAM_SIDE_RIGHT",
}  # fmt: skip
"""Camera names in mmdet3d's order, which is the order of every camera dimension."""

TYPES = {0: "UNKNOWN", 1: "VEHICLE", 2: "PEDESTRIAN", 3: "SIGN", 4: "CYCLIST"}

CLASSES = ("Car", "Pedestrian", "Cyclist")
"""Detection classes in mmdet3d's order: the position is the label."""

LABELS = {1: 0, 2: 1, 4: 2}
"""Label of each Waymo type that is detected; signs and unknown objects have none (-1)."""

DIFFICULTIES = (0, 1, 2)
"""0 unset, 1 LEVEL_1, 2 LEVEL_2."""

REGENERATE = "make it again with `python tools/create_data.py waymo DATA_ROOT`"
