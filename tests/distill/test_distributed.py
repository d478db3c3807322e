"""Two gloo processes: counts averaged over ranks, and the distiller inside DistributedDataParallel."""

import pytest
import torch
from distill_fakes import BOXES, GRID, FakeDetector, sample_of
from torch.nn.parallel import DistributedDataParallel

from bevkd.distill import RDD, DistillBEV, Distiller, LiveTeacher, UniDistill
from bevkd.distill.unidistill import feature_loss, response_loss
from tests.two_ranks import run_ranks


def _rank(rank):
    boxes = [BOXES] if rank == 0 else [torch.zeros(0, 9)]  # 2 and 0: 1 on average
    teacher = torch.zeros(1, 3, *GRID.shape)
    result = {"feature": feature_loss(teacher + 0.5, teacher, boxes, GRID)}
    zero = [{"heatmap": teacher, "reg": teacher}]
    result["response"] = response_loss([{"heatmap": teacher, "reg": teacher + 0.5}], zero, boxes, GRID)

    torch.manual_seed(0)
    methods = {
        "unidistill": UniDistill(adapters={"low": (4, 6)}, relation=0),
        "distillbev": DistillBEV({"low": {"channels": (4, 6)}, "high": {"channels": (8, 12), "false_positive": True}}),
        "rdd": RDD(channels=(8, 12), threshold=0.99 if rank else 0.0),  # no region on one rank
    }
    conflict = {"parameters": ["stem.*"], "interval": 1}
    teacher = LiveTeacher(FakeDetector(channels=6))
    model = Distiller(FakeDetector(), teacher, methods, gradient_conflict=conflict)
    model.init_weights()
    wrapped = DistributedDataParallel(model)
    inputs = {"image": torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(rank))}
    for step in range(2):  # the second would fail if a parameter had got no gradient in the first
        losses = wrapped(inputs, [sample_of(boxes[0])], mode="loss")
        assert "info/rdd/cosine" in losses
        model.parse_losses(losses)[0].backward()
        if not step:
            result["rdd"] = losses["kd/rdd/feature"].detach()
    result["grad"] = model.student.stem.weight.grad.clone()
    result["adapters"] = torch.cat([p.grad.flatten() for p in model.methods.parameters()])
    return result


def test_two_ranks(tmp_path):
    first, second = run_ranks(_rank, tmp_path)
    assert first["feature"].item() == pytest.approx(0.5 * 2 / ((2 + 1e-4) / 2), abs=1e-5)
    assert first["response"].item() == pytest.approx(2 * 0.5, abs=1e-3)  # the mask's sum is averaged as well
    assert second["feature"] == second["response"] == 0
    assert first["rdd"] > 0
    assert second["rdd"] == 0
    assert torch.equal(first["grad"], second["grad"])
    assert torch.equal(first["adapters"], second["adapters"])
    assert first["grad"].isfinite().all()
    assert first["grad"].abs().sum() > 0
