import numpy as np
import pytest
from tiny_nuscenes import POINTS_PER_BOX

from bevkd.datasets import safe_pickle
from bevkd.errors import ConfigError, DataError

nuscenes = pytest.importorskip("bevkd.datasets.nuscenes")

RANGE = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
CLASSES = nuscenes.NuScenesBEVDataset.METAINFO["classes"]
PIPELINE = [
    {"type": "LoadSweeps", "sweeps": 2},
    {"type": "LoadCameras", "size": (45, 80)},
    {"type": "BEVAugment"},
    {"type": "PointsRangeFilter", "point_cloud_range": RANGE},
    {"type": "ObjectRangeFilter", "point_cloud_range": RANGE},
    {"type": "ObjectNameFilter", "classes": list(CLASSES)},
    {"type": "PackBEV"},
]
PLAIN = [{"type": "LoadSweeps"}, {"type": "LoadCameras", "size": (90, 160)}, {"type": "PackBEV"}]


def dataset(root, split="train", pipeline=PLAIN, **kwargs):
    return nuscenes.NuScenesBEVDataset(root, f"nuscenes_infos_{split}.pkl", pipeline, **kwargs)


def edit(root, change):
    """Change the training infos in place, past every check."""
    import pickle

    path = root / "nuscenes_infos_train.pkl"
    infos = safe_pickle.load(path)
    change(infos["data_list"])
    path.write_bytes(pickle.dumps(infos))
    return root


def test_a_training_sample_has_everything(tiny_nuscenes_readonly):
    data = dataset(tiny_nuscenes_readonly, pipeline=PIPELINE)
    assert len(data) == 6
    assert data.metainfo["version"] == "v1.0-mini"
    packed = data[2]
    sample, inputs = packed["data_samples"], packed["inputs"]
    assert inputs["points"].shape == (3 * 5 * POINTS_PER_BOX, 5)
    assert sorted(set(inputs["points"][:, 4].numpy().round(3).tolist())) == pytest.approx([0, 0.2, 0.35])
    assert inputs["img"].shape == (6, 3, 45, 80)
    assert sample.gt_instances_3d.bboxes_3d.tensor.shape == (4, 9)  # the animal is left out
    assert sample.gt_instances_3d.labels_3d.tolist() == [0, 7, 9, 0]
    assert sample.metainfo["lidar2img"].shape == (6, 4, 4)
    assert {"token", "sample_idx", "lidar_path", "img_path", "lidar2img"} <= set(sample.metainfo)
    assert len(sample.metainfo["img_path"]) == 6


@pytest.mark.parametrize("index", range(6))
def test_points_lie_in_the_boxes_that_own_them(tiny_nuscenes_readonly, index):
    """The frames of points, sweeps (motion compensated, of objects that stand) and boxes are one."""
    sweeps = [{"type": "LoadSweeps", "sweeps": 9}, *PLAIN[1:]]
    packed = dataset(tiny_nuscenes_readonly, pipeline=sweeps)[index]
    points = packed["inputs"]["points"].numpy()
    for row, owner in enumerate((0, 1, 2, 4)):  # intensity is the object's number; 3 is the animal
        x, y, z, dx, dy, dz, yaw = packed["data_samples"].gt_instances_3d.bboxes_3d.tensor[row, :7].numpy()
        mine = points[(points[:, 3] == owner) & ((points[:, 4] == 0) | (owner == 2))]
        assert len(mine) >= POINTS_PER_BOX
        shift = mine[:, :2] - (x, y)
        along = shift @ (np.cos(yaw), np.sin(yaw))
        across = shift @ (-np.sin(yaw), np.cos(yaw))
        margin = 0.1  # boxes are upright in the LiDAR frame, which is tilted by two degrees
        assert (np.abs(along) < dx / 2 + margin).all()
        assert (np.abs(across) < dy / 2 + margin).all()
        assert (np.abs(mine[:, 2] - z - dz / 2) < dz / 2 + margin).all()


def test_velocity_points_along_the_heading_and_nan_becomes_zero(tiny_nuscenes):
    def forget(infos):
        infos[0]["instances"][0]["velocity"] = [float("nan"), 3.0]

    boxes = dataset(edit(tiny_nuscenes, forget))[0]["data_samples"].gt_instances_3d.bboxes_3d.tensor
    assert boxes[0, 7:].tolist() == [0, 0]
    yaw, velocity = boxes[1, 6], boxes[1, 7:]
    speed = velocity.norm()
    assert 3 <= speed <= 5
    np.testing.assert_allclose(velocity / speed, [yaw.cos(), yaw.sin()], atol=0.01)


