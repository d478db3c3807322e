"""BEVFormer's parts: deformable attention, which cell is seen where, and the encoder with and without a past."""

import copy
import itertools

import pytest
import torch
from detector_scenes import CAMERA, GRID, IMAGE, camera_matrix, ring
from torch import nn

from bevkd.detectors import BEVFormerEncoder, CameraBatch
from bevkd.detectors.bev_attention import DeformableAttention, SpatialCrossAttention, Views
from bevkd.detectors.camera_rays import stack_matrices
from bevkd.errors import ConfigError, DataError

CPU = torch.device("cpu")


def encoder(**changes) -> BEVFormerEncoder:
    torch.manual_seed(0)
    neck = {"type": "mmdet.FPN", "in_channels": [8, 16], "out_channels": 16, "num_outs": 2}
    sizes = {"channels": 16, "levels": 2, "layers": 2, "heads": 4, "points": 4, "feedforward": 32}
    return BEVFormerEncoder(GRID, backbone=copy.deepcopy(CAMERA["backbone"]), neck=neck, **{**sizes, **changes})


def transparent(module: nn.Module) -> nn.Module:
    """Attention that looks exactly at its references and hands values on unchanged."""
    for attention in (m for m in module.modules() if isinstance(m, DeformableAttention)):
        nn.init.zeros_(attention.offsets.bias)
        for layer in (attention.value, attention.output):
            nn.init.eye_(layer.weight)
    return module


