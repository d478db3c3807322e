"""The image classifier: modes, taps, targets, names of classes, and backbones of others."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.structures import BaseDataElement

from bevkd.distill import Distiller, LiveTeacher
from bevkd.errors import ConfigError, DataError
from bevkd.methods.kd import KD
from bevkd.registry import MODELS
from bevkd.structures.labels import LabelTargets
from bevkd.structures.taps import record_taps
from bevkd.tasks.classification import ImageClassifier, ImagePreprocessor, PlainCNN

NAMES = ("cat", "dog", "owl")


def classifier(names=NAMES, width=4, **options):
    torch.manual_seed(0)
    return ImageClassifier(PlainCNN(width, stages=2, in_channels=1), names, **options)


def sample(label=None, **fields):
    element = BaseDataElement(metainfo={"token": f"train/{label}.png", **fields.pop("meta", {})})
    for key, value in {"gt_label": label, **fields}.items():
        if value is not None:
            setattr(element, key, value)
    return element


IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
SAMPLES = [sample(2), sample(0)]


def test_modes():
    model = classifier().eval()
    logits = model(IMAGES)
    assert logits.shape == (2, 3)
    assert torch.equal(model(IMAGES, mode="tensor"), logits)
    loss = model(IMAGES, SAMPLES, mode="loss")
    expected = -logits.log_softmax(1)[[0, 1], [2, 0]].mean()
    assert set(loss) == {"loss_cls"}
    torch.testing.assert_close(loss["loss_cls"], expected)
    for found in (model(IMAGES, [sample(2), sample()], mode="predict"), model(IMAGES, mode="predict")):
        assert [s.pred_label for s in found] == logits.argmax(1).tolist()
        torch.testing.assert_close(torch.stack([s.pred_scores for s in found]), logits.softmax(1))
    with pytest.raises(ConfigError, match="mode is 'train', expected"):
        model(IMAGES, mode="train")


def test_weights_of_samples_enter_its_own_loss():
    model = classifier().eval()
    each = [model(IMAGES[i : i + 1], SAMPLES[i : i + 1], mode="loss")["loss_cls"] for i in range(2)]
    found = model(IMAGES, [sample(2, weight=0.5), sample(0, weight=0.0)], mode="loss")["loss_cls"]
    torch.testing.assert_close(found, 0.5 * each[0] / 2)


def test_taps():
    model = classifier().eval()
    with record_taps(model) as taps:
        logits = model(IMAGES)
    assert taps["feature"].shape == (2, 8, 4, 4)
    torch.testing.assert_close(taps["pooled"], taps["feature"].mean((2, 3)))
    assert torch.equal(taps["logits"], logits)
    with record_taps(model, {"stage": "backbone.stages.0"}) as taps:
        model(IMAGES)
    assert taps["stage"].shape == (2, 4, 8, 8)


def test_every_parameter_receives_a_gradient():
    model = classifier()
    model(IMAGES, SAMPLES, mode="loss")["loss_cls"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_distiller_gives_methods_the_students_targets():
    given = []

    class Spy(KD):
        def losses(self, student, teacher, targets):
            given.append(targets)
            return super().losses(student, teacher, targets)

    model = Distiller(classifier(), LiveTeacher(classifier(width=8)), {"spy": Spy()})
    losses = model(IMAGES, [sample(2, weight=0.5), sample(0)], mode="loss")
    assert set(losses) == {"loss_cls", "kd/spy/soft", "info/spy/kept"}
    (targets,) = given
    assert isinstance(targets, LabelTargets)
    assert targets.labels.tolist() == [2, 0]
    assert targets.ids == ("train/2.png", "train/0.png")
    assert targets.weights.tolist() == [0.5, 1.0]


def test_a_teacher_of_other_classes_is_refused():
    model = Distiller(classifier(), LiveTeacher(classifier(("dog", "cat", "owl"))), {"kd": KD()})
    with pytest.raises(ConfigError, match=r"student's head has the classes \[\['cat'\].* teacher's \[\['dog'\]"):
        model(IMAGES, SAMPLES, mode="loss")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (sample(), "train/None.png of the batch has no gt_label"),
        (sample(3), "train/3.png has label 3, expected 0 to 2"),
        (sample(1, meta={"class_name": "owl"}), "is of class 1, 'owl', expected the model's class_names"),
        (sample(3, meta={"class_name": "emu"}), "is of class 3, 'emu', expected the model's class_names"),
        (sample(1, weight=-1.0), "has weight -1.0, expected a finite number"),
    ],
)
def test_samples_that_do_not_fit_are_refused(wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        classifier()(IMAGES, [SAMPLES[0], wrong], mode="loss")


def test_predictions_of_other_classes_are_refused():
    with pytest.raises(DataError, match="expected the model's class_names"):
        classifier()(IMAGES[:1], [sample(1, meta={"class_name": "owl"})], mode="predict")


@pytest.mark.parametrize("names", [(), "cat", ("cat", "cat")])
def test_wrong_class_names_are_refused(names):
    with pytest.raises(ConfigError, match=r"class_names are .*, expected different names"):
        classifier(names)


def test_wrong_channels_are_refused():
    with pytest.raises(ConfigError, match=r"the head has channels 5, but the last map of PlainCNN is \(2, 8, 4, 4\)"):
        classifier(channels=5)(IMAGES)
    with pytest.raises(ConfigError, match="channels are None and Identity names none"):
        ImageClassifier(torch.nn.Identity(), NAMES)
    with pytest.raises(ConfigError, match=r"PlainCNN has in_channels 1, but the images are \(2, 3, 8, 8\)"):
        classifier()(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ConfigError, match="PlainCNN has stages 0, expected at least 1"):
        PlainCNN(stages=0)


def test_images_are_normalised_and_of_one_size():
    grey = ImagePreprocessor(mean=[78.0], std=[96.0])
    images = [torch.full((1, 2, 3), value, dtype=torch.uint8) for value in (78, 174)]
    batch = grey({"inputs": images, "data_samples": SAMPLES})
    assert batch["inputs"].tolist() == torch.stack([torch.zeros(1, 2, 3), torch.ones(1, 2, 3)]).tolist()
    assert [s.gt_label for s in batch["data_samples"]] == [2, 0]
    with pytest.raises(DataError, match=r"are \[\(1, 2, 3\), \(1, 3, 3\)\] \[C, H, W\], expected one size"):
        grey({"inputs": [images[0], torch.zeros(1, 3, 3)], "data_samples": None})
    with pytest.raises(ConfigError, match="images have 1 channels and mean 3 numbers"):
        ImagePreprocessor(mean=[1, 2, 3], std=[1, 1, 1])({"inputs": images, "data_samples": None})
    assert ImagePreprocessor()({"inputs": images})["inputs"].dtype == torch.float32


def test_the_plain_net_by_its_arguments():
    net = PlainCNN(width=3, depth=2, stages=3, in_channels=1)
    assert net.out_channels == 12
    assert net(IMAGES).shape == (2, 12, 2, 2)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in net.modules()) == 6


def test_a_backbone_of_mmdet():
    backbone = {"type": "mmdet.ResNet", "depth": 18, "base_channels": 4, "stem_channels": 4}
    model = MODELS.build({"type": "ImageClassifier", "backbone": backbone, "class_names": list(NAMES)})
    assert model.head.in_features == 32
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    with record_taps(model, {**model.default_taps, "middle": "backbone.layer2"}) as taps:
        model(torch.randn(2, 3, 32, 32))
    assert taps["feature"].shape == (2, 32, 1, 1)
    assert taps["middle"].shape == (2, 8, 4, 4)


def test_the_task_needs_no_detection_framework():
    code = "import sys, bevkd.tasks.classification; print(sorted({'mmdet3d', 'mmdet', 'mmcv'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
