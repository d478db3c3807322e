"""mmdet3d's CenterPoint, PointPillars and SECOND on both sides of a distiller, joined by taps alone."""

import copy
import math
from pathlib import Path

import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmdet3d_scenes import DETECTORS, shipped, small
from mmengine.config import Config
from mmengine.structures import InstanceData

import bevkd.detectors
from bevkd.distill import DistillBEV, Distiller, LiveTeacher, UniDistill
from bevkd.distill.models import build_model, known_taps
from bevkd.engine import register_all
from bevkd.errors import CheckpointError, ConfigError
from bevkd.structures.sparse_layout import layout_of
from tests.detectors.detector_scenes import ring

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")
CPU = torch.device("cpu")
BOXES = torch.tensor([[6.0, 2.0, -1.5, 4.0, 1.8, 1.6, 0.4, 1.0, 0.5], [9.0, -3.0, -1.5, 4.2, 1.9, 1.5, -1.2, 0, 0]])
SPARSE = ("centerpoint_voxel", "second")
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(bevkd.detectors.sparse.spconv_ops is None, reason="needs spconv"))
    if name in SPARSE
    else name
    for name in DETECTORS
]


def cloud(columns: int, count: int = 1500, seed: int = 0) -> torch.Tensor:
    """Points all around and some in each box: x, y, z, then intensity and time, or time alone."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 5, generator=generator) * torch.tensor([24.0, 24, 3, 60, 0.5])
    points -= torch.tensor([12.0, 12, 2.5, 0, 0])
    inside = BOXES[:, None, :3] + (torch.rand(2, 50, 3, generator=generator) - 0.5) + torch.tensor([0, 0, 0.8])
    points[:100, :3] = inside.reshape(-1, 3)
    return points if columns == 5 else points[:, [0, 1, 2, 4]]


def samples(name: str) -> list[Det3DDataSample]:
    size = 7 if name == "second" else 9
    sample = Det3DDataSample()
    boxes = LiDARInstance3DBoxes(BOXES[:, :size], box_dim=size)
    sample.gt_instances_3d = InstanceData(bboxes_3d=boxes, labels_3d=torch.tensor([0, 1]))
    sample.set_metainfo({"box_type_3d": LiDARInstance3DBoxes})
    return [sample, copy.deepcopy(sample)]


def clouds(columns: int) -> dict:
    return {"points": [cloud(columns), cloud(columns, 900, 1)]}


def in_mmcv_layout(model) -> dict:
    """The model's weights as mmcv would have saved them."""
    state = dict(model.state_dict())
    for path, layer in model.named_modules():
        if layout_of(layer) == "spconv":
            state[f"{path}.weight"] = layer.weight.detach().permute(1, 2, 3, 4, 0).contiguous()
    return state


def lively(model):
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_the_taps_of_shipped_detectors_are_known(name):
    assert known_taps(build_model(small(name), name)) == DETECTORS[name][1]


def test_taps_of_other_models_are_their_own_or_none():
    model = torch.nn.Linear(1, 1)
    assert known_taps(model) is None
    model.default_taps = {"high": "neck"}
    assert known_taps(model) == {"high": "neck"}


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_in_mmdet3d_s_keys_teaches(name, tmp_path):
    """Written as mmcv writes it, loaded strictly; the taps are what the model itself computes, on the expected grid."""
    _, taps, _, grid, channels, columns = DETECTORS[name]
    torch.manual_seed(0)
    model = lively(build_model(small(name), name))
    state = in_mmcv_layout(model)
    turned = [key for key, value in state.items() if value.shape != model.state_dict()[key].shape]
    assert bool(turned) == (name in SPARSE)
    torch.save({"meta": {"epoch": 20}, "state_dict": state}, tmp_path / "a.pth")
    teacher = LiveTeacher(small(name), tmp_path / "a.pth", taps=taps, grid=vars(grid))
    features = teacher(clouds(columns), samples(name), CPU)
    assert features["high"].shape == (2, channels, *grid.shape)
    expected = LiveTeacher(model, taps=taps, grid=grid)(clouds(columns), samples(name), CPU)
    for tap in ("low", "high"):
        assert torch.equal(features[tap], expected[tap])
        assert features[tap].abs().amax() > 0
    if "centerpoint" in name:
        assert features["head"][0]["heatmap"].shape == (2, 1, *grid.shape)
        assert [sorted(task) for task in features["head"]] == [["dim", "heatmap", "height", "reg", "rot", "vel"]] * 6
        assert teacher.classes()[1] == ["truck", "construction_vehicle"]
    else:
        assert len(features["head"]) == 3  # scores, boxes, directions of the anchors
    state.pop(next(iter(state)))
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="1 missing"):
        LiveTeacher(small(name), tmp_path / "b.pth", taps=taps).load()


