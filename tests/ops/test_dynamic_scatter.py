"""``mmcv.ops.DynamicScatter`` and mmdet3d's dynamic encoders on the ``mmcv._ext`` provider, against plain torch."""

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from bevkd.errors import ConfigError

pytest.importorskip("mmcv")

SIZE, RANGE = (0.5, 0.5, 4.0), (-4.0, -4.0, -2.0, 4.0, 4.0, 2.0)


@pytest.fixture(scope="module")
def scatter():
    """``mmcv.ops.dynamic_scatter``; the tests are skipped where a full mmcv stands behind it."""
    from mmcv.ops import dynamic_scatter

    if importlib.util.find_spec("mmcv._ext").origin != "bevkd":
        pytest.skip("a full mmcv is installed")
    return dynamic_scatter


class PlainScatter(nn.Module):
    """What DynamicScatter is for, in torch alone: one row of ``torch.unique`` after the other."""

    def __init__(self, reduce: str) -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, feats: Tensor, coors: Tensor) -> tuple[Tensor, Tensor]:
        voxels = coors[(coors >= 0).all(1)].unique(dim=0)
        rows = [getattr(self, f"_{self.reduce}")(feats[(coors == voxel).all(1)]) for voxel in voxels]
        return torch.stack(rows) if rows else feats[:0], voxels

    def _sum(self, rows: Tensor) -> Tensor:
        return rows.sum(0)

    def _mean(self, rows: Tensor) -> Tensor:
        return rows.mean(0)

    def _max(self, rows: Tensor) -> Tensor:
        return rows.max(0).values


def assert_like_plain(scatter, feats: Tensor, coors: Tensor, reduce: str) -> None:
    """Forward and backward of one reduction."""
    rows, plain_rows = (feats.clone().requires_grad_() for _ in range(2))
    (out, voxels), (expected, order) = scatter(rows, coors, reduce), PlainScatter(reduce)(plain_rows, coors)
    assert torch.equal(voxels, order)
    assert voxels.dtype == coors.dtype
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(expected)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(rows.grad, torch.zeros_like(feats) if plain_rows.grad is None else plain_rows.grad)


def cloud(count: int = 300, seed: int = 0, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Points [N, 4] and their cells (sample, z, y, x) of batch samples one after the other."""
    torch.manual_seed(seed)
    points = torch.rand(count, 4) * 7.99 - torch.tensor([4, 4, 2, 0])
    points[:, 2] /= 2
    x, y = ((points[:, i] + 4) / 0.5 for i in (0, 1))
    sample = torch.arange(count) * batch // count
    return points, torch.stack((sample, torch.zeros(count), y.floor(), x.floor()), 1).int()


@pytest.mark.parametrize("reduce", ["max", "mean", "sum"])
def test_hand_drawn(scatter, reduce):
    """F21: no point is dropped here, and the first voxel is kept."""
    coors = torch.tensor([[0, 2, 1], [0, 0, 3], [0, 2, 1]])
    out, voxels = scatter(torch.tensor([[1.0, 8.0], [5.0, 6.0], [3.0, 2.0]]), coors, reduce)
    assert voxels.tolist() == [[0, 0, 3], [0, 2, 1]]
    assert out.tolist() == [[5, 6], {"max": [3, 8], "mean": [2, 5], "sum": [4, 10]}[reduce]]


@pytest.mark.parametrize("reduce", ["max", "mean", "sum"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
@pytest.mark.parametrize("outside", [0, 0.3, 1])
def test_few_and_many_points_some_outside(scatter, reduce, dtype, count, outside):
    """F21: right for few points, forward and backward; a row with any negative number is a point outside."""
    torch.manual_seed(count)
    coors = torch.randint(0, 3, (count, 3), dtype=dtype)
    coors[torch.rand(count) < outside, count % 3] = -1
    assert_like_plain(scatter, torch.randn(count, 5), coors, reduce)


def test_raw_outputs_are_those_of_mmcv(scatter):
    from mmcv import _ext

    coors = torch.tensor([[0, 1, 1], [-1, 0, 0], [0, 0, 7], [0, 1, 1]], dtype=torch.int32)
    feats, voxels, voxel_of_point, count = _ext.dynamic_point_to_voxel_forward(torch.ones(4, 2), coors, "sum")
    assert feats.tolist() == [[1, 1], [2, 2]]
    assert voxels.tolist() == [[0, 0, 7], [0, 1, 1]]
    assert (voxel_of_point.tolist(), voxel_of_point.dtype) == ([1, -1, 0, 1], torch.int32)
    assert (count.tolist(), count.dtype) == ([1, 2], torch.int32)


def test_equal_maxima_give_the_gradient_to_the_first_point(scatter):
    feats = torch.tensor([[2.0], [2.0], [1.0]], requires_grad=True)
    scatter(feats, torch.zeros(3, 3).int(), "max")[0].sum().backward()
    assert feats.grad.tolist() == [[1], [0], [0]]


def test_coordinates_beyond_a_32_bit_key(scatter):
    """F20: 26 samples of 40 x 1440 x 1440 voxels overflow an int32 key; two corners must not meet."""
    corners = torch.tensor([[s, z, y, x] for s in (0, 51) for z in (0, 39) for y in (0, 1439) for x in (0, 1439)]).int()
    out, voxels = scatter(torch.arange(16.0)[:, None].flip(0), corners.flip(0), "sum")
    assert torch.equal(voxels, corners)
    assert out.flatten().tolist() == list(range(16))


def test_unknown_reduction(scatter):
    with pytest.raises(ConfigError, match="reduce_type is 'maximum'; nearest: max"):
        scatter(torch.ones(2, 3), torch.zeros(2, 3).int(), "maximum")


@pytest.mark.parametrize("average", [True, False])
def test_layer_over_a_batch(scatter, average):
    from mmcv.ops import DynamicScatter

    points, coors = cloud()
    out, voxels = DynamicScatter(SIZE, RANGE, average)(points, coors)
    expected, order = PlainScatter("mean" if average else "max")(points, coors)
    assert torch.equal(voxels, order)
    torch.testing.assert_close(out, expected)


def _pillars():
    from mmdet3d.models.voxel_encoders import DynamicPillarFeatureNet

    return DynamicPillarFeatureNet(4, (8, 16), voxel_size=SIZE, point_cloud_range=RANGE)


def _voxels():
    from mmdet3d.models.voxel_encoders import DynamicVFE

    options = {"with_distance": True, "with_cluster_center": True, "with_voxel_center": True}
    return DynamicVFE(4, [8, 16], voxel_size=SIZE, point_cloud_range=RANGE, **options)


@pytest.mark.slow
@pytest.mark.parametrize("build", [_pillars, _voxels])
def test_dynamic_encoders_of_mmdet3d(scatter, build):
    """Two layers, cluster and voxel centres: features, coordinates and every gradient as with plain torch inside."""
    points, coors = cloud(seed=1)
    torch.manual_seed(2)
    encoder, results = build(), []
    for plain in (False, True):
        if plain:
            for name in ("vfe_scatter", "pfn_scatter", "cluster_scatter"):
                if hasattr(encoder, name):
                    setattr(encoder, name, PlainScatter("mean" if getattr(encoder, name).average_points else "max"))
        encoder.zero_grad()
        rows = points.clone().requires_grad_()
        out = encoder(rows, coors)
        weight = torch.linspace(-1, 1, out[0].numel()).view_as(out[0])
        (out[0] * weight).sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())
        results.append((*out[:2], rows.grad, *(p.grad.clone() for p in encoder.parameters())))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
