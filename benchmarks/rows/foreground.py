"""The losses' own work: masks of 40 boxes with keypoints of two maps, and a masked distance between two maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import OURS, Candidate, Row
from benchmarks.peers import foreground as peers
from bevkd import ops
from bevkd.structures import BEVGrid

BOXES, CHANNELS = 40, 256
SAMPLING_GRID = BEVGrid((-54.0, 54.0), (-54.0, 54.0), 0.6)
LOSS_SHAPE = (4, CHANNELS, 128, 128)


def rows(device: torch.device) -> Iterator[Row]:
    """Masks and keypoints of one sample over 180 x 180 cells, channels-last as pooling makes them and channels-first;
    the loss over 4 x 256 x 128 x 128, there and back."""
    for layout in (torch.channels_last, torch.contiguous_format):
        yield _masks_and_keypoints(device, layout)
    for share in (0.05, 1.0):
        yield _masked_loss(device, share)


def _boxes(generator: torch.Generator) -> Tensor:
    centre = 100 * torch.rand(BOXES, 2, generator=generator) - 50
    size = torch.tensor([4.6, 1.9, 1.7]) * (0.5 + torch.rand(BOXES, 3, generator=generator))
    yaw = 6.28 * torch.rand(BOXES, 1, generator=generator)
    return torch.cat((centre, torch.full((BOXES, 1), -1.0), size, yaw), 1)


def _masks_and_keypoints(device: torch.device, layout: torch.memory_format) -> Row:
    generator = torch.Generator().manual_seed(0)
    boxes = _boxes(generator).to(device)
    shape = (1, CHANNELS, *SAMPLING_GRID.shape)
    maps = [torch.randn(shape, generator=generator).to(device, memory_format=layout) for _ in range(2)]
    valid = torch.ones(1, BOXES, dtype=torch.bool, device=device)
    low = SAMPLING_GRID.x_range[0], SAMPLING_GRID.y_range[0]
    mask, *sampled = peers.numpy_masks_and_keypoints(boxes, *maps, low, SAMPLING_GRID.cell)

    def ours() -> tuple[Tensor, ...]:
        drawn = ops.rotated_box_mask(boxes[None], valid, SAMPLING_GRID)
        points = ops.box_keypoints(boxes[None], valid, SAMPLING_GRID).flatten(1, 2)
        return drawn.foreground[0], *(found[0] for found in ops.sample_keypoints(*maps, points))

    def right(found: tuple[Tensor, ...]) -> None:
        assert (found[0].cpu() != mask).sum() <= 2, "masks differ in more than two border cells"
        for got, expected in zip(found[1:], sampled):
            # the nine points of a box may come in another order: sorted values tell the same
            got, expected = (t.cpu().reshape(BOXES, -1, CHANNELS).sort(1).values for t in (got, expected))
            assert torch.allclose(got, expected, atol=1e-3), "sampled features differ"

    loop = partial(peers.numpy_masks_and_keypoints, boxes, *maps, low, SAMPLING_GRID.cell)
    taps = BOXES * 9 * 4 * CHANNELS * 4 * 2
    floor = taps + 4 * SAMPLING_GRID.shape[0] * SAMPLING_GRID.shape[1] + BOXES * 9 * CHANNELS * 4 * 2
    order = "channels last" if layout is torch.channels_last else "channels first"
    case = f"{BOXES} boxes, {'x'.join(map(str, SAMPLING_GRID.shape))}, C={CHANNELS}, {order}"
    return Row(
        "rotated masks + keypoints", case, floor, [Candidate(OURS, ours, right), Candidate("NumPy loop", loop, right)]
    )


def _masked_loss(device: torch.device, share: float) -> Row:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(LOSS_SHAPE, generator=generator).to(device) for _ in range(2))
    student.requires_grad_()
    inside = torch.rand(LOSS_SHAPE[0], *LOSS_SHAPE[2:], generator=generator) < share
    weight = (inside * torch.rand(inside.shape, generator=generator)).to(device)
    wide = student.detach().double().requires_grad_()
    loss = peers.eager_masked_loss(wide, teacher.double(), weight.double())
    truth = loss.detach(), torch.autograd.grad(loss, wide)[0]

    def step(function: Callable) -> tuple[Tensor, Tensor]:
        value = function(student, teacher, weight)
        return value.detach(), torch.autograd.grad(value, student)[0]

    def right(found: tuple[Tensor, Tensor]) -> None:
        assert abs(found[0].double() / truth[0] - 1) < 1e-4, "the loss differs from float64"
        assert torch.allclose(found[1].double(), truth[1], atol=1e-5), "the gradient differs from float64"

    functions = {
        OURS: ops.masked_feature_loss,
        "eager torch": peers.eager_masked_loss,
        "torch.compile": torch.compile(peers.eager_masked_loss),
    }
    candidates = [Candidate(name, partial(step, function), right) for name, function in functions.items()]
    case = f"{'x'.join(map(str, LOSS_SHAPE))}, {share:.0%} of the cells, forward + backward"
    return Row("masked_feature_loss", case, 3 * student.numel() * 4, candidates)