@pytest.mark.parametrize("name", NAMES)
def test_as_a_student(name):
    """One training step: each method's loss reaches the student's backbone, and its own losses everything else."""
    # PointPillars reads four columns, so it is taught by its like; the others by CenterPoint, SECOND on finer cells.
    whose = name if name == "pointpillars" else "centerpoint_pillar"
    (_, taps, _, grid, channels, columns), (_, their_taps, _, their_grid, wide, _) = DETECTORS[name], DETECTORS[whose]
    torch.manual_seed(0)
    student, teacher = build_model(small(name), name), lively(build_model(small(whose), whose))
    centre = "centerpoint" in name  # anchors are no centre maps
    methods = {
        "u": UniDistill(0, 40, 10 if centre else 0, adapters={"high": (channels, wide)}),
        "d": DistillBEV({"high": {"channels": (channels, wide)}}),
    }
    wanted = ("high", "head") if centre else ("high",)
    model = Distiller(
        student,
        LiveTeacher(teacher, taps={key: their_taps[key] for key in wanted}, grid=their_grid),
        methods,
        taps={key: taps[key] for key in wanted},
        grid=grid,
        resample=grid != their_grid,
    ).train()
    columns = 4 if name == "pointpillars" else 5
    data = model.data_preprocessor({"inputs": clouds(columns), "data_samples": samples(name)}, True)
    losses = model(data["inputs"], data["data_samples"], mode="loss")
    kd = [value for key, value in losses.items() if key.startswith("kd/")]
    assert len(kd) >= 4
    sum(kd).backward(retain_graph=True)
    backbone = student.backbone if name == "second" else student.pts_backbone
    assert all(p.grad.abs().sum() > 0 for p in backbone.parameters() if p.dim() == 4)
    total, log = model.parse_losses(losses)
    total.backward()
    assert all(value.isfinite() for value in log.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    data = model.data_preprocessor({"inputs": clouds(columns), "data_samples": samples(name)}, False)
    found = model.eval()(data["inputs"], data["data_samples"], mode="predict")
    assert all(sample.pred_instances_3d.bboxes_3d.tensor.isfinite().all() for sample in found)


def test_columns_for_a_teacher_that_reads_others():
    """PointPillars of nuScenes has no intensity; beside a student of five columns it is given four of them."""
    _, taps, _, grid, _, _ = DETECTORS["pointpillars"]
    torch.manual_seed(0)
    model = lively(build_model(small("pointpillars"), "t"))
    five, four = clouds(5), clouds(4)
    expected = LiveTeacher(model, taps=taps, grid=grid)(four, samples("pointpillars"), CPU)
    teacher = LiveTeacher(model, taps=taps, grid=grid, point_columns=(0, 1, 2, 4))
    found = teacher(five, samples("pointpillars"), CPU)
    assert torch.equal(found["high"], expected["high"])
    assert five["points"][0].shape[1] == 5
    with pytest.raises(ConfigError, match=r"point_columns are \[0, 1, 2, 4\], expected columns of points \(1500, 4\)"):
        teacher(four, samples("pointpillars"), CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_full_size_as_shipped(name):
    _, taps, grid, _, channels, columns = DETECTORS[name]
    teacher = LiveTeacher(build_model(shipped(name), name), taps=taps, grid=grid)
    features = teacher({"points": [cloud(columns)]}, samples(name)[:1], CPU)
    assert features["high"].shape == (1, channels, *grid.shape)


@pytest.mark.slow
@pytest.mark.skipif(bevkd.detectors.sparse.spconv_ops is None, reason="needs spconv")
@pytest.mark.parametrize("path", sorted(p.name for p in (ROOT / "configs/mmdet3d").glob("*.py")))
def test_recipes_fit_and_give_losses(path, tmp_path):
    """Full size, one sample, random weights in mmcv's layout."""
    register_all()
    config = Config.fromfile(ROOT / "configs/mmdet3d" / path).model
    torch.save({"state_dict": in_mmcv_layout(build_model(config.teacher.config, "t"))}, tmp_path / "t.pth")
    config.teacher.checkpoint = str(tmp_path / "t.pth")
    model = build_model(config, "model")
    model.prepare()  # grids, taps, classes, images
    (sample, _), inputs = samples("centerpoint_voxel"), {"points": [cloud(5)]}
    if "camera" in path:
        inputs["img"] = [torch.randint(0, 255, (6, 3, 256, 704)).byte()]
        sample.set_metainfo({"lidar2img": ring()})
    with torch.no_grad():
        data = model.train().data_preprocessor({"inputs": inputs, "data_samples": [sample]}, True)
        losses = model(data["inputs"], data["data_samples"], mode="loss")
    kd = {key: float(value) for key, value in losses.items() if key.startswith("kd/")}
    print(path, kd)
    assert len(kd) == (3 if "camera" in path else 2)
    assert all(value > 0 and math.isfinite(value) for value in kd.values())
