"""Units, poses and cameras of info files: what is wrong with a whole file is one sentence, and good files pass.

Public reports of these: open-mmlab/mmdetection3d#280 and tier4/autoware-ml#67 (microseconds),
megvii-research/PETR#14 and Sense-GVT/Fast-BEV#97 (extrinsics inverted or transposed).
"""

import copy

import numpy as np
import pytest

from bevkd.datasets import safe_pickle
from bevkd.datasets.checks.columns import Column, InfoFile
from bevkd.datasets.checks.poses import check_vehicle
from bevkd.datasets.validate import validate_infos
from bevkd.errors import DataError


@pytest.fixture
def infos(tiny_nuscenes_readonly):
    return safe_pickle.load(tiny_nuscenes_readonly / "nuscenes_infos_train.pkl")


def samples(change):
    return lambda infos: [change(info) for info in infos["data_list"]]


def images(change):
    return samples(lambda info: [change(image) for image in info["images"].values()])


def sweeps(change):
    return samples(lambda info: [change(sweep) for sweep in info["lidar_sweeps"]])


def instances(change):
    return samples(lambda info: [change(instance) for instance in info["instances"]])


def multiply(record, key, factor):
    record[key] = (np.array(record[key]) * factor).tolist()


def pose(key, function, *without):
    def change(record):
        record[key] = function(np.array(record[key])).tolist()
        for other in without:
            record.pop(other)

    return change


def shift(scale):
    def change(matrix):
        matrix[:3, 3] *= scale
        return matrix

    return change


def mirror(matrix):
    matrix[0] *= -1
    return matrix


def all_times(factor):
    def change(info):
        for record in (info, *info["lidar_sweeps"], *info["images"].values()):
            record["timestamp"] *= factor

    return change


