"""Folders of images: names, numbers and order of samples, transforms, scores, and data that is refused."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from bevkd.engine.sampling import SeededDataset, SeededIndex
from bevkd.errors import ConfigError, DataError
from bevkd.registry import DATASETS
from bevkd.tasks.classification import ClassificationMetric, ImageFolder
from bevkd.tasks.classification.data import OpenImage, PackImage, RandomCropImage, RandomFlipImage, ResizeImage
from bevkd.tasks.classification.metric import classification_scores
from bevkd.tasks.classification.samples import DIGITS, write_digits

OPEN = [{"type": "OpenImage"}, {"type": "PackImage"}]


@pytest.fixture
def root(tmp_path):
    """Two classes; cat has a picture in a folder of its own."""
    for name, grey in (("train/dog/b.png", 10), ("train/dog/a.PNG", 20), ("train/cat/x/c.jpg", 30)):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), grey).save(file)
    (tmp_path / "train/dog/notes.txt").write_text("no image")
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/readme.md").write_text("no image")
    return tmp_path


def test_samples_have_stable_names_and_numbers(root):
    data = ImageFolder(root, "train", OPEN)
    assert data.metainfo["classes"] == ("cat", "dog")
    assert [data.get_data_info(i)["token"] for i in range(len(data))] == [
        "train/cat/x/c.jpg", "train/dog/a.PNG", "train/dog/b.png",
    ]  # fmt: skip
    sample = data[1]
    assert sample["inputs"].dtype == torch.uint8
    assert sample["inputs"].shape == (3, 3, 4)
    assert sample["inputs"].unique().tolist() == [20]
    assert sample["data_samples"].gt_label == 1
    assert sample["data_samples"].class_name == "dog"
    assert sample["data_samples"].token == "train/dog/a.PNG"
    assert data.get_cat_ids(0) == [0]


def test_names_do_not_depend_on_where_the_folder_is_seen_from(root, monkeypatch):
    for place, seen_from, split in (
        (root, ".", "train/"),
        (root.parent, f"{root.name}/", "train"),
        (root / "train", ".", ""),
    ):
        monkeypatch.chdir(place)
        data = ImageFolder(seen_from, split)
        expected = ["cat/x/c.jpg", "dog/a.PNG", "dog/b.png"]
        tokens = [data.get_data_info(i)["token"] for i in range(3)]
        assert tokens == [f"train/{name}" for name in expected] if split else tokens == expected
        assert all((place / data.get_data_info(i)["img_path"]).is_file() for i in range(3))


def test_classes_may_be_given_their_numbers(root):
    data = DATASETS.build({"type": "ImageFolder", "data_root": root, "split": "train", "classes": ["dog", "cat"]})
    assert data.metainfo["classes"] == ("dog", "cat")
    assert [data.get_data_info(i)["gt_label"] for i in range(3)] == [0, 0, 1]
    assert len(ImageFolder(root, "train", indices=2)) == 2


def test_folders_that_are_refused(root):
    (root / "empty").mkdir()
    (root / "bare/cat").mkdir(parents=True)
    (root / "texts/cat").mkdir(parents=True)
    (root / "texts/cat/a.txt").write_text("")
    (root / "flat").mkdir()
    Image.new("L", (2, 2)).save(root / "flat/a.png")
    for split, classes, sentence in (
        ("absent", None, "absent cannot be read: No such file or directory; expected one folder a class"),
        ("train/dog/b.png", None, "b.png cannot be read: Not a directory"),
        ("empty", None, "empty has no folder in it"),
        ("bare", None, "cat is empty, expected images"),
        ("texts", None, r"cat has files of the kinds \['.txt'\] alone, expected images"),
        ("flat", None, "flat holds a.png beside the classes' folders"),
        ("train", ["cat"], r"has the folders \['dog'\], expected the classes \['cat'\]"),
        ("train", ["cat", "dog", "owl"], r"lacks the folders \['owl'\], expected the classes"),
        ("train", ["cat", "owl"], r"lacks the folders \['owl'\] and has the folders \['dog'\]"),
    ):
        with pytest.raises(DataError, match=sentence):
            ImageFolder(root, split, OPEN, classes)


def test_an_unreadable_image_is_refused_and_nothing_takes_its_place(root):
    data = ImageFolder(root, "train", OPEN)
    whole = (root / "train/dog/b.png").read_bytes()
    for content in (b"", b"not an image", whole[: len(whole) // 2], whole[:40]):
        (root / "train/dog/b.png").write_bytes(content)
        for chosen in (data, SeededDataset(data)):
            with pytest.raises(DataError, match=r"sample train/dog/b.png: .*b.png cannot be read as an image \(.+\)"):
                chosen[2]
    (root / "train/dog/b.png").unlink()
    with pytest.raises(DataError, match=r"b.png cannot be read as an image \(No such file or directory\)"):
        data[2]


def test_a_pipeline_that_packs_nothing_is_refused(root):
    data = ImageFolder(root, "train", [lambda results: None])
    with pytest.raises(DataError, match=r"sample train/cat/x/c\.jpg: the pipeline returned nothing"):
        data[0]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("stored", ["L", "RGB", "RGBA", "P", "CMYK", "1"])
def test_images_of_any_kind_have_the_channels_that_were_asked_for(tmp_path, stored, mode):
    path = tmp_path / ("a.tif" if stored == "CMYK" else "a.png")
    Image.new(stored, (5, 4)).save(path)
    named = {"img_path": str(path), "gt_label": 0, "class_name": "a", "token": "a"}
    packed = PackImage()(OpenImage(mode)(named))
    assert packed["inputs"].shape == (len(mode), 4, 5)


@pytest.mark.parametrize("stored", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused_and_not_clipped(tmp_path, stored):
    Image.new(stored, (5, 4)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a.tif has pixels of the kind {stored}.*, expected 8 bits a channel"):
        OpenImage()({"img_path": str(tmp_path / "a.tif")})


def ramp(height=3, width=4):
    return {"img": Image.fromarray(np.arange(1, 1 + height * width, dtype=np.uint8).reshape(height, width))}


def test_transforms_by_hand():
    assert ResizeImage((6, 2))(ramp())["img"].size == (2, 6)
    assert np.array(RandomFlipImage(1.0)(ramp(1, 3))["img"]).tolist() == [[3, 2, 1]]
    assert np.array(RandomFlipImage(0.0)(ramp(1, 3))["img"]).tolist() == [[1, 2, 3]]
    assert np.array(RandomCropImage((3, 4))(ramp())["img"]).tolist() == np.array(ramp()["img"]).tolist()


def test_crops_reach_every_place_of_the_margin_and_no_other():
    random.seed(0)
    found = {tuple(np.array(RandomCropImage((1, 2), padding=1)(ramp(1, 3))["img"])[0].tolist()) for _ in range(200)}
    assert found == {(0, 1), (1, 2), (2, 3), (3, 0), (0, 0)}  # the last from the rows of the margin
    found = {tuple(np.array(RandomCropImage((1, 2))(ramp(1, 3))["img"])[0].tolist()) for _ in range(50)}
    assert found == {(1, 2), (2, 3)}
    small = np.array(RandomCropImage((3, 4))(ramp(1, 2))["img"])
    assert small.tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]


def test_augmentation_depends_on_the_samples_seed_alone(root):
    pipeline = [OPEN[0], {"type": "RandomCropImage", "size": (3, 4), "padding": 2}, OPEN[1]]
    data = SeededDataset(ImageFolder(root, "train", pipeline))
    first = [data[SeededIndex(0, seed)]["inputs"] for seed in range(8)]
    assert all(torch.equal(data[SeededIndex(0, seed)]["inputs"], first[seed]) for seed in range(8))
    assert any(not torch.equal(image, first[0]) for image in first)


def test_wrong_arguments_of_transforms_are_refused():
    for make, sentence in (
        (lambda: OpenImage("BGR"), "OpenImage has mode 'BGR'"),
        (lambda: ResizeImage((0, 2)), r"ResizeImage has size \(0, 2\), expected \(height, width\)"),
        (lambda: ResizeImage(8), "ResizeImage has size 8"),
        (lambda: RandomCropImage((2, 2), padding=-1), "padding -1"),
        (lambda: RandomFlipImage(2), "probability 2"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            make()


def test_scores_by_hand():
    """Three cats, one taken for a dog; one dog; no owl, which has no recall and does not enter the mean."""
    metric = ClassificationMetric()
    metric.dataset_meta = {"classes": ("cat", "dog", "owl")}
    pairs = [(0, 0), (0, 0), (0, 1), (1, 1)]
    metric.process(None, [{"gt_label": label, "pred_label": torch.tensor(found)} for label, found in pairs])
    assert metric.evaluate(4) == pytest.approx(
        {"accuracy": 0.75, "mean_class_accuracy": (2 / 3 + 1) / 2, "recall/cat": 2 / 3, "recall/dog": 1.0}
    )
    with pytest.raises(DataError, match="sample t has no gt_label"):
        metric.process(None, [{"pred_label": 0, "token": "t"}])
    with pytest.raises(DataError, match="no image to score"):
        classification_scores([], [], ["cat"])


def test_digits_are_the_same_everywhere_and_whole(tmp_path):
    root = write_digits(tmp_path / "digits")
    train, val = (ImageFolder(root, split, OPEN, DIGITS) for split in ("train", "val"))
    assert (len(train), len(val)) == (1438, 359)
    image = Image.open(root / "train/0/0000.png")
    assert np.array(image)[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 sixteenths
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    with pytest.raises(DataError, match="digits is not empty, expected a new or an empty folder"):
        write_digits(root)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is not empty"):
        write_digits(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written"):
        write_digits(tmp_path / "file/below")
    (tmp_path / "there").mkdir()
    assert len(list(write_digits(tmp_path / "there").glob("val/*"))) == 10
