"""One map [B, C, Y, X] in many memory orders: ``ORDERS[name](feature)`` has the same numbers, other strides."""

import torch


def channels_last(feature):
    return feature.contiguous(memory_format=torch.channels_last)


def cut(feature):
    """Inside a larger map full of NaN."""
    wide = feature.new_full(
        (feature.shape[0], feature.shape[1] + 1, feature.shape[2] + 2, feature.shape[3] + 3), torch.nan
    )
    wide[:, 1:, 1:-1, 2:-1] = feature
    return wide[:, 1:, 1:-1, 2:-1]


def cut_channels_last(feature):
    wide = channels_last(torch.cat((feature, torch.full_like(feature, torch.nan)), 3))
    return wide[..., : feature.shape[3]]


def spaced(feature):
    """Every second column of a wider map."""
    return torch.stack((feature, torch.full_like(feature, torch.nan)), -1)[..., 0]


def turned(feature):
    """Columns where rows should be."""
    return feature.transpose(2, 3).contiguous().transpose(2, 3)


ORDERS = {
    "contiguous": torch.Tensor.contiguous,
    "channels_last": channels_last,
    "cut": cut,
    "cut_channels_last": cut_channels_last,
    "spaced": spaced,
    "turned": turned,
}
