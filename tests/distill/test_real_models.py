"""The distiller with real detectors: mmdet3d's CenterPoint as a teacher, and BEVDetectors on the real frame."""

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper

import bevkd.distill
from bevkd.distill.models import build_model
from bevkd.errors import CheckpointError

CENTERPOINT = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
TAPS = {"low": "pts_backbone:input", "high": "pts_neck", "head": "pts_bbox_head"}
KD = ["kd/unidistill/feature", "kd/unidistill/relation", "kd/unidistill/response"]


def build(config):
    import bevkd.detectors  # noqa: F401  (registers BEVDetector; costs seconds)

    return build_model(config, "model")


@pytest.mark.slow
def test_centerpoint_of_mmdet3d_as_live_teacher(tmp_path):
    from mmdet3d.structures import Det3DDataSample
    from mmengine.hub import get_config

    path = tmp_path / "centerpoint.pth"
    model = build(get_config(CENTERPOINT).model)
    torch.save({"state_dict": model.state_dict()}, path)
    grid = {"x_range": (-51.2, 51.2), "y_range": (-51.2, 51.2), "cell": 0.8}
    teacher = bevkd.distill.LiveTeacher(CENTERPOINT, path, taps=TAPS, grid=grid)
    points = torch.rand(500, 5) * torch.tensor([80, 80, 4, 1, 0.1]) - torch.tensor([40, 40, 3, 0, 0])
    features = teacher({"points": [points]}, [Det3DDataSample()], torch.device("cpu"))
    # Pillars of 0.2 m enter the backbone; the neck and the head lie on the grid.
    assert features["low"].shape == (1, 64, 512, 512)
    assert features["high"].shape == (1, 384, *teacher.grid.shape)
    assert [sorted(task) for task in features["head"]] == [["dim", "heatmap", "height", "reg", "rot", "vel"]] * 6
    assert features["head"][0]["heatmap"].shape == (1, 1, *teacher.grid.shape)

    state = model.state_dict()
    state.pop("pts_neck.deblocks.0.0.weight")
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"1 missing \(pts_neck\.deblocks\.0\.0\.weight\)"):
        bevkd.distill.LiveTeacher(CENTERPOINT, path, taps=TAPS, grid=grid).load()


@pytest.mark.slow
@pytest.mark.real_frame
def test_fifty_steps_on_the_real_frame_lower_all_three_losses(real_frame_infos, tmp_path):
    config = Config.fromfile("configs/synthetic/unidistill_lidar_to_camera.py")
    torch.manual_seed(0)
    path = tmp_path / "teacher.pth"
    teacher = Config.fromfile(config.model.teacher.config).model
    torch.save(build(teacher).state_dict(), path)
    config.model.teacher.update(checkpoint=str(path))
    model = build(config.model)
    model.init_weights()
    model.train()
    pipeline = [step for step in config.train_dataloader.dataset.pipeline if step["type"] != "BEVAugment"]
    frame = real_frame_infos.dataset(pipeline, modality={"use_lidar": True, "use_camera": True})
    batch = pseudo_collate([frame[0]])
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3), clip_grad={"max_norm": 35})
    logs = [model.train_step(batch, optimizer) for _ in range(50)]
    for name in KD:
        first, last = float(logs[0][name]), float(logs[-1][name])
        print(f"{name}: {first:.4f} to {last:.4f}")
        assert last < first, name
