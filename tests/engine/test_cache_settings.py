"""A teacher cache knows what its features depend on: the teacher's model settings, and how its samples are read."""

import json

import pytest
from mmengine.config import Config

from bevkd.distill import CachedForegroundTeacher
from bevkd.distill.cache.settings import feature_settings
from bevkd.errors import ConfigError


def test_a_cache_of_the_first_format_is_refused(cache_tool, tmp_path):
    code, _, said = cache_tool(tmp_path / "cache")
    assert code == 0, said
    tmp_path = tmp_path / "cache"
    content = json.loads((tmp_path / "cache.json").read_text())
    del content["settings"]
    (tmp_path / "cache.json").write_text(json.dumps({**content, "format": 1}))
    sentence = rf"the cache {tmp_path} has format 1, which does not say with which model settings and pipeline"
    with pytest.raises(ConfigError, match=sentence):
        CachedForegroundTeacher(tmp_path).load()
    code, _, said = cache_tool(tmp_path)
    assert code == 2
    assert "expected format 2: make the cache again with tools/cache_teacher.py" in said


def test_a_recipe_that_names_the_teacher_s_config_takes_its_cache_alone(cache_tool, tmp_path, trained_teacher):
    assert cache_tool(tmp_path / "cache")[0] == 0
    same = trained_teacher[0].read_text() + "\ntrain_cfg = dict(max_epochs=9)\n"
    faults = {
        "": None,
        'type="PillarEncoder", out_channels=8': 'type="PillarEncoder", intensity_max=1.0, out_channels=8',
        'data_preprocessor=dict(type="Det3DDataPreprocessor")':
            'data_preprocessor=dict(type="Det3DDataPreprocessor", mean=[1.0] * 3, std=[1.0] * 3)',
    }  # fmt: skip
    named = ["", "model.lidar_encoder.intensity_max unset, expected 1", "model.data_preprocessor.mean unset, expected"]
    for (part, other), sentence in zip(faults.items(), named):
        config = tmp_path / "teacher.py"
        config.write_text(same.replace(part, other) if other else same)
        teacher = CachedForegroundTeacher(tmp_path / "cache", config=config)
        if not other:
            teacher.load()
            continue
        with pytest.raises(ConfigError, match=f"the cache {tmp_path}/cache has {sentence}"):
            teacher.load()
    with pytest.raises(ConfigError, match=r"config of the cached teacher names absent.py, which does not exist"):
        CachedForegroundTeacher(tmp_path / "cache", config="absent.py").load()


def test_what_cannot_change_features_is_no_part_of_the_key(trained_teacher, tmp_path):
    cfg = Config.fromfile(trained_teacher[0])
    other = Config.fromfile(trained_teacher[0])
    other.merge_from_dict(
        {
            "model.head.test_cfg": {"score_threshold": 0.5},
            "model.lidar_encoder.init_cfg": {"type": "Pretrained", "checkpoint": "a.pth"},
            "train_dataloader.dataset.data_root": str(tmp_path),
            "train_dataloader.batch_size": 7,
            "train_dataloader.num_workers": 3,
            "custom_hooks": [{"type": "EMAHook"}],
            "work_dir": "elsewhere",
        }
    )
    assert feature_settings(cfg, "a") == feature_settings(other, "a")
