"""Configs: found, inherited, and refused with the nearest right name when something is misspelt."""

import pytest

from bevkd.engine.config import apply_flags, changed_lines, load_config, parse_options
from bevkd.errors import ConfigError

CENTERPOINT = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.py").write_text(
        "train_cfg = dict(by_epoch=True, max_epochs=3)\nlr = 0.1\nsteps = [dict(a=1), dict(a=2)]\n"
    )
    (tmp_path / "student.py").write_text(
        "_base_ = './base.py'\nmodel = dict(type='M', width=8)\ntrain_cfg = dict(max_epochs=5)\n"
    )
    return tmp_path


def test_a_file_with_its_base(folder):
    cfg = load_config(folder / "student.py")
    assert cfg.train_cfg == {"by_epoch": True, "max_epochs": 5}
    assert cfg.model.width == 8


def test_options_reach_keys_lists_and_runner_arguments(folder):
    words = ["model.width=16", "steps.1.a=7", "randomness.seed=5", "+model.depth=3", "load_from=a.pth"]
    cfg = load_config(folder / "student.py", parse_options(words))
    assert cfg.model == {"type": "M", "width": 16, "depth": 3}
    assert [s.a for s in cfg.steps] == [1, 7]
    assert cfg.randomness.seed == 5
    assert cfg.load_from == "a.pth"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("model.widht=16", r"--cfg-options model\.widht: model has no key 'widht'; nearest: width"),
        ("train_cgf.max_epochs=2", r"the config has no key 'train_cgf'; nearest: train_cfg"),
        ("steps.2.a=1", "'2' is no index into a list of 2 items"),
        ("lr.x=1", r"lr is 0\.1, expected a dict or a list"),
        ("lr", "--cfg-options lr has no '=', expected KEY=VALUE"),
    ],
)
def test_options_that_do_not_exist(folder, word, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config(folder / "student.py", parse_options([word]))


@pytest.mark.parametrize(
    ("key", "meant"),
    [("train_cgf", "train_cfg"), ("modle", "model"), ("optim_wraper", "optim_wrapper"), ("work_dirs", "work_dir")],
)
def test_a_misspelt_key_is_no_variable(folder, key, meant):
    (folder / "wrong.py").write_text(f"{key} = dict(max_epochs=5)\n")
    with pytest.raises(ConfigError, match=f"wrong.py has the key '{key}', which nothing reads; did you mean '{meant}'"):
        load_config(folder / "wrong.py")


def test_honest_variables_pass(folder):
    (folder / "right.py").write_text("data_root = 'd'\nlr = 1\nclass_names = []\noptimizer = {}\ntrain_pipeline = []\n")
    load_config(folder / "right.py")


def test_missing_files_name_their_neighbours(folder):
    with pytest.raises(ConfigError, match=r"studnet\.py does not exist; nearest: student\.py"):
        load_config(folder / "studnet.py")
    with pytest.raises(ConfigError, match=r"lidar_techer\.py does not exist; nearest: lidar_teacher\.py"):
        load_config("configs/synthetic/lidar_techer.py")


def test_missing_package_configs(folder):
    with pytest.raises(ConfigError, match="nearest: centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d"):
        load_config(CENTERPOINT.replace("8xb4", "8xb5"))
    with pytest.raises(ConfigError, match="'nopackage', which is not installed"):
        load_config("nopackage::a/b.py")


def test_broken_python_is_one_sentence(folder):
    (folder / "broken.py").write_text("model = dict(type='M'\n")
    with pytest.raises(ConfigError, match=r"broken\.py cannot be read: SyntaxError"):
        load_config(folder / "broken.py")


def test_a_package_config_with_and_without_its_ending():
    cfg = load_config(CENTERPOINT)
    assert cfg.model.type == "CenterPoint"
    assert load_config(CENTERPOINT + ".py").model == cfg.model


@pytest.mark.slow
def test_no_config_of_mmdet3d_is_mistaken_for_a_typing_error():
    from importlib.util import find_spec
    from pathlib import Path

    root = Path(find_spec("mmdet3d").submodule_search_locations[0], ".mim", "configs")
    files = [f for f in root.rglob("*.py") if "_base_" not in f.parts]
    wrong = []
    for file in files:
        try:
            load_config(file)
        except ConfigError as error:
            if "which nothing reads" in str(error):
                wrong.append(str(error))
    assert len(files) > 100
    assert not wrong


def test_flags_are_written_where_mmengine_reads_them(folder):
    (folder / "amp.py").write_text("optim_wrapper = dict(type='OptimWrapper')\nrandomness = dict(deterministic=True)\n")
    cfg = load_config(folder / "amp.py")
    apply_flags(cfg, work_dir="w", launcher="pytorch", seed=3, amp=True, resume="auto")
    assert (cfg.work_dir, cfg.launcher, cfg.resume, cfg.load_from) == ("w", "pytorch", "auto", None)
    assert cfg.randomness == {"deterministic": True, "seed": 3}
    assert cfg.optim_wrapper == {"type": "AmpOptimWrapper", "loss_scale": "dynamic"}
    apply_flags(cfg, resume="a.pth")
    assert cfg.load_from == "a.pth"


def test_changed_lines_leave_out_where_a_run_lies():
    before = "lr = 1\nresume = False\nwork_dir = 'a'\nsame = 2\n"
    assert changed_lines(before, "lr = 3\nresume = True\nwork_dir = 'b'\nsame = 2\n") == ["-lr = 1", "+lr = 3"]
    assert changed_lines(before, before) == []
    many = changed_lines("", "\n".join(f"a{i} = 1" for i in range(40)))
    assert len(many) == 31
    assert many[-1] == "... and 10 more lines"
