"""One sample through a model: what comes back, what is refused, and the gallery that is drawn from it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bevkd.errors import BevkdError, CheckpointError, ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.visualization.gallery import draw_gallery
from bevkd.visualization.inspect import Inspection, inspect_sample

TOOL = str(Path(__file__).resolve().parents[2] / "tools" / "visualize_bev.py")
GRID = BEVGrid((-20, 20), (-10, 30), 1.0)
CAMERAS = ["CAM_FRONT", "CAM_BACK"]

CONFIG = """
default_scope = "mmdet3d"
model = dict(type="InspectedModel", classes=["car", "bus"])
test_dataloader = dict(dataset=dict(type="InspectedDataset", folder={folder!r}))
"""


@pytest.fixture(scope="module")
def parts():
    """A model and a data set, registered as a user's own would be."""
    pytest.importorskip("mmdet3d")
    from mmdet3d.registry import DATASETS, MODELS
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.model import BaseModel
    from mmengine.structures import InstanceData

    class InspectedModel(BaseModel):
        default_taps = {"low": "encoder:input", "high": "encoder", "head": "head"}

        def __init__(self, classes):
            super().__init__()
            self.grid, self.classes = GRID, classes
            self.encoder, self.head = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1)

        def forward(self, inputs, data_samples=None, mode="tensor"):
            assert not self.training
            self.head(self.encoder(inputs["points"][0].reshape(1, 2, *GRID.shape)))
            boxes = torch.tensor([[1.0, 5, -1, 4, 2, 1.5, 0, 0, 0], [9, 9, -1, 4, 2, 1.5, 0, 0, 0], [0] * 9])
            data_samples[0].pred_instances_3d = InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9),
                scores_3d=torch.tensor([0.4, 0.9, 0.1]),
                labels_3d=torch.tensor([0, 1, 0]),
            )
            return data_samples

    class InspectedDataset:
        ann_file = "infos.pkl"
        metainfo = {"classes": ("car", "bus")}

        def __init__(self, folder):
            self.data_root = folder

        def __len__(self):
            return 2

        def get_data_info(self, index):
            front = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
            truth = LiDARInstance3DBoxes(torch.tensor([[2.0, 6, -1, 4, 2, 1.5, 0, 0, 0]]), box_dim=9)
            return {
                "token": f"sample{index}",
                "lidar_points": {"lidar_path": f"{self.data_root}/points.bin"},
                "images": {
                    name: {"img_path": f"{name}.jpg", "cam2img": [[100, 0, 64], [0, 100, 32], [0, 0, 1]],
                           "lidar2cam": front.tolist()}
                    for name in CAMERAS
                },
                "eval_ann_info": {"gt_bboxes_3d": truth, "gt_labels_3d": np.array([1])},
            }  # fmt: skip

        def __getitem__(self, index):
            points = torch.arange(2 * 40 * 40.0) + index
            return {"inputs": {"points": points}, "data_samples": Det3DDataSample()}

    for registry, part in ((MODELS, InspectedModel), (DATASETS, InspectedDataset)):
        registry.register_module(module=part, force=True)
    return InspectedModel


@pytest.fixture
def run(tmp_path, parts):
    """A folder with a config, a checkpoint and the files of a sample: (config, checkpoint, model)."""
    np.zeros((7, 5), np.float32).tofile(tmp_path / "points.bin")
    for value, name in enumerate(CAMERAS):
        folder = tmp_path / "samples" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (128, 64), (40 + 100 * value, 0, 0)).save(folder / f"{name}.jpg")
    config, checkpoint = tmp_path / "model.py", tmp_path / "model.pth"
    config.write_text(CONFIG.format(folder=str(tmp_path)))
    torch.manual_seed(0)
    model = parts(["car", "bus"])
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    return config, checkpoint, model


def test_inspection_holds_the_sample_and_what_the_model_made_of_it(run):
    config, checkpoint, model = run
    seen = inspect_sample(config, checkpoint, 1, min_score=0.3)
    assert seen.token == "sample1"
    assert seen.grid == GRID
    low = (torch.arange(2 * 40 * 40.0) + 1).reshape(2, 40, 40)
    torch.testing.assert_close(seen.taps["low"], low)
    torch.testing.assert_close(seen.taps["high"], model.encoder(low[None])[0].detach())
    assert seen.taps["head"].shape == (1, 40, 40)
    assert seen.prediction_names == ["bus", "car"]  # best first, the one with score 0.1 left out
    np.testing.assert_allclose(seen.scores, [0.9, 0.4])
    assert seen.predictions[0, :2].tolist() == [9, 9]
    assert seen.gt_names == ["bus"]
    assert seen.gt_boxes[0, :3].tolist() == [2, 6, -1]
    assert seen.points.shape == (7, 5)


def test_images_come_whole_with_matrices_that_fit(run):
    seen = inspect_sample(*run[:2])
    assert seen.cameras == CAMERAS
    assert [image.shape for image in seen.images] == [(64, 128, 3)] * 2
    assert seen.images[0][5, 5, 0] < 60 < seen.images[1][5, 5, 0]  # RGB, in the order of the names
    u, v, depth, _ = seen.lidar2img[0] @ [10.0, 1.0, -2.0, 1.0]
    np.testing.assert_allclose([u / depth, v / depth, depth], [64 - 100 / 10, 32 + 200 / 10, 10])


