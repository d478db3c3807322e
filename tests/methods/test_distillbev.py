"""DistillBEV: exact properties, a slow twin, and what must be refused."""

import numpy as np
import pytest
import torch
from torch import nn

from bevkd.distill import DistillBEV, Distiller, LiveTeacher
from bevkd.distill.bev.regions import split_regions
from bevkd.errors import ConfigError, DataError
from bevkd.methods.distillbev import Level, channel_attention, region_losses, spatial_attention
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets
from tests.distill.method_scenes import WIDE, head, maps, random_boxes, slow_regions
from tests.methods.tap_model import same_under_autocast

PARTS = ["foreground", "background", "false_positive"]


def scene(channels=5, batch=3, grid=WIDE):
    """Taps of student and teacher, and targets: one sample without a box."""
    boxes = [random_boxes(6, grid, 1), torch.zeros(0, 7), random_boxes(3, grid, 2)][:batch]
    student = {"high": maps(grid, channels, batch, seed=1)}
    teacher = {"high": maps(grid, channels, batch, seed=2), "head": head(grid, batch, seed=3)}
    return student, teacher, Targets(boxes, [], grid)


def slow_softmax(values, temperature):
    values = np.exp(np.abs(values) / temperature)
    return values / values.sum() * values.size


def slow_losses(student, teacher, heat, boxes, grid, both=True, by_channel=True, threshold=0.1):
    """The three parts, summed cell by cell and channel by channel in double precision."""
    sums = dict.fromkeys(PARTS, 0.0)
    for s, t, h, sample in zip(student.double().numpy(), teacher.double().numpy(), heat, boxes):
        weights = slow_regions(sample, grid, h, threshold)
        attention = slow_softmax(np.abs(t).mean(0), 0.5)
        if both:
            attention = (attention + slow_softmax(np.abs(s).mean(0), 0.5)) / 2
        channels = slow_softmax(np.abs(t).mean((1, 2)), 0.5) if by_channel else np.ones(len(t))
        for part in PARTS:
            for c in range(len(t)):
                factor = channels[c] if part == "false_positive" else 1.0
                sums[part] += (weights[part] * attention * factor * (s[c] - t[c]) ** 2).sum()
    return {part: value / len(student) for part, value in sums.items()}


# Exact properties.


def test_a_attention_has_mean_one():
    feature = 3 * maps(WIDE, 4, seed=0)
    torch.testing.assert_close(spatial_attention(feature).mean((1, 2)), torch.ones(2))
    torch.testing.assert_close(channel_attention(feature).mean(1), torch.ones(2))
    half = spatial_attention(feature.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.mean((1, 2)), torch.ones(2))


def test_attention_of_a_drawn_map():
    feature = torch.zeros(1, 2, 1, 2)
    feature[0, :, 0, 1] = torch.tensor([1.0, -2.0])  # mean absolute value 1.5, over 0.5: 3
    drawn = torch.tensor([0.0, 3.0]).softmax(0) * 2
    torch.testing.assert_close(spatial_attention(feature)[0, 0], drawn)
    by_channel = torch.tensor([0.5, 1.0]) / 0.5  # means over two cells
    torch.testing.assert_close(channel_attention(feature)[0], by_channel.softmax(0) * 2)


def test_d_a_student_that_is_the_teacher_has_no_loss():
    _, teacher, targets = scene()
    levels = {"high": Level(false_positive=True)}
    losses = DistillBEV(levels)({"high": teacher["high"].clone()}, teacher, targets)
    assert list(losses) == [f"high.{part}" for part in [*PARTS, "spatial"]]
    assert all(value == 0 for value in losses.values())  # the learned kernel starts as the identity
    other = DistillBEV(levels)
    nn.init.constant_(other.kernels["high"].weight, 0.1)
    assert other({"high": teacher["high"].clone()}, teacher, targets)["high.spatial"] > 0


def test_f_repeating_the_batch_changes_nothing():
    student, teacher, targets = scene()
    method = DistillBEV({"high": Level(false_positive=True)})
    twice = [{key: _twice(value) for key, value in taps.items()} for taps in (student, teacher)]
    again = method(*twice, Targets(targets.boxes * 2, [], WIDE))
    for name, value in method(student, teacher, targets).items():
        torch.testing.assert_close(again[name], value, msg=name)


def _twice(value):
    if isinstance(value, list):
        return [{key: _twice(one) for key, one in task.items()} for task in value]
    return torch.cat([value, value])


def test_a_drawn_loss():
    """2 x 1 cells of 1 m, a box over the first: scale 1, background 1, both attentions 1; 2 channels off by 3."""
    grid = BEVGrid((0, 2), (0, 1), 1.0)
    boxes = [torch.tensor([[0.5, 0.5, 0, 1, 1, 1, 0.0]])]
    teacher = torch.zeros(1, 2, 1, 2)
    losses = DistillBEV({"high": {}}, foreground=10, background=100, spatial=1, student_attention=False)(
        {"high": teacher + 3}, {"high": teacher}, Targets(boxes, [], grid)
    )
    values = {name: value.item() for name, value in losses.items()}
    assert values == {"high.foreground": 10 * 18, "high.background": 100 * 18, "high.spatial": 6}


