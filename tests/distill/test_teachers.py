"""The live teacher: frozen, loaded strictly, out of everybody's way."""

import copy

import pytest
import torch
from torch import nn

from bevkd.distill import Distiller, LiveTeacher
from bevkd.errors import CheckpointError, ConfigError
from bevkd.structures import BEVGrid
from bevkd.structures.sums import sha256

CPU = torch.device("cpu")


@pytest.fixture
def saved(detector, tmp_path):
    """A trained-looking detector and its checkpoint."""
    model = detector(seed=3)
    path = tmp_path / "teacher.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return model.eval(), path


def config_of(detector, **kwargs):
    kind = type(detector())
    return {"type": kind, **kwargs}


def test_loads_its_checkpoint_and_gives_the_model_s_features(detector, saved, batch):
    model, path = saved
    teacher = LiveTeacher(config_of(detector), path)
    features = teacher(*batch, CPU)
    with torch.no_grad():
        low = model.stem(batch[0]["image"])
        torch.testing.assert_close(features["low"], low)
        torch.testing.assert_close(features["high"], model.encoder(low))
    assert len(features["head"]) == 2
    assert teacher.grid == model.grid
    tensors = [features["low"], features["high"], *features["head"][0].values()]
    assert not any(t.requires_grad for t in tensors)
    expected = {"config": "FakeDetector", "checkpoint": str(path), "sha256": sha256(path)}
    assert teacher.info() == {**expected, "settings": {"type": "FakeDetector"}}


def test_it_runs_without_recording_gradients(detector, batch):
    """Frozen parameters alone do not say so: a teacher may hold tensors that want a gradient."""

    class Watched(type(detector())):
        def forward(self, inputs, data_samples=None, mode="tensor"):
            self.recorded = torch.is_grad_enabled()
            return super().forward(inputs, data_samples, mode)

    model = Watched()
    LiveTeacher(model)(*batch, CPU)
    assert not model.recorded


def test_config_file_and_its_distiller_s_student(detector, saved, tmp_path, batch):
    model, path = saved
    torch.save({"state_dict": {f"student.{k}": v for k, v in model.state_dict().items()}}, path)
    teacher = LiveTeacher({"type": Distiller, "student": config_of(detector)}, path)
    teacher.load()
    assert torch.equal(teacher.model.stem.weight, model.stem.weight)
    with pytest.raises(ConfigError, match=r"names .*absent\.py, which does not exist"):
        LiveTeacher(tmp_path / "absent.py", path).load()
    (tmp_path / "none.py").write_text("epochs = 3\n")
    with pytest.raises(ConfigError, match=r"'model' of .*none\.py is None"):
        LiveTeacher(tmp_path / "none.py", path).load()


def test_loading_leaves_the_random_state_alone(detector, saved):
    teacher = LiveTeacher(config_of(detector), saved[1])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    teacher.load()
    assert torch.equal(torch.rand(3), expected)


def test_needs_a_checkpoint_that_fits(detector, saved):
    with pytest.raises(ConfigError, match="a config but no checkpoint"):
        LiveTeacher(config_of(detector))
    with pytest.raises(CheckpointError, match=r"teacher\.pth does not fit FakeDetector: .* of another shape"):
        LiveTeacher(config_of(detector, channels=8), saved[1]).load()


def test_unknown_tap_and_contradicting_grid_are_refused(detector):
    with pytest.raises(ConfigError, match=r"tap 'high' names 'encodr'.*nearest: encoder"):
        LiveTeacher(detector(), taps={"high": "encodr"}).load()
    with pytest.raises(ConfigError, match=r"teacher model and teacher's config differ: cell 0.5 against 0.25"):
        LiveTeacher(detector(), grid={"x_range": (-6, 6), "y_range": (-6, 6), "cell": 0.25}).load()
    with pytest.raises(ConfigError, match="the teacher's grid has the keys"):
        LiveTeacher(detector(), grid={"x_range": (-6, 6), "size": 0.5}).load()


def test_a_model_without_a_grid_takes_the_configured_one(detector):
    model = detector()
    model.grid = None
    teacher = LiveTeacher(model, grid={"x_range": (-6, 6), "y_range": (-6, 6), "cell": 0.5})
    teacher.load()
    assert teacher.grid == BEVGrid((-6, 6), (-6, 6), 0.5)


def test_train_mode_and_trainable_parameters_are_refused(detector, batch):
    teacher = LiveTeacher(detector())
    teacher(*batch, CPU)
    teacher.model.encoder.train()
    with pytest.raises(ConfigError, match="module 'encoder' is in train mode"):
        teacher(*batch, CPU)
    teacher.model.eval()
    teacher.model.stem.bias.requires_grad_(True)
    with pytest.raises(ConfigError, match=r"parameter 'stem\.bias' is trainable"):
        teacher(*batch, CPU)


def test_copies_share_it(detector):
    teacher = LiveTeacher(detector())
    assert copy.deepcopy({"teacher": teacher})["teacher"] is teacher


def test_inputs_squeezed_in_place_do_not_reach_the_student(detector, batch):
    class Squeezes(type(detector())):
        def forward(self, inputs, data_samples=None, mode="tensor"):
            inputs["image"].squeeze_().unsqueeze_(0).unsqueeze_(0)
            inputs["extra"] = 1
            return super().forward(inputs, data_samples, mode)

    one = {"image": batch[0]["image"][:1]}
    LiveTeacher(Squeezes())(one, batch[1][:1], CPU)
    assert list(one) == ["image"]
    assert one["image"].shape == (1, 1, 24, 24)


def test_a_multi_sensor_detector_of_mmdet3d_runs_up_to_its_head(batch):
    """Same method names as mmdet3d's MVX detectors, whose mode='tensor' does nothing."""

    class Preprocessor(nn.Module):
        voxel = True

        def voxelize(self, points, data_samples):
            return {"voxels": points[0][:, :1]}

    class Multi(nn.Module):
        def __init__(self):
            super().__init__()
            self.data_preprocessor = Preprocessor()
            self.pts_neck = nn.Linear(1, 1)
            self.pts_bbox_head = nn.Linear(1, 1)

        def extract_feat(self, inputs, metas):
            assert metas == [{}, {}]
            return None, self.pts_neck(inputs["voxels"]["voxels"])

    model = Multi()
    points = torch.rand(5, 4)
    inputs = {"points": [points, points], "voxels": "the student's"}
    features = LiveTeacher(model, taps={"high": "pts_neck", "head": "pts_bbox_head"})(inputs, batch[1], CPU)
    torch.testing.assert_close(features["head"], model.pts_bbox_head(model.pts_neck(points[:, :1])))
