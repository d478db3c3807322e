import copy

import numpy as np
import pytest

from bevkd.datasets import safe_pickle
from bevkd.datasets.conventions import check_box_convention
from bevkd.datasets.validate import validate_infos
from bevkd.errors import DataError


@pytest.fixture
def infos(tiny_nuscenes_readonly):
    return safe_pickle.load(tiny_nuscenes_readonly / "nuscenes_infos_train.pkl")


def test_good_infos_pass(infos):
    validate_infos(infos)


def boxes(sizes, yaws, speed=5.0):
    """Cars at the origin, driving along +x, with the given (dx, dy) and yaw."""
    table = np.array([[0, 0, 0, *size, 1.5, yaw] for size, yaw in zip(sizes, yaws)])
    return table, np.zeros(len(table), dtype=int), np.tile([speed, 0.0], (len(table), 1))


def test_drawn_convention():
    # A car 4.5 m long and 1.9 m wide that drives along +x: (4.5, 1.9), yaw 0. Reversing is not wrong.
    check_box_convention(*boxes([(4.5, 1.9)] * 4, [0.0, 0.1, np.pi, -0.1]), "f.pkl")
    with pytest.raises(DataError, match=r"f\.pkl.*before 1\.0.*mASE near 0\.7.*make it again"):
        check_box_convention(*boxes([(1.9, 4.5)] * 4, [0.0] * 4), "f.pkl")
    with pytest.raises(DataError, match=r"mAOE near 1\.57"):
        check_box_convention(*boxes([(4.5, 1.9)] * 4, [-np.pi / 2] * 4), "f.pkl")
    # Standing cars say nothing about yaw, and two cars are too few for a verdict.
    check_box_convention(*boxes([(4.5, 1.9)] * 4, [1.57] * 4, speed=0.5), "f.pkl")
    check_box_convention(*boxes([(1.9, 4.5)] * 2, [1.57] * 2), "f.pkl")
    check_box_convention(np.zeros((0, 7)), np.zeros(0, dtype=int), np.zeros((0, 2)), "f.pkl")


def to_old_convention(infos):
    """mmdet3d before 1.0: (w, l, h) and yaw' = -yaw - pi/2."""
    for info in infos["data_list"]:
        for instance in info["instances"]:
            x, y, z, dx, dy, dz, yaw = instance["bbox_3d"]
            instance["bbox_3d"] = [x, y, z, dy, dx, dz, -yaw - np.pi / 2]
    return infos


def test_old_convention_in_a_whole_file(infos):
    with pytest.raises(DataError, match=r"sizes are \(width, length, height\)"):
        validate_infos(to_old_convention(infos), "old.pkl")


@pytest.mark.real_frame
def test_real_frame_passes_and_its_old_form_does_not(real_frame_infos):
    validate_infos(real_frame_infos.infos)
    with pytest.raises(DataError, match=r"mASE near 0\.7.*mAOE near 1\.57"):
        validate_infos(to_old_convention(copy.deepcopy(real_frame_infos.infos)))


def test_file_of_old_mmdet3d_is_recognised():
    with pytest.raises(DataError, match=r"before 1\.0.*create_data\.py nuscenes"):
        validate_infos({"infos": [], "metadata": {"version": "v1.0-mini"}}, "old.pkl")


def damage(path, value):
    def apply(infos):
        node = infos
        for key in path[:-1]:
            node = node[key]
        if value is KeyError:
            del node[path[-1]]
        else:
            node[path[-1]] = value

    return apply


NAN = float("nan")
FIRST = ("data_list", 0)
SINGULAR = [[0.0] * 4] * 4
CASES = {
    "no metainfo": (damage(("metainfo",), KeyError), "metainfo"),
    "version": (damage(("metainfo", "info_version"), "1.0"), "info_version is 1.0, expected 1.1"),
    "empty": (damage(("data_list",), []), "empty"),
    "class order": (damage(("metainfo", "categories", "car"), 1), "car the label 1, expected 0"),
    "no token": (damage((*FIRST, "token"), KeyError), "'token' is missing"),
    "no camera": (damage((*FIRST, "images", "CAM_BACK"), KeyError), "TOKEN: camera CAM_BACK is missing"),
    "no lidar2cam": (damage((*FIRST, "images", "CAM_BACK", "lidar2cam"), KeyError), "CAM_BACK: 'lidar2cam'"),
    "singular pose": (damage((*FIRST, "ego2global"), SINGULAR), "TOKEN: ego2global: .*singular"),
    "pose shape": (damage((*FIRST, "lidar_points", "lidar2ego"), [[1.0]]), r"lidar2ego: shape \(1, 1\)"),
    "pose text": (damage((*FIRST, "lidar_points", "lidar2ego"), "x"), "lidar2ego: not a 4x4"),
    "pose NaN": (damage((*FIRST, "ego2global", 0, 3), NAN), "ego2global: holds a value that is not finite"),
    "focal length": (damage((*FIRST, "images", "CAM_BACK", "cam2img", 0, 0), 0.0), "CAM_BACK.cam2img: singular"),
    "NaN box": (damage((*FIRST, "instances", 1, "bbox_3d", 0), NAN), r"TOKEN: instances\[1\]: bbox_3d .* not finite"),
    "flat box": (damage((*FIRST, "instances", 0, "bbox_3d", 4), 0.0), r"instances\[0\]: .*size that is not positive"),
    "negative box": (damage((*FIRST, "instances", 0, "bbox_3d", 5), -1.0), "size that is not positive"),
    "label": (damage((*FIRST, "instances", 2, "bbox_label_3d"), 10), r"instances\[2\]: bbox_label_3d is 10"),
    "degrees": (damage((*FIRST, "instances", 0, "bbox_3d", 6), 90.0), "degrees"),
    "box length": (damage((*FIRST, "instances", 0, "bbox_3d"), [0.0] * 9), "bbox_3d has 9"),
    "no velocity": (damage((*FIRST, "instances", 0, "velocity"), KeyError), "'velocity' is missing"),
    "sweep order": (damage(("data_list", 1, "lidar_sweeps", 0, "timestamp"), 1532402928.0), "expected newest first"),
    "sweep pose": (damage(("data_list", 1, "lidar_sweeps", 0, "lidar_points", "lidar2sensor"), SINGULAR), "singular"),
}


@pytest.mark.parametrize("case", CASES)
def test_damage_is_named(infos, case):
    apply, message = CASES[case]
    message = message.replace("TOKEN", infos["data_list"][0]["token"])
    apply(infos)
    with pytest.raises(DataError, match=r"f\.pkl.*" + message):
        validate_infos(infos, "f.pkl")


def test_duplicate_sample_is_named(infos):
    infos["data_list"].append(infos["data_list"][0])
    with pytest.raises(DataError, match=f"{infos['data_list'][0]['token']} occurs twice"):
        validate_infos(infos)
