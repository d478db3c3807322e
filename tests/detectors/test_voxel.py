"""The voxel encoder against dense convolutions, axis by axis, on little and on nothing."""

import pytest
import torch
import torch.nn.functional as F
from detector_scenes import GRID
from mmdet3d.models.layers.sparse_block import SparseBasicBlock
from torch import nn

from bevkd.detectors import VoxelEncoder, sparse
from bevkd.errors import ConfigError, DataError
from bevkd.ops import voxelize_mean

pytest.importorskip("spconv")
POINT = torch.tensor([[5.3, -2.2, -1.0, 100.0, 0.0]])


def encoder(**kwargs) -> VoxelEncoder:
    torch.manual_seed(0)
    return VoxelEncoder(
        GRID, **{"width": 0.25, "blocks": 1, "downsample": 4, "max_points": 1, "voxel_height": 0.5, **kwargs}
    )


def cloud(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    span, low = torch.tensor([24.0, 12, 6, 255, 0.5]), torch.tensor([-12.0, -6, -4, 0, 0])
    return torch.rand(count, 5, generator=generator) * span + low


def lively(model: VoxelEncoder) -> VoxelEncoder:
    """Random statistics and affine terms, so that a wrong normalisation shows."""
    generator = torch.Generator().manual_seed(1)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


def dense_conv(conv, norm, x, mask):
    """One sparse convolution with normalisation on a dense map [1, C, D, Y, X] and the mask of its active sites."""
    kernel = conv.weight.permute(0, 4, 1, 2, 3)
    y = F.conv3d(x, kernel, None, conv.stride, conv.padding)
    if not conv.subm:
        mask = (F.conv3d(mask, torch.ones(1, 1, *conv.kernel_size), None, conv.stride, conv.padding) > 0).float()
    shape = (1, -1, 1, 1, 1)
    y = (y - norm.running_mean.view(shape)) / (norm.running_var + norm.eps).sqrt().view(shape)
    return (y * norm.weight.view(shape) + norm.bias.view(shape)) * mask, mask


def dense_twin(model: VoxelEncoder, points: torch.Tensor) -> torch.Tensor:
    """The whole encoder with dense convolutions only, in eval mode."""
    voxels = voxelize_mean(points, model.voxel_size, model.point_range, model.max_points)
    x = torch.zeros(1, 5, *model.sparse.sparse_shape)
    mask = torch.zeros(1, 1, *model.sparse.sparse_shape)
    z, y, x_index = voxels.coords.long().T
    x[0, :, z, y, x_index] = model.scaled(voxels.features).T
    mask[0, :, z, y, x_index] = 1.0
    x, mask = dense_conv(model.sparse.conv_input[0], model.sparse.conv_input[1], x, mask)
    x = x.relu()
    for stage in model.sparse.encoder_layers:
        for block in stage:
            if isinstance(block, SparseBasicBlock):
                y, mask = dense_conv(block.conv1, block.norm1, x, mask)
                y, mask = dense_conv(block.conv2, block.norm2, y.relu(), mask)
                x = (x + y).relu()
            else:
                x, mask = dense_conv(block[0], block[1], x, mask)
                x = x.relu()
    x, mask = dense_conv(model.sparse.conv_out[0], model.sparse.conv_out[1], x, mask)
    return x.relu().flatten(1, 2)


@pytest.mark.parametrize("downsample", [2, 4])
def test_agrees_with_dense_convolutions(downsample):
    model = lively(encoder(downsample=downsample)).eval()
    points = torch.cat((cloud(300), POINT + 0.4 * torch.randn(100, 5, generator=torch.Generator().manual_seed(2))))
    with torch.no_grad():
        expected = dense_twin(model, points)
        found = model([points])
    assert found.shape == (1, model.out_channels, *GRID.shape)
    assert found.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_agree_with_dense_convolutions():
    model = lively(encoder(downsample=2)).eval()
    points = cloud(200)
    weights = torch.randn(1, model.out_channels, *GRID.shape, generator=torch.Generator().manual_seed(3))
    parameters = list(model.parameters())
    expected = torch.autograd.grad((dense_twin(model, points) * weights).sum(), parameters)
    found = torch.autograd.grad((model([points]) * weights).sum(), parameters)
    for name, ours, theirs in zip((n for n, _ in model.named_parameters()), found, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()), msg=name)


