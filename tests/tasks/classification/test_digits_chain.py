"""Digits from the folder to the exported student: train, resume, test, export and compare, without mmdet3d."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from bevkd.engine import build_runner, load_config
from bevkd.engine.checkpoint import find_latest, load_checkpoint
from bevkd.engine.compare import read_grid, read_result, summarise
from bevkd.engine.compare.fairness import require_fair
from bevkd.engine.compare.job import run_job, write_job
from bevkd.engine.compare.world import make_world
from bevkd.errors import ConfigError
from bevkd.visualization.comparison import comparison_table
from tests.two_ranks import call

ROOT = Path(__file__).resolve().parents[3]
MAKER = "bevkd.tasks.classification.samples.write_digits"
TINY = {
    "train_cfg.max_epochs": 2,
    "train_dataloader.batch_size": 8,
    "+train_dataloader.dataset.indices": list(range(0, 1438, 36)),
    "+val_dataloader.dataset.indices": list(range(0, 359, 9)),
    "+test_dataloader.dataset.indices": list(range(0, 359, 9)),
}  # 40 images each: five steps an epoch


@pytest.fixture(autouse=True)
def _from_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return make_world(
        tmp_path_factory.mktemp("data") / "digits", maker="bevkd.tasks.classification.samples.write_digits"
    )


@pytest.fixture(scope="module")
def teacher(digits, tmp_path_factory):
    """The checkpoint of a teacher after two short epochs."""
    work_dir = tmp_path_factory.mktemp("teacher")
    train("classification/digits_teacher", digits, work_dir)
    return find_latest(work_dir)


def config(name, digits, work_dir, **options):
    cfg = load_config(ROOT / f"configs/{name}.py", {**TINY, "data_root": str(digits), **options})
    cfg.work_dir = str(work_dir)
    return cfg


def train(name, digits, work_dir, resume=None, **options):
    cfg = config(name, digits, work_dir, **options)
    cfg.resume, cfg.load_from = resume is not None, resume and str(resume)
    build_runner(cfg).train()


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process; returns exit code and what it printed."""

    def run(name, *words):
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / f"tools/{name}.py"), run_name="__main__")
        return left.value.code, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("method", ["kd", "fitnets"])
def test_a_resumed_run_ends_on_the_same_bits(digits, teacher, tmp_path, method):
    options = {"model.teacher.checkpoint": str(teacher)}
    if method == "fitnets":
        options["model.schedules"] = {"hint": [(4, 1.0), (5, 0.0)], "kd": [(4, 0.0), (5, 1.0)]}
    train(f"methods/{method}/small", digits, tmp_path / "whole", **options)
    whole = load_checkpoint(tmp_path / "whole/epoch_2.pth")
    train(f"methods/{method}/small", digits, tmp_path / "again", resume=tmp_path / "whole/epoch_1.pth", **options)
    again = load_checkpoint(tmp_path / "again/epoch_2.pth")
    assert not any(key.startswith("teacher") for key in whole["state_dict"])
    assert whole["meta"]["teacher"]["sha256"]
    for key, value in whole["state_dict"].items():
        assert torch.equal(again["state_dict"][key], value), key


def test_a_student_starts_the_same_with_and_without_a_teacher(digits, teacher, tmp_path):
    plain = build_runner(config("classification/digits_student", digits, tmp_path / "a"))
    distilled = build_runner(
        config("methods/kd/small", digits, tmp_path / "b", **{"model.teacher.checkpoint": str(teacher)})
    )
    pairs = zip(plain.model.state_dict().values(), distilled.model.student.state_dict().values())
    assert all(torch.equal(a, b) for a, b in pairs)


def test_tools_train_test_and_export(digits, teacher, tmp_path, tool):
    recipe = ROOT / "configs/methods/kd/small.py"
    changes = [f"{key}={str(value).replace(' ', '')}" for key, value in TINY.items()]
    common = ["--data-root", digits, "--cfg-options", *changes]
    code, out = tool("train", recipe, "--work-dir", tmp_path / "kd", *common, f"model.teacher.checkpoint={teacher}")
    assert code == 0, out
    checkpoint = tmp_path / "kd/epoch_2.pth"
    code, out = tool("test", recipe, checkpoint, "--work-dir", tmp_path / "scores", *common)
    assert code == 0, out
    scores = json.loads((tmp_path / "scores/metrics.json").read_text())
    assert {"accuracy", "mean_class_accuracy", "recall/0", "recall/9"} <= set(scores)
    summary = json.loads((tmp_path / "kd/summary.json").read_text())
    assert summary["metrics"]["accuracy"] == scores["accuracy"]
    formats = ("checkpoint", "safetensors", "onnx")
    words = ("--out", tmp_path / "alone", "--format", *formats, *common)
    code, out = tool("export_student", recipe, checkpoint, *words)
    assert code == 0, out
    files = {path.suffix for path in (tmp_path / "alone").glob("student*")}
    assert {".py", ".pth", ".safetensors", ".onnx"} <= files
    code, out = tool("test", tmp_path / "alone/student.py", tmp_path / "alone/student.pth")
    assert code == 0, out
    assert json.loads((tmp_path / "alone/metrics.json").read_text()) == scores
    code, out = tool("test", ROOT / "configs/classification/digits_teacher.py", checkpoint, *common)
    assert code == 2
    assert "epoch_2.pth" in out