MICRO = {
    "all in microseconds": (samples(all_times(1e6)), r"timestamp is 1\.5.*e\+15|timestamp is 15\d+.*expected seconds"),
    "all in milliseconds": (samples(all_times(1e3)), "timestamp is .*expected seconds"),
    "key frames": (samples(lambda info: multiply(info, "timestamp", 1e6)), "timestamp is .*expected seconds"),
    "sweeps": (sweeps(lambda sweep: multiply(sweep, "timestamp", 1e6)), r"lidar_sweeps\[0\]: timestamp is .*seconds"),
    "images": (images(lambda image: multiply(image, "timestamp", 1e3)), r"images\.CAM_FRONT\.timestamp .*seconds"),
    "time is text": (samples(lambda info: info.update(timestamp="1")), "timestamp is '1', expected a finite number"),
    "old sweeps": (sweeps(lambda sweep: sweep.update(timestamp=sweep["timestamp"] - 50)), "at most 10 s apart"),
}
POSES = {
    "lidar2cam transposed": (images(pose("lidar2cam", np.transpose)), r"lidar2cam: .*bottom row .*transposed"),
    "bottom row": (images(lambda i: i["lidar2cam"].__setitem__(3, [0, 0, 0, 2])), "row is 0 0 0 2, expected 0 0 0 1$"),
    "lidar2cam inverted": (images(pose("lidar2cam", np.linalg.inv)), r"lidar2cam: differs from inv\(cam2ego\)"),
    "cam2ego inverted": (images(pose("cam2ego", np.linalg.inv)), r"lidar2cam: differs from inv\(cam2ego\)"),
    "lidar2cam inverted, alone": (images(pose("lidar2cam", np.linalg.inv, "cam2ego")), "degrees from upright"),
    "camera axes": (images(pose("lidar2cam", lambda m: m[[2, 0, 1, 3]], "cam2ego")), "degrees from upright"),
    "lidar2cam mirrored": (images(pose("lidar2cam", mirror)), r"lidar2cam: .*left-handed \(determinant -1"),
    "lidar2cam in millimetres": (images(pose("lidar2cam", shift(1000))), "translation is .* expected metres"),
    "lidar2cam in centimetres": (images(pose("lidar2cam", shift(100))), "translation is .* expected metres|differs"),
    "cam2ego transposed": (images(pose("cam2ego", np.transpose)), "cam2ego: .*transposed"),
    "lidar2ego transposed": (
        samples(lambda i: pose("lidar2ego", np.transpose)(i["lidar_points"])), "lidar2ego: .*transposed"),
    "lidar2ego inverted": (samples(lambda i: pose("lidar2ego", np.linalg.inv)(i["lidar_points"])), "differs from inv"),
    "ego2global transposed": (samples(pose("ego2global", np.transpose)), "ego2global: .*transposed"),
    "ego2global inverted": (samples(pose("ego2global", np.linalg.inv)), "ego2global|lidar2sensor: differs"),
    "ego2global in millimetres": (samples(pose("ego2global", shift(1000))), "ego2global: moved .* expected metres"),
    "lidar2sensor transposed": (
        sweeps(lambda s: pose("lidar2sensor", np.transpose)(s["lidar_points"])), r"\[0\].*lidar2sensor: .*transposed"),
    "lidar2sensor inverted": (
        sweeps(lambda s: pose("lidar2sensor", np.linalg.inv)(s["lidar_points"])), "lidar2sensor: differs from inv"),
    "lidar2img of another camera": (
        images(lambda image: image.update(lidar2img=np.eye(4).tolist())), "lidar2img differs from cam2img @ lidar2cam"),
}  # fmt: skip
INTRINSICS = {
    "transposed": (images(pose("cam2img", np.transpose)), r"cam2img: its last row is 79 44 1, .*transposed"),
    "normalised": (images(lambda i: i.update(cam2img=np.diag([0.6, 1.1, 1]).tolist())), "focal lengths .*pixels"),
    "of a larger image": (
        images(lambda i: i.update(cam2img=(np.diag([4, 4, 1]) @ i["cam2img"]).tolist())),
        r"principal point \(316, 176\) lies outside of the image of 160x90"),
    "height": (images(lambda i: i.update(height=-1)), r"CAM_FRONT\.height is -1, expected a whole number of pixels"),
    "width alone": (images(lambda i: i.pop("height")), r"CAM_FRONT\.height is None"),
}  # fmt: skip
BOXES = {
    "millimetres": (instances(lambda b: multiply(b, "bbox_3d", [1000] * 6 + [1])), "bbox_3d .*expected metres"),
    "map frame": (instances(lambda b: b["bbox_3d"].__setitem__(0, 1200.0)), "expected metres in the LiDAR frame"),
    "velocity": (instances(lambda b: b.update(velocity=[4000.0, 0.0])), r"velocity \[4000.0, 0.0\] .*expected m/s"),
    "label is text": (instances(lambda b: b.update(bbox_label_3d="car")), "bbox_label_3d is 'car'"),
    "box is text": (instances(lambda b: b["bbox_3d"].__setitem__(0, "x")), "bbox_3d is 'x', expected a number"),
}
STATED = {
    "data set": (lambda i: i["metainfo"].update(dataset="waymo"), "dataset is 'waymo', expected 'nuscenes'"),
    "categories": (lambda i: i["metainfo"].update(categories={"Car": 0}), "Car the label 0, expected -1"),
    "classes": (lambda i: i["metainfo"].update(classes=["truck", "car"]), "metainfo.classes is truck, car, expected"),
    "metainfo": (lambda i: i.update(metainfo=[]), "metainfo is a list, expected a dict"),
    "num_pts_feats": (
        samples(lambda i: i["lidar_points"].update(num_pts_feats="4")), r"points\.num_pts_feats is '4', expected"),
    "num_points": (
        sweeps(lambda s: s["lidar_points"].update(num_points=-1)), r"\[0\]\.lidar_points\.num_points is -1, expected"),
    "sweep twice": (
        lambda i: i["data_list"][1]["lidar_sweeps"].append(i["data_list"][1]["lidar_sweeps"][-1]), "listed twice"),
}  # fmt: skip
CASES = {
    f"{group}: {name}": case
    for group, cases in (
        ("times", MICRO), ("poses", POSES), ("intrinsics", INTRINSICS), ("boxes", BOXES), ("stated", STATED),
    )
    for name, case in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_contradictions_are_one_sentence(infos, case):
    change, message = CASES[case]
    change(infos)
    with pytest.raises(DataError, match=rf"^f\.pkl: (?s:.*)({message})") as caught:
        validate_infos(infos, "f.pkl")
    assert "\n" not in str(caught.value)


def long_drive(infos, count, turn=0.02):
    """``count`` samples of one drive along a curve, half a second apart, each like the first."""
    first = infos["data_list"][1]
    speed, key = 8.0, np.array(first["lidar_points"]["lidar2ego"])
    poses = []
    for index in range(-1, count):
        angle = turn * index
        poses.append(np.eye(4))
        poses[-1][:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        step = 0.5 * speed * np.array([np.cos(angle), np.sin(angle)])
        poses[-1][:2, 3] = (poses[-2][:2, 3] if len(poses) > 1 else (600.0, 1600.0)) + step
    drive = []
    for index in range(count):
        info = copy.deepcopy(first)
        info.update(token=f"t{index}", prev="", timestamp=first["timestamp"] + 0.5 * index, sample_idx=index)
        info["ego2global"] = poses[index + 1].tolist()
        for image in info["images"].values():
            image["timestamp"] += 0.5 * index
        sweep = info["lidar_sweeps"][0]
        sweep["timestamp"], sweep["ego2global"] = info["timestamp"] - 0.5, poses[index].tolist()
        sweep["lidar_points"].update(
            lidar2ego=key.tolist(),
            lidar2sensor=(np.linalg.inv(poses[index] @ key) @ poses[index + 1] @ key).tolist(),
        )
        info["lidar_sweeps"] = [sweep]
        drive.append(info)
    infos["data_list"] = drive
    return infos


@pytest.mark.parametrize("inverted", [False, True])
def test_inverted_vehicle_poses_show_by_the_drives_alone(inverted):
    """Twelve straight drives, each with its own heading, forwards and in one case backwards."""
    times, poses = [], []
    for drive in range(12):
        heading, speed = 0.5 * drive, -8.0 if drive == 3 else 8.0
        for step in range(4):
            pose = np.eye(4)
            pose[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
            pose[:2, 3] = np.array([700.0, 1600.0]) + 0.5 * speed * step * pose[:2, 0]
            times.append(100.0 * drive + 0.5 * step)
            poses.append(np.linalg.inv(pose) if inverted else pose)
    column = Column(InfoFile("f.pkl", [{"token": "t"}] * len(poses)))
    for index, pose in enumerate(poses):
        column.add(index, "ego2global", pose.tolist())
    if inverted:
        with pytest.raises(DataError, match=r"all directions of its own frame.*inverted"):
            check_vehicle(column, np.array(times))
    else:
        check_vehicle(column, np.array(times))


def test_inverted_vehicle_poses_on_a_curve_are_too_fast(infos):
    infos = long_drive(infos, 100)
    validate_infos(infos)
    for info in infos["data_list"]:
        info["lidar_sweeps"] = []
        info["ego2global"] = np.linalg.inv(info["ego2global"]).tolist()
    with pytest.raises(DataError, match=r"ego2global: moved .* expected metres and at most 60 m/s"):
        validate_infos(infos)


def test_cameras_that_look_past_the_objects_are_refused(infos):
    """Objects in front of a camera must be in its image, whatever its name and however many cameras there are."""
    infos = long_drive(infos, 40)
    for info in infos["data_list"]:
        for instance in info["instances"]:
            instance["bbox_3d"][:3] = [0.0, 20.0, -1.0]
    validate_infos(infos, cameras=("CAM_FRONT",))
    for info in infos["data_list"]:
        info["images"]["CAM_FRONT"]["cam2img"][1][1] = 4000.0  # a metre below then is 200 pixels below
    with pytest.raises(DataError, match=r"images\.CAM_FRONT\.lidar2cam: 0 of \d+ objects in front"):
        validate_infos(infos, cameras=("CAM_FRONT",))


def test_unconfirmed_pose_may_hang_as_its_mount_says(infos):
    """A camera on its side is fine where cam2ego says the same."""
    roll = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for info in infos["data_list"]:
        image = info["images"]["CAM_FRONT"]
        image["lidar2cam"] = (roll @ image["lidar2cam"]).tolist()
        image["cam2ego"] = (image["cam2ego"] @ roll.T).tolist()
    validate_infos(infos)


def test_files_in_arrays_and_without_redundant_fields_pass(infos):
    """mmdet3d's own files have no image sizes, and other writers leave arrays in theirs."""
    for info in infos["data_list"]:
        info["ego2global"] = np.array(info["ego2global"], dtype=np.float32)
        for image in info["images"].values():
            for key in ("height", "width", "timestamp", "cam2ego"):
                del image[key]
            image["lidar2cam"] = np.array(image["lidar2cam"], dtype=np.float32)
            image["cam2img"] = np.pad(image["cam2img"], ((0, 1), (0, 1)))
        for sweep in info["lidar_sweeps"]:
            del sweep["ego2global"]
    validate_infos(infos)
