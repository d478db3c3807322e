"""A data set without a box to learn from is refused with the reasons counted, by its infos alone."""

import pickle
from types import SimpleNamespace as Thing

import pytest
import torch

from bevkd.engine.preflight.boxes import require_box_columns, require_boxes
from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid

DETECTOR = Thing(grid=BEVGrid((-10.0, 10.0), (-5.0, 5.0), 1.0))
MIDDLE, BEYOND = [0.0] * 9, [0.0, 6.0, *[0.0] * 7]


class Data:
    """Samples of one box each."""

    def __init__(self, rows, labels=None, key="ann_info", pipeline=(), ann_file="", **meta):
        self.rows, self.labels, self.key = rows, labels or [0] * len(rows), key
        self.pipeline, self.ann_file, self.metainfo = Thing(transforms=pipeline), ann_file, meta
        self.looked = 0

    def __len__(self):
        return len(self.rows)

    def get_data_info(self, index):
        self.looked += 1
        row, label = self.rows[index], self.labels[index]
        boxes = torch.tensor([row] if row else []).reshape(-1, len(row) or 9)
        return {self.key: {"gt_bboxes_3d": Thing(tensor=boxes), "gt_labels_3d": [label] * len(boxes)}}


class ObjectRangeFilter:
    pcd_range = (-1.0, -1.0, -3.0, 1.0, 1.0, 3.0)


class ObjectSample:
    pass


def test_one_box_is_enough_and_ends_the_search():
    data = Data([[], BEYOND, MIDDLE, MIDDLE, MIDDLE])
    require_boxes("train_dataloader", Thing(dataset=data), DETECTOR)
    assert data.looked == 1 + 3


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (Data([[], []]), r"Data: none of 2 samples has a box that counts \(no instances\)"),
        (Data([BEYOND, []]), r"1 instances: all outside the model's grid \(-10.0, -5.0, 10.0, 5.0\)"),
        (Data([[9.0, *[0.0] * 8]], pipeline=[ObjectRangeFilter()]), r"all outside ObjectRangeFilter"),
        (Data([[float("nan"), *[0.0] * 8]]), "none of 1 samples"),
        (Data([MIDDLE], [-1]), "none of 1 samples"),
    ],
)
def test_no_box(data, sentence):
    with pytest.raises(DataError, match=sentence):
        require_boxes("train_dataloader", data, DETECTOR)
    said = []
    require_boxes("train_dataloader", data, DETECTOR, said.append)
    assert len(said) == 1


def test_a_run_that_goes_on_looks_at_a_hundred_samples():
    data, said = Data([[]] * 1000), []
    require_boxes("val_dataloader", data, None, said.append)
    assert "none of 100 samples" in said[0]
    assert data.looked < 210
    require_boxes("val_dataloader", Data([[]] * 999 + [MIDDLE]), None, said.append)


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        ({"bbox_label_3d": 0, "bbox_3d_isvalid": False, "num_lidar_pts": 4}, "with bbox_3d_isvalid False"),
        ({"bbox_label_3d": 0, "num_lidar_pts": 0}, r"without a LiDAR point \(num_lidar_pts 0\)"),
        ({"bbox_label_3d": -1, "num_lidar_pts": 4}, "with label -1"),
        ({"bbox_label_3d": 3, "num_lidar_pts": 4}, "of classes that metainfo.classes leaves out"),
    ],
)
def test_what_the_info_file_says_of_left_out_instances(tmp_path, instance, reason):
    file = tmp_path / "infos.pkl"
    file.write_bytes(pickle.dumps({"metainfo": {}, "data_list": [{"instances": [instance] * 3}, {}]}))
    data = Data([[], []], ann_file=str(file), label_mapping={0: 0, 3: -1, -1: -1})
    with pytest.raises(DataError, match=rf"infos.pkl: none of 2 samples .*\(3 instances: all {reason}\)"):
        require_boxes("train_dataloader", data, DETECTOR)


@pytest.mark.parametrize(
    "data", [Data([[]], key="labels"), Data([[]], pipeline=[ObjectSample()]), [1, 2], Data([[]], key="ann") ]
)  # fmt: skip
def test_what_is_no_set_of_3d_boxes_is_left_alone(data):
    require_boxes("train_dataloader", data, DETECTOR)


def test_a_validation_set_is_read_where_it_keeps_its_boxes():
    require_boxes("val_dataloader", Data([MIDDLE], key="eval_ann_info"), None)
    with pytest.raises(DataError, match="val_dataloader"):
        require_boxes("val_dataloader", Data([[]], key="eval_ann_info"), None)


def center_head(*names, weights=10):
    return Thing(
        task_heads=[Thing(heads=dict.fromkeys(names))], bbox_coder=1, train_cfg={"code_weights": [1] * weights}
    )


ALL = ("reg", "height", "dim", "rot", "vel", "heatmap")


def test_columns_of_boxes_and_head():
    nine, seven = Data([MIDDLE]), Data([[0.0] * 7])
    require_box_columns("train_dataloader", nine, center_head(*ALL))
    require_box_columns("train_dataloader", seven, Thing(box_code_size=7))
    require_box_columns("train_dataloader", seven, None)
    with pytest.raises(ConfigError, match=r"have 7 columns \(with_velocity=False\), .* regresses 9"):
        require_box_columns("train_dataloader", seven, center_head(*ALL))
    with pytest.raises(ConfigError, match=r"have 9 columns .* regresses 7"):
        require_box_columns("train_dataloader", nine, Thing(box_code_size=7))
    with pytest.raises(ConfigError, match="has no branch vel, expected"):
        require_box_columns("train_dataloader", nine, center_head("reg", "height", "dim", "rot"))
    with pytest.raises(ConfigError, match="has 8 code_weights in its train_cfg, expected 10"):
        require_box_columns("train_dataloader", nine, center_head(*ALL, weights=8))
