"""What pipelines load, against what models look at, without loading a sample."""

from types import SimpleNamespace as Thing

import pytest
import torch
from mmcv.transforms import Compose

import bevkd  # noqa: F401  (serves mmcv's compiled ops)
from bevkd.datasets.transforms import BEVAugment, LoadCameras, LoadSweeps, LoadWaymoPoints, PackBEV
from bevkd.engine.preflight import check_teacher
from bevkd.engine.preflight.inputs import point_columns, require_annotations, require_image_size, require_inputs
from bevkd.errors import ConfigError

LIDAR = Thing(lidar_encoder=Thing(centre=torch.zeros(5)), camera_encoder=None)
CAMERA = Thing(lidar_encoder=None, camera_encoder=Thing())
TEMPORAL = Thing(camera_encoder=Thing(temporal=True))
POINTS, IMAGES, PACK = LoadSweeps(), LoadCameras((64, 176)), PackBEV()
BEFORE = LoadCameras((64, 176), previous=True)


class Det3DDataset:
    test_mode = False

    def __init__(self, *steps, **options):
        self.pipeline = Compose(steps)
        vars(self).update(options)


class WholeSamples(Det3DDataset):
    pass


class Supervised(torch.nn.Module):
    """A camera detector, with or without supervision of depth."""

    def __init__(self, weight):
        super().__init__()
        self.camera_encoder = torch.nn.Module()
        self.camera_encoder.depth_weight = weight


class Own(BEVAugment):
    """A step of the user's own, which may load anything."""


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (LIDAR, Det3DDataset(POINTS, PACK)),
        (LIDAR, Det3DDataset(LoadWaymoPoints(), IMAGES, BEVAugment(), PACK)),
        (CAMERA, Det3DDataset(IMAGES, PACK)),
        (CAMERA, Det3DDataset(BEFORE, PACK, previous=True)),
        (TEMPORAL, Det3DDataset(BEFORE, PACK, previous=True)),
        (LIDAR, Det3DDataset(Own(), PACK)),
        (Supervised(0.0), Det3DDataset(IMAGES, PACK)),
        (Thing(), Det3DDataset(IMAGES, PACK)),
    ],
)
def test_what_fits(model, data):
    require_inputs("train_dataloader", Thing(dataset=data), model, training=True)


@pytest.mark.parametrize(
    ("model", "data", "sentence"),
    [
        (LIDAR, Det3DDataset(IMAGES, PACK), r"no step that loads points \(LoadSweeps, .*for model.lidar_encoder"),
        (CAMERA, Det3DDataset(POINTS, PACK), r"no step that loads images .*model.camera_encoder"),
        (LIDAR, Det3DDataset(POINTS, PackBEV(keys=("img",))), r"PackBEV.keys are \['img'\], expected points too"),
        (TEMPORAL, Det3DDataset(IMAGES, PACK), "LoadCameras.previous and dataset.previous is False"),
        (TEMPORAL, Det3DDataset(BEFORE, PACK), "dataset.previous is False and model.camera_encoder looks at the key"),
        (CAMERA, Det3DDataset(BEFORE, PACK), "dataset.previous is False and LoadCameras.previous is True"),
        (Supervised(3.0), Det3DDataset(IMAGES, PACK), "loads points .*depth_weight supervises depth with points"),
        (Thing(lidar_encoder=Thing(centre=torch.zeros(4))), Det3DDataset(POINTS, PACK), "have 5 columns, expected 4"),
        (Thing(voxel_encoder=Thing(num_features=6)), Det3DDataset(POINTS, PACK), "have 5 columns, expected 6"),
    ],
)
def test_what_is_missing(model, data, sentence):
    with pytest.raises(ConfigError, match=f"train_dataloader: .*{sentence}"):
        require_inputs("train_dataloader", Thing(datasets=[data]), model, training=True)


def test_predicting_needs_no_supervision():
    require_inputs("val_dataloader", Det3DDataset(IMAGES, PACK), Supervised(3.0), training=False)


def test_what_a_teacher_looks_at_and_what_it_does_not_know():
    said = []
    classes = {"classes": ("car", "bus")}
    teacher = Thing(model=LIDAR, classes=lambda: [["car"]])
    with pytest.raises(ConfigError, match=r"train_dataloader: .*loads points .*for the teacher.lidar_encoder"):
        check_teacher(Thing(dataset=Det3DDataset(IMAGES, PACK)), Thing(teacher=teacher), said.append)
    check_teacher(Thing(dataset=Det3DDataset(POINTS, PACK, metainfo=classes)), Thing(teacher=teacher), said.append)
    assert said == ["train_dataloader: the teacher's head does not know bus, which Det3DDataset has"]
    cached = Thing(classes=lambda: None)  # reads no sensor and does not tell
    check_teacher(Thing(dataset=Det3DDataset(PACK, metainfo=classes)), Thing(teacher=cached), said.append)
    check_teacher(Thing(dataset=None), Thing(), said.append)
    assert len(said) == 1


def test_columns_of_mmdet3d_s_steps():
    from mmdet3d.datasets.transforms import LoadPointsFromFile, LoadPointsFromMultiSweeps

    file = LoadPointsFromFile("LIDAR", load_dim=5, use_dim=[0, 1, 2, 4])
    assert point_columns([file]) == 4
    assert point_columns([file, LoadPointsFromMultiSweeps(use_dim=[0, 1, 2])]) == 3
    assert point_columns([IMAGES]) is None


def test_a_training_loader_hands_boxes_to_the_loss():
    from mmdet3d.datasets.transforms import LoadAnnotations3D, Pack3DDetInputs

    require_annotations("train_dataloader", WholeSamples(POINTS, PACK))
    annotated = [LoadAnnotations3D(), Pack3DDetInputs(keys=["points", "gt_bboxes_3d", "gt_labels_3d"])]
    require_annotations("train_dataloader", Det3DDataset(*annotated))
    with pytest.raises(ConfigError, match="test_mode=True, in which it hands no boxes"):
        require_annotations("train_dataloader", Thing(dataset=WholeSamples(POINTS, PACK, test_mode=True)))
    with pytest.raises(ConfigError, match="no LoadAnnotations3D"):
        require_annotations("train_dataloader", Det3DDataset(annotated[1]))
    with pytest.raises(ConfigError, match=r"expected gt_bboxes_3d and gt_labels_3d too, for the loss"):
        require_annotations("train_dataloader", WholeSamples(POINTS, PackBEV(keys=("points", "img"))))


def test_image_sizes_that_strides_divide_or_do_not():
    class Neck(torch.nn.Module):
        def forward(self, maps):
            return maps[0] + torch.nn.functional.interpolate(maps[1], scale_factor=2)

    class Backbone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3, 2, 1)
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, image):
            first = self.norm(self.conv(image))
            return first, self.conv(first)

    encoder = Thing(backbone=Backbone(), neck=Neck())
    require_image_size("LoadCameras.size", (64, 96), encoder)
    with pytest.raises(ConfigError, match=r"LoadCameras.size is \(66, 96\), which .* expected sides that all their"):
        require_image_size("LoadCameras.size", (66, 96), Thing(encoder=encoder))
    assert encoder.backbone.norm.num_batches_tracked == 0
