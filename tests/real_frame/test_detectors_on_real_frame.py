"""The LiDAR and the camera detector overfitted on one real frame, and UniDistill between the two.

``pytest -m real_frame -s tests/real_frame`` prints what they find.
"""

import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from overfit import count_found, one_batch, overfit

pytestmark = [pytest.mark.real_frame, pytest.mark.slow]

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "synthetic"
# Of the demo's recipes, but on a grid that holds all objects of the frame and tells close ones apart.
GRID = {"x_range": (-51.2, 51.2), "y_range": (-51.2, 51.2), "cell": 0.8}
LIDAR, CAMERA = {"use_lidar": True, "use_camera": False}, {"use_lidar": False, "use_camera": True}
BOTH = {"use_lidar": True, "use_camera": True}


def model_config(recipe: str) -> Config:
    config = Config.fromfile(CONFIGS / recipe)
    config.model.get("student", config.model).grid = GRID
    return config


def build(model: dict):
    from mmdet3d.registry import MODELS

    import bevkd.detectors
    import bevkd.distill  # noqa: F401  (registers the distiller)

    torch.manual_seed(0)
    return MODELS.build(model)


def trained(recipe: str, frame, pipeline: list[dict], modality: dict, steps: int):
    """A recipe's detector overfitted on the frame, its batch, and the seconds that took."""
    model = build(model_config(recipe).model)
    batch = one_batch(frame, pipeline, modality)
    start = time.perf_counter()
    overfit(model, batch, steps, lr=2e-3)
    return model, batch, time.perf_counter() - start


@pytest.fixture(scope="module")
def lidar(real_frame_infos):
    pipeline = [{"type": "LoadSweeps", "sweeps": 0}, {"type": "PackBEV"}]
    return trained("lidar_teacher.py", real_frame_infos, pipeline, LIDAR, steps=120)


def test_lidar_detector_finds_the_objects(lidar, real_frame_infos):
    model, batch, seconds = lidar
    result = count_found(model, batch, real_frame_infos, metres=0.5, degrees=20)
    print(f"\nLiDAR, 120 steps in {seconds:.0f} s: {result}")
    assert result.found >= 0.8 * result.total
    assert result.predicted <= 100  # not found by guessing everywhere


def test_camera_detector_finds_the_objects(real_frame_infos):
    pipeline = [{"type": "LoadCameras", "size": (192, 512)}, {"type": "PackBEV"}]
    model, batch, seconds = trained("camera_student.py", real_frame_infos, pipeline, CAMERA, steps=120)
    result = count_found(model, batch, real_frame_infos, metres=2.0)
    print(f"\ncamera, 120 steps in {seconds:.0f} s: {result}")
    assert result.found >= 0.6 * result.total
    assert result.predicted <= 100


SWEEP, CAMERAS = {"type": "LoadSweeps", "sweeps": 0}, {"type": "LoadCameras", "size": (192, 512)}
OTHERS = {
    "lidar_voxel": ([SWEEP], LIDAR, 0.5),
    "fusion": ([SWEEP, CAMERAS], BOTH, 0.5),
    "camera_bevdepth": ([SWEEP, CAMERAS], BOTH, 2.0),
    "camera_bevformer": ([CAMERAS], CAMERA, 2.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_detectors_find_the_objects(name, real_frame_infos):
    if "voxel" in name:
        pytest.importorskip("spconv")
    steps, modality, metres = OTHERS[name]
    pipeline = [*steps, {"type": "PackBEV"}]
    model, batch, seconds = trained(f"{name}.py", real_frame_infos, pipeline, modality, steps=120)
    result = count_found(model, batch, real_frame_infos, metres=metres)
    print(f"\n{name}, 120 steps in {seconds:.0f} s: {result}")
    assert result.found >= (0.8 if metres < 1 else 0.6) * result.total
    assert result.predicted <= 100


def test_unidistill_lowers_its_three_losses(lidar, real_frame_infos, tmp_path):
    checkpoint = tmp_path / "teacher.pth"
    torch.save(lidar[0].state_dict(), checkpoint)
    config = model_config("unidistill_lidar_to_camera.py")
    config.model.teacher.update(config=model_config("lidar_teacher.py").model, checkpoint=str(checkpoint))
    model = build(config.model)
    pipeline = [step for step in config.train_dataloader.dataset.pipeline if step["type"] != "BEVAugment"]
    batch = one_batch(real_frame_infos, pipeline, {"use_lidar": True, "use_camera": True})
    model.init_weights()
    model.train()
    data = model.data_preprocessor(batch, training=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(51):
        total, logs = model.parse_losses(model(**data, mode="loss"))
        history.append({name: float(value) for name, value in logs.items() if name.startswith("kd/")})
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 35)
        optimizer.step()
    first, last = history[0], history[-1]
    print("\nUniDistill over 50 steps: " + ", ".join(f"{k} {first[k]:.3f} to {last[k]:.3f}" for k in first))
    assert len(first) == 3
    assert all(last[name] < first[name] for name in first)