# Against the slow twin.


@pytest.mark.parametrize(("both", "by_channel"), [(True, True), (False, True), (True, False)])
def test_losses_agree_with_the_slow_twin(both, by_channel):
    student, teacher, targets = scene()
    method = DistillBEV(
        {"high": Level(false_positive=True)}, student_attention=both, channel_attention=by_channel, threshold=0.6
    )
    heat = torch.cat([task["heatmap"] for task in teacher["head"]], 1).sigmoid().amax(1)
    twin = slow_losses(student["high"], teacher["high"], heat, targets.boxes, WIDE, both, by_channel, 0.6)
    losses = method(student, teacher, targets)
    for part, weight in zip(PARTS, (6e-3, 4e-2, 6e-2)):
        assert twin[part] > 0
        assert losses[f"high.{part}"].item() == pytest.approx(weight * twin[part], rel=1e-4), part


def test_gradients_are_right():
    student, teacher, targets = scene(channels=2, batch=2)
    regions = split_regions(targets, torch.rand(2, *WIDE.shape))
    attention, channels = torch.rand(2, *WIDE.shape), torch.rand(2, 2)
    mine = student["high"][:, :, :6, :6].double().requires_grad_()
    theirs = teacher["high"][:, :, :6, :6].double()
    cut = type(regions)(*(weights[:, :6, :6].double() for weights in vars(regions).values()))

    def loss(values):
        return sum(region_losses(values, theirs, cut, attention[:, :6, :6].double(), channels.double()).values())

    assert torch.autograd.gradcheck(loss, (mine,))


def test_the_temperature_is_that_of_all_attentions():
    """So hot that every cell and every channel counts alike."""
    student, teacher, targets = scene()
    method = DistillBEV({"high": Level(false_positive=True)}, spatial=0, temperature=1e6, threshold=0.6)
    heat = torch.cat([task["heatmap"] for task in teacher["head"]], 1).sigmoid().amax(1)
    regions = split_regions(targets, heat, 0.6)
    alike = region_losses(student["high"], teacher["high"], regions, torch.ones(3, *WIDE.shape))
    for part, loss in method(student, teacher, targets).items():
        name = part.removeprefix("high.")
        torch.testing.assert_close(loss, method.weights[name] * alike[name], rtol=1e-4, atol=0)


def test_half_precision_and_autocast_do_not_coarsen_the_spatial_term():
    student, teacher, targets = scene()
    halves = [{**taps, "high": taps["high"].bfloat16()} for taps in (student, teacher)]
    wide = [{**taps, "high": taps["high"].float()} for taps in halves]
    method = DistillBEV({"high": {}})
    with torch.autocast("cpu", torch.bfloat16):
        found = method(*halves, targets)["high.spatial"]
    torch.testing.assert_close(found, method(*wide, targets)["high.spatial"])


def test_no_gradient_reaches_the_teacher_or_passes_the_attention():
    student, teacher, targets = scene()
    mine, theirs = student["high"].requires_grad_(), teacher["high"].requires_grad_()
    heat = [task["heatmap"].requires_grad_() for task in teacher["head"]]
    losses = DistillBEV({"high": Level(false_positive=True)}, spatial=0)(student, teacher, targets)
    (slope,) = torch.autograd.grad(sum(losses.values()), mine)
    gap = (mine - theirs).detach()
    assert (slope * gap >= 0).all()  # towards the teacher in every single number
    sum(DistillBEV({"high": Level(false_positive=True)})(student, teacher, targets).values()).backward()
    assert theirs.grad is None
    assert all(map_.grad is None for map_ in heat)


# Levels and adapters.


