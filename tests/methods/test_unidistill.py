"""The three losses: exact properties, a slow twin, and what must be refused."""

import math

import numpy as np
import pytest
import torch

from bevkd.distill.bev.foreground import gaussian_mask
from bevkd.errors import ConfigError, DataError
from bevkd.methods.unidistill import feature_loss, relation_loss, response_loss
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets
from tests.distill.method_scenes import head, maps

PAPER = BEVGrid((-54, 54), (-54, 54), 0.6)
EPS = 1e-4


def mapped(task_maps, change):
    return [{key: change(value) for key, value in task.items()} for task in task_maps]


def slow_points(box):
    x, y, _, dx, dy, _, yaw = box[:7]
    cos, sin = math.cos(yaw), math.sin(yaw)
    corners = []
    for a, b in ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)):
        along, across = a * dx, b * dy
        corners.append((x + along * cos - across * sin, y + along * sin + across * cos))
    edges = [((p[0] + q[0]) / 2, (p[1] + q[1]) / 2) for p, q in zip(corners, corners[1:] + corners[:1])]
    return [*corners, (x, y), *edges]


def slow_sample(feature, x, y, grid, swap):
    """Bilinear, zero outside; with ``swap`` at the point whose normalised x and y are exchanged."""
    rows, columns = grid.shape
    u, v = (x - grid.x_range[0]) / (columns * grid.cell), (y - grid.y_range[0]) / (rows * grid.cell)
    if swap:
        u, v = v, u
    column, row = u * columns - 0.5, v * rows - 0.5
    value = np.zeros(len(feature))
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < rows and 0 <= j < columns:
                value += feature[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return value


def slow_losses(student, teacher, boxes, grid, swap=False):
    """Feature and relation loss, box by box and point by point."""
    feature = relation = count = 0
    for s, t, sample in zip(student.double().numpy(), teacher.double().numpy(), boxes):
        for box in sample.double().tolist():
            count += 1
            points = slow_points(box)
            mine = [slow_sample(s, x, y, grid, swap) for x, y in points]
            theirs = [slow_sample(t, x, y, grid, swap) for x, y in points]
            feature += np.mean([np.abs(a - b).mean() for a, b in zip(mine, theirs)])
            mine = [a / (np.linalg.norm(a) + EPS) for a in mine]
            theirs = [a / (np.linalg.norm(a) + EPS) for a in theirs]
            relation += np.mean([abs(mine[i] @ mine[j] - theirs[i] @ theirs[j]) for i in range(9) for j in range(9)])
    return feature / (count + EPS), relation / (count + EPS)


def slow_response(student, teacher, boxes, grid):
    mask = gaussian_mask(Targets(boxes, [], grid)).double().numpy()  # tested against its own twin
    keys = [key for key in student[0] if key != "heatmap"]
    heat = regression = 0.0
    for b, i, j in zip(*mask.nonzero()):

        def sigmoid(z):
            return min(max(1 / (1 + math.exp(-z)), EPS), 1 - EPS)

        mine = max(sigmoid(z) for task in student for z in task["heatmap"][b, :, i, j].tolist())
        theirs = max(sigmoid(z / 2) for task in teacher for z in task["heatmap"][b, :, i, j].tolist())
        heat += mask[b, i, j] * abs(mine - theirs)
        gaps = [(s[k][b, :, i, j] - t[k][b, :, i, j]).abs().tolist() for s, t in zip(student, teacher) for k in keys]
        regression += mask[b, i, j] * np.mean(np.concatenate(gaps))
    return (heat + regression) / (mask.sum() + EPS)


# Exact properties.


def test_a_and_b_one_hot_cell():
    feature = torch.zeros(1, 1, 180, 180)
    feature[0, 0, 30, 120] = 1
    point = torch.tensor([[-54 + 120.5 * 0.6, -54 + 30.5 * 0.6, 0, 1e-3, 1e-3, 1, 0]])  # all nine points in its middle
    nothing = torch.zeros_like(feature)
    assert feature_loss(feature, nothing, [point], PAPER).item() == pytest.approx(1 / (1 + EPS), abs=5e-3)
    assert feature_loss(feature, nothing, [point], PAPER, legacy_axis_swap=True).item() == 0


def test_c_relation_is_blind_to_rotation_and_scale_of_channels(grid, boxes):
    teacher = maps(grid)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)))[0]
    turned = torch.einsum("dc,bcyx->bdyx", rotation, teacher)
    for student in (turned, 3 * teacher):
        assert relation_loss(student, teacher, boxes, grid) < 1e-4
        assert feature_loss(student, teacher, boxes, grid) > 0.1