def test_boxes_without_points_are_left_out_and_an_empty_sample_stays(tiny_nuscenes):
    def empty(infos):
        for instance in infos[1]["instances"]:
            instance.update(num_lidar_pts=0, num_radar_pts=0, bbox_3d_isvalid=False)
        infos[2]["instances"][0].update(num_lidar_pts=0, num_radar_pts=2, bbox_3d_isvalid=True)
        infos[3]["instances"] = []

    data = dataset(edit(tiny_nuscenes, empty))
    counts = [len(data[i]["data_samples"].gt_instances_3d.labels_3d) for i in range(4)]
    assert counts == [4, 0, 4, 0]
    assert data[1]["data_samples"].gt_instances_3d.bboxes_3d.tensor.shape == (0, 9)
    lidar_only = dataset(tiny_nuscenes, use_valid_flag=False)
    assert len(lidar_only[2]["data_samples"].gt_instances_3d.labels_3d) == 3


def test_test_mode_offers_annotations_beside(tiny_nuscenes_readonly):
    sample = dataset(tiny_nuscenes_readonly, "val", test_mode=True)[0]["data_samples"]
    assert sample.eval_ann_info["gt_bboxes_3d"].tensor.shape == (4, 9)
    assert len(sample.gt_instances_3d) == 0


def test_class_subset_maps_labels(tiny_nuscenes_readonly):
    data = dataset(tiny_nuscenes_readonly, metainfo={"classes": ["pedestrian", "car"]})
    assert data[0]["data_samples"].gt_instances_3d.labels_3d.tolist() == [1, 0, 1]


def test_plain_mmdet3d_reads_the_infos(tiny_nuscenes_readonly):
    from mmdet3d.datasets import NuScenesDataset
    from mmdet3d.registry import TRANSFORMS

    steps = [
        {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 5, "use_dim": 5},
        {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 9, "use_dim": 5},
        {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
        {"type": "ObjectNameFilter", "classes": list(CLASSES)},
        {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
    ]
    theirs = NuScenesDataset(
        str(tiny_nuscenes_readonly), "nuscenes_infos_train.pkl", [TRANSFORMS.build(step) for step in steps],
        data_prefix={"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP", "img": ""},
    )[2]  # fmt: skip
    steps = [{"type": "LoadSweeps", "sweeps": 9, "remove_close": 0.0}, *PLAIN[1:]]
    ours = dataset(tiny_nuscenes_readonly, pipeline=steps)[2]
    np.testing.assert_allclose(
        ours["data_samples"].gt_instances_3d.bboxes_3d.tensor,
        theirs["data_samples"].gt_instances_3d.bboxes_3d.tensor, atol=1e-5,
    )  # fmt: skip
    key_frame = 5 * POINTS_PER_BOX
    np.testing.assert_allclose(ours["inputs"]["points"][:key_frame, :4], theirs["inputs"]["points"][:key_frame, :4])
    # theirs subtracts the translation in the sweep's axes, so sweeps agree only roughly
    assert (ours["inputs"]["points"] - theirs["inputs"]["points"]).abs().max() < 1.0


def path_of(data, index):
    return data.get_data_info(index)["lidar_points"]["lidar_path"]


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(50)


def test_a_broken_sample_is_named_and_never_replaced(tiny_nuscenes):
    data = dataset(tiny_nuscenes)
    cut(path_of(data, 3))
    token = data.get_data_info(3)["token"]
    with pytest.raises(DataError, match=rf"sample {token}: .*LIDAR_TOP.*50 bytes"):
        data[3]
    image = data.get_data_info(4)["images"]["CAM_BACK"]["img_path"]
    cut(image)
    with pytest.raises(DataError, match=r"sample \w{32}: .*CAM_BACK.*jpg: not a complete image"):
        data[4]
    assert data[5]["inputs"]["points"].shape[1] == 5


def test_a_pipeline_that_returns_nothing_is_an_error_and_a_bug_keeps_its_type(tiny_nuscenes_readonly):
    with pytest.raises(DataError, match=r"sample \w{32}: the pipeline returned nothing"):
        dataset(tiny_nuscenes_readonly, pipeline=[lambda results: None])[0]
    with pytest.raises(TypeError):
        dataset(tiny_nuscenes_readonly, pipeline=[lambda results: 1 + "a"])[0]


def test_missing_infos_and_filter_empty_gt(tiny_nuscenes):
    (tiny_nuscenes / "nuscenes_infos_train.pkl").unlink()
    with pytest.raises(DataError, match=r"no such info file; make it with `python tools/create_data\.py nuscenes /"):
        dataset(tiny_nuscenes)
    with pytest.raises(ConfigError, match="filter_empty_gt"):
        dataset(tiny_nuscenes, "val", filter_empty_gt=True)


def test_unsafe_or_unsound_infos_are_refused(tiny_nuscenes):
    edit(tiny_nuscenes, lambda infos: infos[0]["instances"][0]["bbox_3d"].__setitem__(3, float("nan")))
    with pytest.raises(DataError, match=r"instances\[0\]: bbox_3d .*not finite"):
        dataset(tiny_nuscenes)
    (tiny_nuscenes / "nuscenes_infos_train.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"refused, because it asks for os\.system"):
        dataset(tiny_nuscenes)