def test_the_onnx_graph_takes_any_number_of_images(digits, teacher, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from bevkd.engine.export import export_student, load_student

    cfg = config("classification/digits_teacher", digits, tmp_path)
    export_student(cfg, teacher, tmp_path / "alone", ["onnx"], log=lambda line: None)
    session = onnxruntime.InferenceSession(str(tmp_path / "alone/student.onnx"), providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta["classes"]) == list("0123456789")
    assert (json.loads(meta["mean"]), json.loads(meta["image_shape"])) == ([78.0], [1, 8, 8])
    images = torch.randn(7, 1, 8, 8)
    (found,) = session.run(["logits"], {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), load_student(cfg, teacher).model(images), rtol=1e-3, atol=1e-4)


def grid_file(tmp_path, digits, **changes):
    grid = load_config(ROOT / "configs/compare/digits.py").to_dict()
    grid = {key: value for key, value in grid.items() if not key.startswith("_")}
    grid |= {"world": {"root": str(digits)}, "seeds": (0,), "options": TINY, **changes}
    grid["arms"].pop("fitnets")
    Config(grid).dump(tmp_path / "grid.py")
    return tmp_path / "grid.py"


def test_a_comparison_has_the_tasks_own_metrics(digits, tmp_path):
    grid = read_grid(grid_file(tmp_path, digits))
    require_fair(grid, tmp_path / "out")
    for job in grid.jobs(tmp_path / "out"):
        write_job(job)
        run_job(job.work_dir)
        assert read_result(job.work_dir)["unseen"] is None
    found = summarise(grid, tmp_path / "out")
    assert found["jobs"] == {"done": 3, "all": 3}
    assert set(found["arms"]["kd"]["seen"]) == {"accuracy", "mean_class_accuracy"}
    head, _, row = comparison_table(found).splitlines()
    assert "teacher (accuracy / mean_class_accuracy)" in head
    assert "gain, validation images" in head
    assert "unseen" not in head
    assert row.count("|") == head.count("|")
    wrong = read_grid(grid_file(tmp_path, digits, metrics=("accuracies",)))
    with pytest.raises(ConfigError, match="metrics name 'accuracies', which no evaluator gave; nearest: accuracy"):
        summarise(wrong, tmp_path / "out")


def test_an_arm_with_other_augmentation_is_unfair(digits, tmp_path):
    path = grid_file(tmp_path, digits)
    other = {"arms.kd.options": {"train_dataloader.dataset.pipeline": [{"type": "OpenImage"}, {"type": "PackImage"}]}}
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(other)
    cfg.dump(path)
    with pytest.raises(ConfigError, match=r"arm 'kd' and its student 'narrow' differ in train_dataloader.*pipeline"):
        require_fair(read_grid(path), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"splits": {"unseen": "b"}}, r"splits are .*, expected dict\(seen='name'"),
        ({"splits": {"seen": "a", "other": "b"}}, "splits are"),
        ({"unseen": {"root": "x"}}, "unseen is given and splits have no name for it"),
    ],
)
def test_splits_that_do_not_fit_are_refused(digits, tmp_path, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_grid(grid_file(tmp_path, digits, **changes))


def test_a_maker_that_is_not_there_is_refused(digits, tmp_path):
    for name in ("bevkd.nothing.here", "bevkd.errors.nothing", "bevkd.__version__", "no dots"):
        with pytest.raises(ConfigError, match=f"maker names '{name}'"):
            make_world(tmp_path / "new", maker=name)
    assert make_world(digits, maker="bevkd.nothing.here") == digits  # made already


def test_the_tool_writes_the_digits(tmp_path, tool):
    code, out = tool("create_data", "digits", tmp_path / "digits")
    assert (code, out) == (0, f"wrote {tmp_path / 'digits'}\n")
    code, out = tool("create_data", "digits", tmp_path / "digits")
    assert code == 2
    assert "is not empty" in out


def test_training_needs_no_detection_framework(digits, tmp_path):
    changes = [f"{key}={str(value).replace(' ', '')}" for key, value in {**TINY, "train_cfg.max_epochs": 1}.items()]
    words = [
        "tools/train.py",
        "configs/classification/digits_student.py",
        "--data-root",
        digits,
        "--work-dir",
        tmp_path,
    ]
    code = (
        f"import runpy, sys\nsys.argv = {[str(word) for word in [*words, '--cfg-options', *changes]]!r}\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as left: print('EXIT', left.code)\nprint('HEAVY', {'mmdet3d', 'mmdet'} & set(sys.modules))"
    )
    returned, out = call(sys.executable, "-c", code)
    assert returned == 0, out
    assert "EXIT 0" in out
    assert "HEAVY set()" in out


@pytest.mark.slow
def test_the_recipes_as_they_are(digits, tmp_path, tool):
    """The whole comparison by its tool, one seed: minutes."""
    code, out = tool(
        "compare", ROOT / "configs/compare/digits.py", "--out", tmp_path, "--threads", 1, "--seeds", 0,
        "--cfg-options", f"world.root={digits}",
    )  # fmt: skip
    assert code == 0, out
    summary = json.loads((tmp_path / "digits.json").read_text())
    assert summary["teachers"]["wide"]["seen"]["accuracy"] > 0.95
    for arm in summary["arms"].values():
        assert arm["seen"]["accuracy"]["with"] > 0.7