def test_c_order_of_the_nine_points_does_not_matter(grid, boxes):
    student, teacher = maps(grid, seed=1), maps(grid, seed=2)
    half_turn = [b + torch.tensor([0, 0, 0, 0, 0, 0, math.pi, 0, 0]) for b in boxes]  # the same points, renumbered
    for loss in (feature_loss, relation_loss):
        torch.testing.assert_close(loss(student, teacher, boxes, grid), loss(student, teacher, half_turn, grid))


def test_d_a_shift_of_one_half(grid, boxes):
    teacher = maps(grid)
    shifted = feature_loss(teacher + 0.5, teacher, boxes, grid).item()
    assert shifted == pytest.approx(0.5 * 3 / (3 + EPS), abs=1e-6)


def test_f_no_gradient_reaches_the_teacher(grid, boxes):
    student, teacher = maps(grid, seed=1).requires_grad_(), maps(grid, seed=2).requires_grad_()
    mine, theirs = (mapped(head(grid, seed=seed), torch.Tensor.requires_grad_) for seed in (1, 2))
    loss = feature_loss(student, teacher, boxes, grid) + relation_loss(student, teacher, boxes, grid)
    (loss + response_loss(mine, theirs, boxes, grid)).backward()
    assert student.grad.abs().sum() > 0
    assert all(m.grad.abs().sum() > 0 for task in mine for m in task.values())
    assert teacher.grad is None
    assert all(m.grad is None for task in theirs for m in task.values())


@pytest.mark.parametrize(("logit", "gap"), [(-2.19, 0.150), (2.0, 0.150), (0.0, 0.0)])
def test_equal_heads_do_not_give_zero(grid, boxes, logit, gap):
    same = mapped(head(grid), lambda m: torch.full_like(m, logit))
    assert response_loss(same, same, boxes, grid).item() == pytest.approx(gap, abs=5e-4)


def test_temperature_is_the_teacher_s_only(grid, boxes):
    zero = mapped(head(grid), torch.zeros_like)
    hot = [{**task, "heatmap": torch.full_like(task["heatmap"], 2.0)} for task in zero]
    sigmoid = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    assert response_loss(hot, zero, boxes, grid).item() == pytest.approx(sigmoid[0] - 0.5, abs=1e-4)
    assert response_loss(zero, hot, boxes, grid).item() == pytest.approx(sigmoid[1] - 0.5, abs=1e-4)


def test_heat_is_clamped_and_regression_counts_every_channel(grid, boxes):
    low = mapped(head(grid), lambda m: torch.full_like(m, -50.0))
    assert response_loss(low, low, boxes, grid) == 0  # both clamped to 1e-4
    moved = [dict(task) for task in low]
    moved[1]["vel"] = moved[1]["vel"] + 5
    assert response_loss(moved, low, boxes, grid).item() == pytest.approx(5 * 2 / 20, abs=1e-4)  # 2 of 2 x 10 channels


# Against the slow twin.


@pytest.mark.parametrize("swap", [False, True])
def test_feature_and_relation_agree_with_the_slow_twin(swap):
    grid = BEVGrid((-6, 12), (-4, 4), 0.5)
    boxes = [
        torch.tensor([[1.0, 2, 0, 4.6, 1.9, 2, 0.4], [11.5, -3.9, 0, 12, 2.9, 3, 2.0], [-5.0, 0, 0, 0.7, 0.7, 2, -1]]),
        torch.zeros(0, 7),
        torch.tensor([[-2.0, -1, 0, 4, 2, 1.5, -3.0]]),
    ]
    student, teacher = maps(grid, batch=3, seed=1), maps(grid, batch=3, seed=2)
    feature, relation = slow_losses(student, teacher, boxes, grid, swap)
    assert feature_loss(student, teacher, boxes, grid, swap).item() == pytest.approx(feature, rel=1e-4)
    assert relation_loss(student, teacher, boxes, grid, swap).item() == pytest.approx(relation, rel=1e-4)


