"""Ranges and cells that a detector of mmdet3d states in several places."""

from types import SimpleNamespace as Thing

import pytest

from bevkd.engine.preflight.ranges import check_filters, require_one_range
from bevkd.errors import ConfigError

RANGE = [-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
VOXELS = Thing(point_cloud_range=RANGE, voxel_size=[0.2, 0.2, 8.0])
MODEL = Thing(data_preprocessor=Thing(voxel_layer=VOXELS))
TRAIN = {"point_cloud_range": RANGE, "voxel_size": [0.2, 0.2, 8], "grid_size": [512, 512, 1]}
CODER = {"pc_range": RANGE[:2], "voxel_size": [0.2, 0.2]}


def test_one_range_passes_and_so_do_models_without_voxels():
    require_one_range(MODEL, Thing(train_cfg=TRAIN, bbox_coder=Thing(**CODER)))
    require_one_range(MODEL, Thing(train_cfg={"assigner": 1}))
    require_one_range(MODEL, None)
    require_one_range(Thing(), Thing(train_cfg=TRAIN))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_cfg.point_cloud_range", [-54.0, *RANGE[1:]]),
        ("train_cfg.voxel_size", [0.1, 0.1, 8]),
        ("train_cfg.grid_size", [1024, 512, 1]),
        ("bbox_coder.pc_range", [-51.2, -54.0]),
        ("bbox_coder.voxel_size", [0.25, 0.2]),
    ],
)
def test_each_place_is_compared(field, value):
    part, name = field.split(".")
    train, coder = dict(TRAIN), dict(CODER)
    (train if part == "train_cfg" else coder)[name] = value
    with pytest.raises(ConfigError, match=rf"the model's head has {field} .* its voxel_layer has point_cloud_range"):
        require_one_range(MODEL, Thing(train_cfg=train, bbox_coder=Thing(**coder)))


class PointsRangeFilter:
    def __init__(self, pcd_range):
        self.pcd_range = pcd_range


def test_filters_of_another_range_are_named():
    same, other = (Thing(pipeline=Thing(transforms=[PointsRangeFilter(r)])) for r in (RANGE, [-40.0, *RANGE[1:]]))
    assert not check_filters("train_dataloader", same, MODEL)
    assert not check_filters("train_dataloader", other, Thing())
    said = check_filters("train_dataloader", Thing(dataset=other), MODEL)
    assert len(said) == 1
    assert said[0].startswith("train_dataloader: PointsRangeFilter keeps [-40.0,")
