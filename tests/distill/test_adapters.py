"""The layers between a student's map and the teacher's, by drawn values."""

import torch
from torch import nn

from bevkd.distill.adapters import ConvAdapter, PointwiseAdapter


def test_upsampling_is_bilinear_and_keeps_the_map_s_outer_edges():
    """One hot cell of three: at twice the resolution a cell's centre is a quarter cell from the coarse one's."""
    adapter = PointwiseAdapter((1, 1), scale=2)
    nn.init.ones_(adapter.layers.weight)
    nn.init.zeros_(adapter.layers.bias)
    spot = torch.zeros(1, 1, 3, 3)
    spot[0, 0, 1, 1] = 1
    line = torch.tensor([0, 0.25, 0.75, 0.75, 0.25, 0])
    torch.testing.assert_close(adapter(spot)[0, 0], line[:, None] * line)


def test_layers_are_pointwise_and_follow_one_another():
    adapter = PointwiseAdapter((5, 3), layers=2).eval()
    convolutions = [layer for layer in adapter.modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [(5, 3, (1, 1)), (3, 3, (1, 1))]
    assert isinstance(PointwiseAdapter((5, 3)).layers, nn.Conv2d)


def test_a_convolution_looks_at_its_neighbours_and_ends_in_relu():
    adapter = ConvAdapter((1, 1)).eval()
    nn.init.ones_(adapter[0].weight)
    spot = torch.zeros(1, 1, 4, 5)
    spot[0, 0, 0, 1] = 1
    seen = adapter(spot)[0, 0]
    assert (seen > 0).nonzero().tolist() == [[i, j] for i in (0, 1) for j in (0, 1, 2)]
    assert (adapter(-spot) == 0).all()