@pytest.mark.parametrize("extra", [(), ("iou",)])
def test_response_agrees_with_the_slow_twin(grid, boxes, extra):
    student, teacher = head(grid, seed=1, extra=extra), head(grid, seed=2, extra=extra)
    expected = slow_response(student, teacher, boxes, grid)
    assert response_loss(student, teacher, boxes, grid).item() == pytest.approx(expected, rel=1e-5)


def test_gradients_are_right(grid, boxes):
    student, teacher = maps(grid, 2, seed=1).double().requires_grad_(), maps(grid, 2, seed=2).double()
    for loss in (feature_loss, relation_loss):
        (slope,) = torch.autograd.grad(loss(student, teacher, boxes, grid), student)
        step = torch.randn(student.shape, dtype=torch.double, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            up, down = (loss(student + sign * 1e-6 * step, teacher, boxes, grid) for sign in (1, -1))
        assert (slope * step).sum().item() == pytest.approx(((up - down) / 2e-6).item(), rel=1e-4)


# Nothing to learn from, and what must be refused.


def test_no_box_gives_zero_and_a_zero_gradient(grid):
    none = [torch.zeros(0, 9), torch.zeros(0, 9)]
    student = maps(grid).fill_(float("inf")).requires_grad_()
    mine = mapped(head(grid), torch.Tensor.requires_grad_)
    loss = feature_loss(student, maps(grid), none, grid) + relation_loss(student, maps(grid), none, grid)
    loss = loss + response_loss(mine, head(grid), none, grid)
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().sum() == 0
    assert all(m.grad.abs().sum() == 0 for task in mine for m in task.values())


def test_empty_cells_and_points_outside_give_finite_gradients(grid):
    student = torch.zeros(1, 6, *grid.shape).requires_grad_()
    corner = [torch.tensor([[5.9, 5.9, 0, 4, 2, 1.5, 0.5]])]
    relation_loss(student, maps(grid, batch=1), corner, grid).backward()
    assert student.grad.isfinite().all()


def test_half_precision_gives_a_float_loss(grid, boxes):
    student, teacher = maps(grid, seed=1), maps(grid, seed=2)
    for loss in (feature_loss, relation_loss):
        low = loss(student.bfloat16(), teacher.bfloat16(), boxes, grid)
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, loss(student, teacher, boxes, grid), rtol=0.02, atol=0.02)
    exact = relation_loss(student, teacher, boxes, grid)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(relation_loss(student, teacher, boxes, grid), exact)
    mine, theirs = head(grid, seed=1), head(grid, seed=2)
    low = response_loss(mapped(mine, torch.Tensor.bfloat16), theirs, boxes, grid)
    torch.testing.assert_close(low, response_loss(mine, theirs, boxes, grid), rtol=0.02, atol=0)


@pytest.mark.parametrize("loss", [feature_loss, relation_loss])
def test_maps_that_do_not_fit_are_refused(grid, boxes, loss):
    good = maps(grid)
    with pytest.raises(ConfigError, match="expected equal channels or an adapter"):
        loss(maps(grid, 4), good, boxes, grid)
    with pytest.raises(ConfigError, match=r"expected both on the grid of \(24, 24\)"):
        loss(good[..., ::2], good[..., ::2], boxes, grid)
    with pytest.raises(ConfigError, match=r"expected both on the grid of \(24, 24\)"):
        loss(good, good[..., ::2], boxes, grid)
    with pytest.raises(ConfigError, match="batch of 1 box lists"):
        loss(good, good, boxes[:1], grid)
    boxes[0][0, 6] = 45
    with pytest.raises(DataError, match="degrees"):
        loss(good, good, boxes, grid)


def test_heads_that_do_not_fit_are_refused(grid, boxes):
    good = head(grid)
    for other in (head(grid, tasks=(1,)), head(grid, tasks=(2, 1)), head(grid, extra=("iou",))):
        with pytest.raises(ConfigError, match="the student's head has tasks"):
            response_loss(good, other, boxes, grid)
    with pytest.raises(ConfigError, match="the teacher's head is list, expected a list over tasks of dicts"):
        response_loss(good, [[task] for task in good], boxes, grid)
    coarse = mapped(good, lambda m: m[..., ::2])
    with pytest.raises(ConfigError, match="heat maps are"):
        response_loss(good, coarse, boxes, grid)
    boxes[1][0, 3] = 0
    with pytest.raises(DataError, match="size"):
        response_loss(good, good, boxes, grid)