def test_token_picks_the_sample(run):
    assert inspect_sample(*run[:2], token="sample1").token == "sample1"
    with pytest.raises(DataError, match="sample token 'nope' is none of the 2"):
        inspect_sample(*run[:2], token="nope")
    with pytest.raises(DataError, match="sample index is 2, expected 0 to 1"):
        inspect_sample(*run[:2], 2)


def test_a_distillers_checkpoint_and_config_give_the_student(run, tmp_path):
    config, checkpoint, model = run
    torch.save({"state_dict": {f"student.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "kd.pth")
    text = config.read_text().replace("model =", "student =")
    teacher = "dict(type='LiveTeacher', config='none.py', checkpoint='none.pth')"
    distiller = f"dict(type='Distiller', student=student, teacher={teacher}, methods={{}})"
    (tmp_path / "kd.py").write_text(f"{text}\nmodel = {distiller}\n")
    plain = inspect_sample(config, checkpoint)
    for weights in (tmp_path / "kd.pth", checkpoint):
        seen = inspect_sample(tmp_path / "kd.py", weights)
        torch.testing.assert_close(seen.taps["high"], plain.taps["high"])


def test_wrong_weights_taps_and_configs_are_refused(run, tmp_path):
    config, checkpoint, _ = run
    torch.save({"state_dict": {"encoder.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth does not fit"):
        inspect_sample(config, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"enkoder.*encoder"):
        inspect_sample(config, checkpoint, taps={"high": "enkoder"})
    (tmp_path / "empty.py").write_text("a = 1\n")
    with pytest.raises(ConfigError, match="no test_dataloader"):
        inspect_sample(tmp_path / "empty.py", checkpoint)
    with pytest.raises(BevkdError, match="does not exist"):
        inspect_sample(tmp_path / "none.py", checkpoint)


def inspection(seed: int, channels: int = 3, **changes) -> Inspection:
    rng = np.random.default_rng(seed)
    fields = {
        "taps": {"low": rng.random((2, *GRID.shape)), "high": rng.random((channels, *GRID.shape))},
        "predictions": np.array([[1.0, 5, -1, 4, 2, 1.5, 0]]),
        "scores": np.array([0.9]),
        "prediction_names": ["car"],
        "gt_boxes": np.array([[1.5, 5, -1, 4, 2, 1.5, 0.1]]),
        "gt_names": ["car"],
        "points": rng.uniform(-10, 10, (500, 5)),
        "images": [np.full((32, 64, 3), 90, np.uint8)] * 2,
        "lidar2img": np.stack([np.eye(4)] * 2),
        "cameras": CAMERAS,
        "grid": GRID,
        "token": "t",
    }
    return Inspection(**{**fields, **changes})


def test_gallery_of_teacher_and_two_students(tmp_path):
    three = {"LiDAR teacher": inspection(0), "plain": inspection(1), "plain + KD": inspection(2)}
    gallery = draw_gallery(three, tmp_path, open3d=False)
    assert [path.name for path in gallery.pictures.values()] == [
        *("bev_high.png", "cameras_lidar_teacher.jpg", "cameras_plain.jpg", "cameras_plain_kd.jpg"),
        *("scene.png", "scene_kd.png"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in gallery.pictures.values())
    for path in gallery.pictures.values():
        with Image.open(path) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100
    assert gallery.notes == []


def test_gallery_of_one_model_without_images(tmp_path):
    alone = {"m": inspection(0, images=[], lidar2img=np.zeros((0, 4, 4)), cameras=[])}
    gallery = draw_gallery(alone, tmp_path, tap="low", open3d=False)
    assert [path.name for path in gallery.pictures.values()] == ["bev_low.png", "scene.png"]
    assert gallery.notes == ["The data set names no camera images, so there is no camera picture."]


def test_gallery_refuses_what_does_not_belong_together(tmp_path):
    with pytest.raises(DataError, match="b saw sample u and a saw t"):
        draw_gallery({"a": inspection(0), "b": inspection(1, token="u")}, tmp_path)
    with pytest.raises(ConfigError, match="grids of b and a differ"):
        draw_gallery({"a": inspection(0), "b": inspection(1, grid=BEVGrid((-20, 20), (-10, 30), 0.5))}, tmp_path)
    with pytest.raises(ConfigError, match="a has no tap 'mid'"):
        draw_gallery({"a": inspection(0)}, tmp_path, tap="mid")
    assert not list(tmp_path.iterdir())


def tool(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_tool_help_shows_an_example_and_imports_nothing_heavy():
    done = tool("-X", "importtime", TOOL, "--help")
    assert done.returncode == 0
    assert "python tools/visualize_bev.py configs/" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "bevkd.errors" in imported
    assert not imported & {"torch", "mmengine", "mmdet3d", "matplotlib"}


def test_tool_leaves_with_2_and_one_sentence():
    done = tool(TOOL, "a.py", "a.pth", "--names", "one", "two")
    assert done.returncode == 2
    assert done.stderr == "error: --names has 2 titles for 1 models, expected one each\n"


def test_sensor_files_are_found_whatever_the_modality(tmp_path):
    from bevkd.visualization.inspect import _located

    (tmp_path / "samples" / "LIDAR_TOP").mkdir(parents=True)
    file = tmp_path / "samples" / "LIDAR_TOP" / "a.bin"
    file.write_bytes(b"")
    # A camera-only data set of mmdet3d leaves the sweep's bare file name.
    assert _located("a.bin", tmp_path, "LIDAR_TOP") == file
    assert _located(str(file), tmp_path / "elsewhere", "LIDAR_TOP") == file
