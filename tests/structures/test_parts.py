"""load_from by parts: strict within them, in and out of a distiller."""

import re

import pytest
import torch
from torch import nn

from bevkd.errors import CheckpointError, ConfigError
from bevkd.structures.parts import start_from


class Detector(nn.Module):
    def __init__(self, sensors=("lidar", "camera")):
        super().__init__()
        for sensor in sensors:
            setattr(self, f"{sensor}_encoder", nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        self.neck, self.head = nn.Linear(3, 3), nn.Linear(3, len(sensors))


class Distilled(nn.Module):
    def __init__(self, student):
        super().__init__()
        self.student, self.methods = student, nn.ModuleDict({"adapter": nn.Linear(1, 1)})


@pytest.fixture
def files(tmp_path):
    """Weights of a LiDAR detector, bare and inside a distiller, and of a camera detector."""
    torch.manual_seed(0)
    lidar, camera = Detector(["lidar"]), Detector(["camera"])
    torch.save({"state_dict": lidar.state_dict()}, tmp_path / "lidar.pth")
    torch.save({"state_dict": Distilled(lidar).state_dict()}, tmp_path / "distilled.pth")
    torch.save(camera.state_dict(), tmp_path / "camera.pth")
    return lidar, camera, tmp_path


def equal(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("file", ["lidar.pth", "distilled.pth"])
@pytest.mark.parametrize("prefix", ["", "student."])
def test_parts_of_a_detector_start_from_a_checkpoint(files, file, distilled, prefix):
    lidar, _, folder = files
    fusion = Detector()
    before = fusion.head.weight.clone()
    model = Distilled(fusion) if distilled else fusion
    if prefix and not distilled:
        with pytest.raises(ConfigError, match=r"load_from.parts names 'student.neck', which the model does not have"):
            start_from(model, {"checkpoint": folder / file, "parts": [f"{prefix}neck"]})
        return
    start_from(model, {"checkpoint": folder / file, "parts": (f"{prefix}lidar_encoder", f"{prefix}neck")})
    assert equal(fusion.lidar_encoder, lidar.lidar_encoder)
    assert equal(fusion.neck, lidar.neck)
    assert torch.equal(fusion.head.weight, before)


def test_lidar_and_camera_from_two_checkpoints(files):
    lidar, camera, folder = files
    fusion = Detector()
    given = [
        {"checkpoint": folder / "lidar.pth", "parts": ("lidar_encoder", "neck")},
        {"checkpoint": folder / "camera.pth", "parts": ("camera_encoder",)},
    ]
    start_from(fusion, given)
    assert equal(fusion.lidar_encoder, lidar.lidar_encoder)
    assert equal(fusion.camera_encoder, camera.camera_encoder)


def test_other_paths_in_the_checkpoint_and_a_whole_student(files):
    lidar, _, folder = files
    fusion = Detector()
    start_from(fusion, {"checkpoint": folder / "lidar.pth", "parts": {"camera_encoder": "lidar_encoder"}})
    assert equal(fusion.camera_encoder, lidar.lidar_encoder)
    for file in ("lidar.pth", "distilled.pth"):
        model = Distilled(Detector(["lidar"]))
        start_from(model, {"checkpoint": folder / file, "parts": ("student",)})
        assert equal(model.student, lidar)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (("lidar_encodr",), "names 'lidar_encodr', which the model does not have; nearest: lidar_encoder"),
        (("lidar_encoder", "lidar_encoder.0"), "has 'lidar_encoder.0' and 'lidar_encoder', which overlap"),
        (("head.", "head"), "names 'head.', which the model does not have"),
        (("",), "names '', which the model does not have"),
        ("lidar_encoder", "is 'lidar_encoder', expected paths of modules such as"),
        ((), r"is \(\), expected paths of modules such as"),
        (None, "is None, expected paths of modules such as"),
    ],
)
def test_wrong_parts_are_refused(files, parts, sentence):
    with pytest.raises(ConfigError, match=f"load_from.parts {sentence}"):
        start_from(Detector(), {"checkpoint": files[2] / "lidar.pth", "parts": parts})


def test_other_forms_and_parts_given_twice_are_refused(files):
    entry = {"checkpoint": files[2] / "lidar.pth", "parts": ("neck",)}
    for wrong in ({"checkpoint": "a.pth"}, {**entry, "strict": False}, 3, ["a.pth"]):
        with pytest.raises(ConfigError, match=r"load_from is .*, expected dict\(checkpoint='path', parts="):
            start_from(Detector(), wrong)
    with pytest.raises(ConfigError, match=r"load_from takes 'neck' from \S+lidar.pth and \S+lidar.pth, expected one"):
        start_from(Detector(), [entry, entry])


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("camera_encoder", r"lidar.pth has no key under 'camera_encoder.'; nearest: lidar_encoder"),
        ("head", r"lidar.pth at 'head' does not fit Linear: 2 of another shape than the model \(bias \(1,\) against "),
    ],
)
def test_what_does_not_fit_is_listed(files, part, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        start_from(Detector(), {"checkpoint": files[2] / "lidar.pth", "parts": (part,)})


@pytest.mark.parametrize("model", [Detector(), Distilled(Detector())])
def test_a_whole_checkpoint_that_does_not_fit_names_the_parts_that_would(files, model):
    hint = "load_from=dict(checkpoint=..., parts=(...)) takes parts alone and would fit at ('lidar_encoder', 'neck')"
    with pytest.raises(CheckpointError, match=f"does not fit .*missing.*{re.escape(hint)}$"):
        start_from(model, files[2] / "lidar.pth")
