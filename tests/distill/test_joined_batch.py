"""Two ranks and one process train the same: gradients of DDP against those of the joined batch.

What is equal, and why: every loss is a sum over objects, cells or samples, and its divisor is that of the joined batch
over the number of ranks (:mod:`bevkd.structures.ranks`), so that DDP's mean over ranks of the gradients is the gradient
of the joined loss up to the order of float32 sums. Batch norm is in eval mode here: in training each rank normalises
with its own statistics (on GPUs ``sync_bn`` joins them), which no divisor can undo.
"""

import copy

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

import bevkd.detectors  # noqa: F401
from bevkd.distill import RDD, DistillBEV, Distiller, LiveTeacher, UniDistill
from bevkd.distill.models import build_model
from tests.detectors.detector_scenes import CAMERA, IMAGE, camera_config, detector_config, one_of_each, sample
from tests.two_ranks import run_ranks

COUNTS = {"uneven": (10, 3, 0, 1), "one rank is empty": (7, 2, 0, 0), "no object at all": (0, 0, 0, 0)}
DEPTH = {"depth_weight": 3.0}


def batch(counts):
    boxes, labels, cloud = one_of_each()
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(len(counts), 6, 3, *IMAGE, generator=draw)
    # Depth is supervised by few points here and none there.
    clouds = [cloud[: 20 * count, :5] if count else cloud[:5] + 100 for count in counts]
    return {"points": clouds, "imgs": images}, [sample(boxes[:n], labels[:n]) for n in counts]


def part(inputs, samples, rank, ranks):
    size = len(samples) // ranks
    chosen = slice(rank * size, (rank + 1) * size)
    return {name: value[chosen] for name, value in inputs.items()}, samples[chosen]


def distiller():
    torch.manual_seed(0)
    student = build_model(camera_config() | {"camera_encoder": CAMERA | DEPTH}, "the student")
    teacher = build_model(detector_config(), "the teacher")
    methods = {
        "unidistill": UniDistill(adapters={"low": (16, 16)}),
        "distillbev": DistillBEV({"low": {"channels": (16, 16)}, "high": {"false_positive": True}}, threshold=0.05),
        "rdd": RDD(channels=(32, 32), threshold=0.1),
    }
    model = Distiller(student, LiveTeacher(teacher), methods)
    model.init_weights()
    return model.eval()


def gradients(model, inputs, samples, wrapped=None):
    losses = (wrapped or model)(inputs, samples, mode="loss")
    model.parse_losses(losses)[0].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}, {k: v.detach() for k, v in losses.items()}


def _two(rank, counts):
    model = distiller()
    wrapped = MMDistributedDataParallel(module=model)
    return gradients(model, *part(*batch(counts), rank, 2), wrapped)


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_gradients_are_those_of_the_joined_batch(tmp_path, counts):
    (first, losses), (second, others) = run_ranks(_two, tmp_path, counts)
    whole, joined = gradients(distiller(), *batch(counts))
    assert first.keys() == whole.keys()
    for name, expected in whole.items():
        assert torch.equal(first[name], second[name]), name
        scale = max(expected.abs().max().item(), 1e-3)
        assert (first[name] - expected).abs().max().item() <= 1e-5 * scale, name
    for name, expected in joined.items():
        if not name.startswith("info/"):
            torch.testing.assert_close((losses[name] + others[name]) / 2, expected, rtol=1e-5, atol=1e-6)
    assert all(value.isfinite() for value in [*losses.values(), *others.values()])


def test_a_rank_that_divides_by_its_own_number_would_train_otherwise(tmp_path, monkeypatch):
    import bevkd.detectors.center_loss as center_loss

    counts = COUNTS["uneven"]
    whole, _ = gradients(distiller(), *batch(counts))
    monkeypatch.setattr(center_loss, "rank_count", lambda: 1)
    monkeypatch.setattr(center_loss, "rank_sum", lambda value: value.float())
    (first, _), _ = run_ranks(_two, tmp_path, counts)
    name = "student.head.shared_conv.conv.weight"
    assert (first[name] - whole[name]).abs().max() > 1e-2 * whole[name].abs().max()


def _count_reductions(rank, counts):
    """Collectives of one loss, without those of DDP."""
    import torch.distributed as dist

    made = []
    for name in ("all_reduce", "all_gather_into_tensor", "broadcast", "all_gather", "barrier"):
        plain = getattr(dist, name)
        setattr(dist, name, lambda *a, plain=plain, name=name, **k: (made.append(name), plain(*a, **k))[1])
    distiller()(*part(*batch(counts), rank, 2), mode="loss")
    return sorted(made)


def test_reductions_are_few_and_the_same_on_an_empty_rank(tmp_path):
    made = run_ranks(_count_reductions, tmp_path, COUNTS["one rank is empty"])
    # The head's twelve numbers, the depth's, UniDistill's two, RDD's number of regions and their disparities.
    assert made == [["all_gather_into_tensor", *["all_reduce"] * 4]] * 2


def test_one_process_makes_none(monkeypatch):
    import torch.distributed as dist

    for name in ("all_reduce", "all_gather_into_tensor"):
        monkeypatch.setattr(dist, name, None)
    model = distiller()
    value, _ = model.parse_losses(model(*copy.deepcopy(batch((2, 1))), mode="loss"))
    assert value.isfinite()