def bilinear(level: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """A map [rows, columns, C] at (x, y) in cells from the outer corner, zero outside."""
    rows, columns = level.shape[:2]
    total = torch.zeros(level.shape[2])
    left, top = x - 0.5, y - 0.5
    for j, i in itertools.product(range(columns), range(rows)):
        weight = max(0.0, 1 - abs(left - j)) * max(0.0, 1 - abs(top - i))
        total = total + weight * level[i, j]
    return total


def test_attention_by_hand():
    # One level of 2 x 4 cells, one head. Looking at x = 3/8 is between columns 1 and 2 (cell 1.5 of 4 from the edge is
    # the centre of column 1, so 1.5 exactly is column 1).
    attention = transparent(DeformableAttention(2, heads=1, levels=1, points=1))
    values = torch.arange(8.0)[:, None].expand(-1, 2)[None] * torch.tensor([1.0, 10.0])
    reference = torch.tensor([[[[1.5 / 4, 0.5 / 2]], [[2.0 / 4, 0.5 / 2]], [[2.0 / 4, 1.0 / 2]]]])
    found = attention(torch.zeros(1, 3, 2), values, reference, [(2, 4)])
    expected = torch.tensor([[1.0, 10.0], [1.5, 15.0], [3.5, 35.0]])  # a cell, between two, among four
    torch.testing.assert_close(found[0], expected)


def test_attention_against_loops():
    torch.manual_seed(1)
    shapes, heads, points = [(3, 5), (2, 2)], 2, 4
    attention = DeformableAttention(6, heads, 2, points, query_channels=8)
    for layer in (attention.offsets, attention.weights):
        nn.init.normal_(layer.weight, std=0.3)
    queries, values, reference = torch.randn(2, 3, 8), torch.randn(2, 19, 6), torch.rand(2, 3, 2, 2)
    found = attention(queries, values, reference, shapes)
    projected = attention.value(values).unflatten(-1, (heads, 3))
    offsets = attention.offsets(queries).view(2, 3, heads, 2, points, 2)
    weights = attention.weights(queries).view(2, 3, heads, 2 * points).softmax(-1).view(2, 3, heads, 2, points)
    expected = torch.zeros(2, 3, heads, 3)
    for m, q, h, level, p in itertools.product(range(2), range(3), range(heads), range(2), range(points)):
        rows, columns = shapes[level]
        start = 15 * level
        one = projected[m, start : start + rows * columns, h].view(rows, columns, 3)
        x, y = (reference[m, q, p // 2] * torch.tensor([columns, rows]) + offsets[m, q, h, level, p]).tolist()
        expected[m, q, h] += weights[m, q, h, level, p] * bilinear(one, x, y)
    torch.testing.assert_close(found, attention.output(expected.flatten(2)), rtol=1e-4, atol=1e-5)


def test_attention_has_exact_gradients():
    torch.manual_seed(0)
    attention = DeformableAttention(2, heads=1, levels=1, points=2)
    nn.init.normal_(attention.offsets.weight, std=0.2)
    values, queries = torch.randn(1, 12, 2), torch.randn(1, 2, 2)
    reference = torch.rand(1, 2, 1, 2) * 0.4 + 0.3
    step = 1e-2
    for tensor in (values, queries):
        tensor.requires_grad_()
        total = attention(queries, values, reference, [(3, 4)]).square().sum()
        (exact,) = torch.autograd.grad(total, tensor)
        tensor.requires_grad_(False)
        direction = torch.randn_like(tensor)
        ends = [
            attention(*((tensor + s * step * direction, values) if tensor is queries else
                        (queries, tensor + s * step * direction)), reference, [(3, 4)]).square().sum()
            for s in (1, -1)
        ]  # fmt: skip
        torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), (exact * direction).sum(), rtol=2e-2, atol=1e-3)


def test_views_by_hand():
    # A camera at the origin looks along +y with a focal length of 24 pixels. Over the cell centred at (2.5, 5.5), row
    # 13, column 18, a point at height 0 is seen at u = 31.5 + 24 * 2.5 / 5.5 = 42.41, v = 15.5.
    matrices = stack_matrices([camera_matrix(torch.pi / 2)[None]], 1, 1)
    views = Views.build(matrices, GRID, [0.0, 50.0], IMAGE, CPU)
    place = (views.cell[0, 0] == 13 * 32 + 18).nonzero()
    assert views.real[0, 0, place].all()
    expected = torch.tensor([(31.5 + 24 * 2.5 / 5.5 + 0.5) / 64, 0.5])
    torch.testing.assert_close(views.pixel[0, 0, place[0, 0], 0], expected)
    assert views.seen_by[0, 13 * 32 + 18] == 1
    behind = torch.arange(8 * 32)  # rows 0 to 7 lie behind the camera
    assert not torch.isin(views.cell[0, 0][views.real[0, 0]], behind).any()
    assert not views.seen_by[0, behind].any()


def test_views_pad_and_count():
    matrices = stack_matrices([ring(), ring()[::-1].copy()], 2, 6)
    matrices[1, 0, 2, :3] *= -1  # looks the other way
    views = Views.build(matrices, GRID, [-1.0, 1.0], IMAGE, CPU)
    assert views.real.all(-1).any(), "the longest list has no padding"
    assert not views.real.all()
    for b in range(2):
        counted = torch.zeros(512, dtype=torch.long)
        for n in range(6):
            assert len(views.cell[b, n].unique()) == views.cell.shape[2]
            counted[views.cell[b, n][views.real[b, n]]] += 1
        assert torch.equal(counted, views.seen_by[b])


def test_cross_attention_looks_where_the_cell_is_seen():
    """Features that hold their own place in the image come back as the pixels of the cells."""
    attention = transparent(SpatialCrossAttention(2, heads=1, levels=1, points=2))
    rows, columns = 8, 16
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    values = torch.stack((x, y), -1).flatten(0, 1).expand(1, 6, -1, -1)
    views = Views.build(stack_matrices([ring()], 1, 6), GRID, [0.0], IMAGE, CPU)
    found = attention(torch.zeros(1, 512, 2), values, [(rows, columns)], views)
    checked = 0
    for camera, index in views.real[0].nonzero().tolist():
        cell, pixel = int(views.cell[0, camera, index]), views.pixel[0, camera, index, 0]
        # Within half a feature cell of the border the outside counts as zero.
        if views.seen_by[0, cell] == 1 and 0.04 < pixel[0] < 0.96:
            torch.testing.assert_close(found[0, cell], pixel, rtol=0, atol=1e-4)
            checked += 1
    assert checked > 100
    assert (views.seen_by > 1).any()
    assert found[0, views.seen_by[0] == 0].eq(0).all()


@pytest.mark.parametrize("temporal", [False, True])
def test_every_parameter_gets_a_gradient(temporal):
    model = encoder(temporal=temporal, dropout=0.0).train()
    for attention in (m for m in model.modules() if isinstance(m, DeformableAttention)):
        nn.init.normal_(attention.offsets.weight, std=0.1)  # zero at first, which holds back what asks for one step
        nn.init.normal_(attention.weights.weight, std=0.1)
    images = torch.randn(2, 2, 6, 3, *IMAGE)
    before = CameraBatch(images[1].requires_grad_(), [ring()] * 2)
    motion = torch.eye(4, dtype=torch.float64)
    motion[1, 3] = -2.0
    low = model(CameraBatch(images[0], [ring()] * 2, previous=before, previous_to_current=[motion] * 2))
    assert low.shape == (2, 16, *GRID.shape)
    (low * torch.randn_like(low)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert before.images.grad is None


def test_the_past_matters_and_moves():
    model = encoder(temporal=True).eval()
    images = torch.randn(2, 1, 6, 3, *IMAGE)
    maps = []
    for picture, shift in ((images[0], 0.0), (images[1], 0.0), (images[1], 4.0)):
        motion = torch.eye(4, dtype=torch.float64)
        motion[1, 3] = -shift
        before = CameraBatch(picture, [ring()])
        with torch.no_grad():
            maps.append(model(CameraBatch(images[0], [ring()], previous=before, previous_to_current=[motion])))
    assert not torch.allclose(maps[0], maps[1], atol=1e-4)
    assert not torch.allclose(maps[1], maps[2], atol=1e-4)


def test_half_precision():
    model = encoder().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(CameraBatch(torch.randn(1, 6, 3, *IMAGE), [ring()]))
    low.float().square().sum().backward()
    assert low.isfinite().all()


def test_refusals():
    images = torch.zeros(1, 6, 3, *IMAGE)
    with pytest.raises(ConfigError, match="has 6 points, expected a multiple of its 4 heights"):
        encoder(points=6)
    with pytest.raises(ConfigError, match="channels is 15, expected an even number"):
        encoder(channels=15)
    with pytest.raises(ConfigError, match="attention has 16 channels and 3 heads"):
        encoder(heads=3)
    with pytest.raises(ConfigError, match=r"maps of \[16, 16\] channels, expected 2 maps \(levels\) of 32"):
        encoder(channels=32)(CameraBatch(images, [ring()]))
    with pytest.raises(DataError, match="the batch has 5 cameras, expected 6"):
        encoder()(CameraBatch(images[:, :5], [ring(5)]))
    with pytest.raises(DataError, match="no previous key frame"):
        encoder(temporal=True)(CameraBatch(images, [ring()]))
