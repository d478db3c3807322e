"""The LiDAR-to-camera recipe under torchrun with two processes, from its teacher to its scores."""

import json
import sys

import pytest
from mmengine.config import Config

from bevkd.engine.checkpoint import load_checkpoint
from tests.two_ranks import REPOSITORY, call, torchrun

TEACHER, STUDENT = "configs/synthetic/lidar_teacher.py", "configs/synthetic/unidistill_lidar_to_camera.py"
SHORT = ["train_cfg.max_epochs=1", "train_dataloader.batch_size=1", "train_dataloader.num_workers=0"]
SHORT += [f"{loader}_dataloader.num_workers=0" for loader in ("val", "test")]
SHORT += [f"{loader}_dataloader.persistent_workers=False" for loader in ("train", "val", "test")]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tiny_nuscenes_readonly, tmp_path_factory):
    """The recipe on small images, with a teacher of one step; and the words that point at the data."""
    folder = tmp_path_factory.mktemp("recipe")
    words = ["--data-root", tiny_nuscenes_readonly]
    short = [*SHORT, "+train_dataloader.num_batch_per_epoch=1"]
    train = [sys.executable, REPOSITORY / "tools" / "train.py", TEACHER, "--work-dir", folder / "t", *words]
    code, out = call(*train, "--cfg-options", *short)
    assert code == 0, out
    cfg = Config.fromfile(REPOSITORY / STUDENT)
    cfg.model.teacher.update(config=str(REPOSITORY / TEACHER), checkpoint=str(folder / "t" / "epoch_1.pth"))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for step in loader.dataset.pipeline:
            if "size" in step:
                step["size"] = (64, 192)
    cfg.dump(folder / "student.py")
    return folder / "student.py", words


@pytest.mark.parametrize(
    "extra", [[], ["+fsdp.modules=['student.camera_encoder.backbone.layer*']"]], ids=["ddp", "fsdp"]
)
def test_the_recipe_trains_resumes_and_scores(recipe, tmp_path, extra):
    student, words = recipe
    train = ["train", student, "--work-dir", tmp_path / "s", *words]
    code, out = torchrun(*train, "--cfg-options", *SHORT, *extra)
    assert code == 0, out
    summary = json.loads((tmp_path / "s" / "summary.json").read_text())
    assert all(summary["losses"][f"kd/unidistill/{part}"] > 0 for part in ("feature", "relation", "response"))
    state = load_checkpoint(tmp_path / "s" / "epoch_1.pth")
    assert {key.split(".")[0] for key in state["state_dict"]} == {"student"}  # no teacher, no method with parameters
    assert state["meta"]["world_size"] == 2
    code, out = torchrun(*train, "--resume", "--cfg-options", *SHORT, *extra, "train_cfg.max_epochs=2")
    assert code == 0, out
    assert "weights loaded from" in out
    scores = {}
    for name, runner in {"one": _alone, "two": torchrun}.items():
        code, out = runner("test", student, tmp_path / "s" / "epoch_2.pth", "--work-dir", tmp_path / name, *words)
        assert code == 0, out
        scores[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert scores["two"] == pytest.approx(scores["one"], abs=1e-9, nan_ok=True)


def _alone(tool, *words):
    return call(sys.executable, REPOSITORY / "tools" / f"{tool}.py", *words)
