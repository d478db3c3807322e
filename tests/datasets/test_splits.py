"""Official splits and those of ``splits.json``."""

import json

import pytest

from bevkd.datasets import safe_pickle
from bevkd.datasets.infos import create_infos
from bevkd.datasets.splits import info_name, official_splits, split_scenes
from bevkd.errors import DataError

KNOWN = ("scene-0061", "scene-0553", "scene-0103")


@pytest.fixture
def tables(tmp_path):
    """A tables' folder; call it with a content for splits.json."""

    def write(content, version="v1.0-mini"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "splits.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return folder

    return write


def test_official_splits_need_no_file(tmp_path):
    assert split_scenes(tmp_path / "v1.0-mini", "mini_val", KNOWN) == ["scene-0103"]
    assert sorted(split_scenes(tmp_path / "v1.0-mini", "mini_train", KNOWN)) == ["scene-0061", "scene-0553"]
    assert (official_splits("v1.0-trainval"), official_splits("v1.0-test")) == (("train", "val"), ("test",))
    assert [info_name(name) for name in ("mini_train", "val", "test", "mine")] == ["train", "val", "test", "mine"]
    with pytest.raises(DataError, match="without '/'"):
        info_name("a/b")


def test_ones_own_split_has_each_scene_once_in_its_order(tables):
    folder = tables({"mine": ["scene-0553", "scene-0103", "scene-0553"], "other": []})
    assert split_scenes(folder, "mine", KNOWN) == ["scene-0553", "scene-0103"]


BAD = {
    "misspelt": ({"my_val": list(KNOWN)}, "my_vall", r"split my_vall is neither .*splits\.json; nearest: my_val"),
    "misspelt official": ({}, "mini_vall", "nearest: mini_val"),
    "other version": ({}, "val", r"split val belongs to v1\.0-trainval, and the tables are v1\.0-mini; .*mini_val"),
    "test": ({}, "test", r"belongs to v1\.0-test"),
    "empty": ({"mine": []}, "mine", r"splits\.json: split mine is empty"),
    "no split": ({}, "mine", "neither an official one"),
    "unknown scene": ({"mine": ["scene-0103", "scene-9999"]}, "mine", "1 of the 2 scenes .* the first is scene-9999"),
    "no bytes": ("", "mine", r"splits\.json: truncated or not JSON"),
    "truncated": ('{"mine": ["scene-0103"', "mine", r"splits\.json: truncated"),
    "a list": (["scene-0103"], "mine", r"splits\.json: a JSON list, expected"),
    "a name": ({"mine": "scene-0103"}, "mine", "split mine is scene-0103, expected a list of scene names"),
    "numbers": ({"mine": [103]}, "mine", r"split mine is \[103\], expected a list"),
    "shadow": ({"mini_val": ["scene-0061"]}, "mini_val", "has an official split's name, whose 2 scenes the devkit"),
    "shadow beside": (
        {"val": ["scene-0061"], "mine": ["scene-0103"]},
        "mine",
        "split val has an official split's name",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_split_is_one_sentence(tables, case):
    content, split, message = BAD[case]
    with pytest.raises(DataError, match=message):
        split_scenes(tables(content), split, KNOWN)


def test_an_official_name_with_the_official_scenes_is_no_shadow(tables):
    folder = tables({"mini_val": ["scene-0916", "scene-0103"]})
    assert split_scenes(folder, "mini_val", KNOWN) == ["scene-0103"]


def test_infos_of_ones_own_splits(tiny_nuscenes, tmp_path):
    splits = {"mine": ["scene-0103", "scene-0553"], "rest": ["scene-0061", "scene-0103"]}
    (tiny_nuscenes / "v1.0-mini/splits.json").write_text(json.dumps(splits))
    lines = []
    paths = create_infos(tiny_nuscenes, "v1.0-mini", tmp_path, splits=["mine", "rest"], log=lines.append)
    assert {name: path.name for name, path in paths.items()} == {
        "mine": "nuscenes_infos_mine.pkl", "rest": "nuscenes_infos_rest.pkl",
    }  # fmt: skip
    mine = safe_pickle.load(paths["mine"])
    assert mine["metainfo"]["split"] == "mine"
    assert [info["sample_idx"] for info in mine["data_list"]] == list(range(6))
    assert len(lines) == 1
    assert lines[0].startswith("splits mine and rest share 1 scenes, the first is scene-0103")
    with pytest.raises(DataError, match="nearest: rest"):
        create_infos(tiny_nuscenes, "v1.0-mini", tmp_path, splits=["rset"])