@pytest.mark.parametrize("downsample", [2, 4, 8])
def test_a_point_lands_in_its_cell_of_its_sample(downsample):
    model = lively(encoder(downsample=downsample, voxel_height=0.2)).eval()
    maps = model([POINT, torch.zeros(0, 5), -POINT])
    assert maps.shape == (3, model.out_channels, *GRID.shape)
    cells = [m.ne(0).any(0).nonzero() for m in maps]
    # Column 5.3 + 16 = 21.3, row -2.2 + 8 = 5.8; strided convolutions reach one cell further.
    assert len(cells[1]) == 0
    for found, cell in ((cells[0], [5, 21]), (cells[2], [10, 10])):
        assert (found == torch.tensor(cell)).all(1).any()
        assert (found - torch.tensor(cell)).abs().max() <= 1


def test_training_and_evaluation_keep_their_own_number_of_voxels():
    points = torch.cat([POINT + k * torch.eye(5)[0] for k in range(5)])
    model = encoder(max_voxels=(2, 4))
    assert len(model.train()._voxelize(points).coords) == 2
    assert len(model.eval()._voxelize(points).coords) == 4
    assert {m.momentum for m in encoder(momentum=0.03).modules() if isinstance(m, nn.BatchNorm1d)} == {0.03}


def test_sizes():
    def full(width, **kwargs):
        return encoder(**{"width": width, "blocks": 2, "downsample": 8, "voxel_height": 0.2, **kwargs})

    # Heights: 41 layers become 21, 11, 5 and 2 with downsample 8, so 128 channels make 256.
    models = [full(width) for width in (1.0, 0.75, 0.5)]
    assert [m.out_channels for m in models] == [256, 192, 128]
    assert full(0.5, downsample=4).out_channels == 32 * 4
    count = [sum(p.numel() for p in m.parameters()) for m in models]
    assert 3.5 < count[0] / count[2] < 4.1


def test_two_trainings_are_the_same():
    losses = []
    for _ in range(2):
        model = encoder().train()
        loss = model([cloud(400), cloud(200, 1)]).square().mean()
        loss.backward()
        losses.append(torch.cat([loss.detach()[None], *(p.grad.flatten() for p in model.parameters())]))
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-6)
    assert losses[0].isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("points", [0, 1, 2])
def test_empty_and_tiny_clouds(training, points):
    model = encoder().train(training)
    low = model([POINT.repeat(points, 1), torch.zeros(0, 5)])
    low.sum().backward()
    assert low.shape == (2, model.out_channels, *GRID.shape)
    assert low.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_points_outside_or_not_finite_are_left_out():
    far = torch.tensor([[16.0, 0, 0, 1, 0], [0, -8.1, 0, 1, 0], [0, 0, 3.0, 1, 0], [float("nan"), 0, 0, 1, 0]])
    model = lively(encoder()).eval()
    torch.testing.assert_close(model([torch.cat((far, POINT))]), model([POINT]))
    assert model.sees([far, POINT]) == [False, True]


def test_refusals(monkeypatch):
    with pytest.raises(ConfigError, match="downsample is 3, expected 2, 4 or 8"):
        encoder(downsample=3)
    with pytest.raises(ConfigError, match=r"z_range holds 26.667 voxels of 0.3 m"):
        encoder(voxel_height=0.3)
    with pytest.raises(ConfigError, match="3 voxel layers, expected more"):
        encoder(voxel_height=4.0)
    with pytest.raises(ConfigError, match=r"width is 0\.7"):
        encoder(width=0.7)
    with pytest.raises(ConfigError, match=r"VoxelEncoder z_range is \(3, -5\)"):
        encoder(z_range=(3, -5))
    with pytest.raises(DataError, match=r"\(7, 4\), expected \[N, 5\]"):
        encoder()([torch.zeros(7, 4)])
    monkeypatch.setattr(sparse, "spconv_ops", None)
    with pytest.raises(ConfigError, match=r"spconv, which is not installed, expected the extra: .*bevkd\[sparse\]"):
        encoder()