def test_levels_of_other_strides_and_widths_learn_through_their_adapters():
    student, teacher, targets = scene()
    student |= {"mid": maps(WIDE, 7, 3, seed=4)[..., ::4, ::4]}
    teacher |= {"mid": maps(WIDE, 4, 3, seed=5)[..., ::2, ::2]}
    levels = {
        "mid": {"channels": (7, 4), "scale": 2, "layers": 3},
        "high": {"channels": [5, 5], "false_positive": True},
    }
    method = DistillBEV(levels)
    assert method.taps == ("mid", "high")
    assert method.teacher_taps == ("head",)
    losses = method(student, teacher, targets)
    assert [name for name in losses if name.startswith("mid")] == ["mid.foreground", "mid.background", "mid.spatial"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    kinds = [type(layer).__name__ for layer in method.adapters["mid"].layers.modules() if not list(layer.children())]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 3


def test_a_level_is_weighted_on_its_own_cells():
    """The same object on cells twice as large: the scale of a cell doubles."""
    student, teacher, targets = scene()
    coarse = [{"high": nn.functional.avg_pool2d(taps["high"], 2)} for taps in (student, teacher)]
    losses = DistillBEV({"high": Level()}, spatial=0)(*coarse, targets)
    grid = BEVGrid(WIDE.x_range, WIDE.y_range, 1.0)
    heat = np.zeros((3, *grid.shape))
    twin = slow_losses(coarse[0]["high"], coarse[1]["high"], heat, targets.boxes, grid)
    assert losses["high.foreground"].item() == pytest.approx(6e-3 * twin["foreground"], rel=1e-4)


def test_a_weight_of_zero_leaves_its_part_and_parameters_out():
    method = DistillBEV({"high": Level(false_positive=True)}, foreground=0, false_positive=0, spatial=0)
    assert method.teacher_taps == ()
    assert not list(method.parameters())
    student, teacher, targets = scene()
    del teacher["head"]
    assert list(method(student, teacher, targets)) == ["high.background"]


def test_without_boxes_background_alone_is_imitated():
    student, teacher, _ = scene()
    mine = student["high"].requires_grad_()
    losses = DistillBEV({"high": Level()})(student, teacher, Targets([torch.zeros(0, 9)] * 3, [], WIDE))
    assert losses["high.foreground"] == 0
    assert losses["high.background"] > 0
    sum(losses.values()).backward()
    assert mine.grad.isfinite().all()


def test_in_a_distiller_a_student_without_a_head_will_do(detector, batch):
    method = DistillBEV({"high": Level(false_positive=True)})
    taps = {"high": "encoder"}
    model = Distiller(detector(0), LiveTeacher(detector(1)), {"distillbev": method}, taps=taps)
    names = [name for name in model(*batch, mode="loss") if name.startswith("kd/")]
    assert names == [f"kd/distillbev/high.{part}" for part in [*PARTS, "spatial"]]
    headless = LiveTeacher(detector(1), taps=taps)
    with pytest.raises(ConfigError, match=r"'distillbev' needs the taps \['head'\] of the teacher"):
        Distiller(detector(0), headless, {"distillbev": method}, taps=taps).init_weights()


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"levels": {}}, "levels are empty"),
        ({"levels": {"high": {"chanels": (2, 2)}}}, "unknown key 'chanels'; nearest: channels"),
        ({"levels": {"high": {"channels": (2,)}}}, r"'high' channels is \(2,\), expected \(student"),
        ({"levels": {"high": {"channels": (2, 2), "scale": 0}}}, "scale 0"),
        ({"levels": {"high": {"scale": 2}}}, r"expected channels=\(...\) as well"),
        ({"background": -1}, "none negative"),
        ({"foreground": 0, "background": 0, "false_positive": 0, "spatial": 0}, "one positive"),
        ({"temperature": 0}, "temperature 0"),
        ({"threshold": 1.0}, "threshold 1.0"),
    ],
)
def test_bad_arguments_are_refused(arguments, found):
    with pytest.raises(ConfigError, match=found):
        DistillBEV(**{"levels": {"high": {}}, **arguments})


def test_maps_that_do_not_fit_are_refused():
    student, teacher, targets = scene()
    with pytest.raises(ConfigError, match=r"'high' channels begin with 4, but the student's map is \(3, 5, 16, 36\)"):
        DistillBEV({"high": {"channels": (4, 5)}})(student, teacher, targets)
    with pytest.raises(ConfigError, match=r"level 'high': the student's map is .* after its adapter"):
        DistillBEV({"high": {"channels": (5, 4)}})(student, teacher, targets)
    with pytest.raises(ConfigError, match="for 2 samples"):
        DistillBEV({"high": {}})(student, teacher, Targets(targets.boxes[:2], [], WIDE))
    half = {"high": student["high"][..., ::2]}, {"high": teacher["high"][..., ::2]}
    with pytest.raises(ConfigError, match=r"'high' has 16 x 18 cells .*expected square"):
        DistillBEV({"high": {}})(*half, targets)
    coarse = {"high": student["high"][..., ::2, ::2]}, {**teacher, "high": teacher["high"][..., ::2, ::2]}
    with pytest.raises(ConfigError, match=r"\(8, 18\) .* the teacher's heat \(16, 36\), expected the same"):
        DistillBEV({"high": {"false_positive": True}})(*coarse, targets)
    targets.boxes[0][1, 4] = 0
    targets = Targets(targets.boxes, targets.labels, targets.grid)
    with pytest.raises(DataError, match="box 1 of sample 0 has size"):
        DistillBEV({"high": {}})(student, teacher, targets)


def test_a_student_that_is_its_teacher_can_only_stay(detector, batch):
    """With the same weights the features agree."""
    model = Distiller(detector(3), LiveTeacher(detector(3)), {"m": DistillBEV({"low": {}, "high": {}})}).eval()
    assert all(value == 0 for name, value in model(*batch, mode="loss").items() if name.startswith("kd/"))


def test_without_adapters_autocast_changes_no_digit():
    """The loss part itself is never in half precision."""
    same_under_autocast(DistillBEV({"low": {}, "high": {"false_positive": True}}))
