"""The fusion by hand, and that both sensors reach it cell by cell."""

import torch
from detector_scenes import GRID, fusion_config, one_of_each, ring, sample
from mmdet3d.registry import MODELS
from torch import nn

from bevkd.detectors import ChannelAttentionFusion


def test_by_hand():
    fusion = ChannelAttentionFusion((1, 1), 1).eval()
    gate = fusion.attention[1]
    nn.init.zeros_(gate.weight)
    gate.weight.data[0, 1] = 1.0  # channel 0 is weighed by the mean of channel 1
    nn.init.zeros_(gate.bias)
    nn.init.zeros_(fusion.conv[0].weight)
    fusion.conv[0].weight.data[0, :, 1, 1] = torch.tensor([2.0, 1.0])
    fusion.conv[1].eps = 0.0
    lidar, camera = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    lidar[0, 0, 0, 1] = 3.0
    camera[0, 0, 1, 0] = 8.0  # a mean of 2
    found = fusion([lidar, camera])
    strong = torch.tensor(2.0).sigmoid()
    torch.testing.assert_close(
        found[0, 0], torch.stack((torch.stack((strong * 0, strong * 6)), torch.tensor([4.0, 0])))
    )


def test_either_sensor_moves_the_map():
    import bevkd.detectors  # noqa: F401

    torch.manual_seed(0)
    model = MODELS.build(fusion_config()).eval()
    boxes, labels, cloud = one_of_each()
    inputs = {"points": [cloud], "imgs": torch.rand(1, 6, 3, 32, 64)}
    samples = [sample(boxes, labels)]
    low = model.extract_feat(inputs, samples)
    assert low.shape == (1, 16, *GRID.shape)
    for change in ({"points": [cloud[::2]]}, {"imgs": inputs["imgs"] * 0}):
        assert not torch.equal(model.extract_feat({**inputs, **change}, samples), low)
    samples[0].set_metainfo({"lidar2img": ring()[::-1].copy()})
    assert not torch.equal(model.extract_feat(inputs, samples), low)
