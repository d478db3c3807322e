"""Work on boxes: overlap of detections, suppression, and which points a box holds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import OURS, Candidate, Row
from benchmarks.peers import boxes as peers
from bevkd import ops


def rows(device: torch.device) -> Iterator[Row]:
    """Detections in clusters as a head leaves them; a cloud of 300,000 points and the boxes of a scene."""
    yield _iou(device)
    for count in (1000, 4096):
        yield _nms_rotated(device, count)
    yield _nms(device, 4096)
    yield _points_in_boxes(device, 50)


def detections(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes [count, 5], ten around each of the objects in 100 x 100 m, and distinct scores."""
    generator = torch.Generator().manual_seed(seed)
    centres = 100 * torch.rand(count // 10, 2, generator=generator)
    place = centres[torch.randint(len(centres), (count,), generator=generator)]
    place = place + torch.randn(count, 2, generator=generator)
    size = torch.tensor([4.5, 1.9]) + torch.rand(count, 2, generator=generator)
    boxes = torch.cat((place, size, 6.28 * torch.rand(count, 1, generator=generator)), 1)
    return boxes, torch.randperm(count, generator=generator) / count


def _iou(device: torch.device) -> Row:
    first, second = detections(100)[0], detections(500, 1)[0]
    expected = torch.from_numpy(peers.shapely_iou(first.double().numpy(), second.double().numpy()))
    there = first.to(device), second.to(device)

    def right(found: Tensor) -> None:
        assert torch.allclose(found.double().cpu(), expected, atol=1e-6), "overlaps differ from shapely's"

    def shapely() -> Tensor:
        return torch.from_numpy(peers.shapely_iou(first.double().numpy(), second.double().numpy()))

    candidates = [Candidate(OURS, partial(ops.box_iou_rotated, *there), right), Candidate("shapely", shapely, right)]
    return Row("box_iou_rotated", "100 x 500", 4 * (5 * 600 + expected.numel()), candidates)


def _nms_rotated(device: torch.device, count: int) -> Row:
    boxes, scores = (tensor.to(device) for tensor in detections(count))
    expected = peers.greedy(ops.box_iou_rotated(boxes, boxes), scores, 0.2)

    def right(found: Tensor) -> None:
        assert torch.equal(found, expected), "other boxes are kept"

    def all_pairs() -> Tensor:
        return peers.greedy(ops.box_iou_rotated(boxes, boxes), scores, 0.2)

    candidates = [Candidate(OURS, partial(ops.nms_rotated, boxes, scores, 0.2), right)]
    candidates.append(Candidate("all pairs, then greedy", all_pairs, right))
    return Row("nms_rotated", f"{count} boxes in clusters", 4 * 6 * count, candidates)


def _nms(device: torch.device, count: int) -> Row:
    rotated, scores = detections(count)
    boxes = torch.cat((rotated[:, :2], rotated[:, :2] + rotated[:, 2:4]), 1)
    expected = torch.from_numpy(peers.numpy_nms(boxes.double().numpy(), scores.numpy(), 0.5))
    there = boxes.to(device), scores.to(device)

    def right(found: Tensor) -> None:
        assert torch.equal(found.cpu(), expected), "other boxes are kept"

    def numpy() -> Tensor:
        return torch.from_numpy(peers.numpy_nms(boxes.numpy(), scores.numpy(), 0.5))

    candidates = [Candidate(OURS, partial(ops.nms, *there, 0.5), right), Candidate("NumPy loop", numpy, right)]
    return Row("nms", f"{count} boxes in clusters", 4 * 5 * count, candidates)


def _points_in_boxes(device: torch.device, count: int) -> Row:
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(300_000, 3, generator=generator) - 0.5) * torch.tensor([100.0, 100, 8])
    flat = detections(count)[0]
    low, height = torch.full((count, 1), -1.0), torch.full((count, 1), 1.6)
    boxes = torch.cat((flat[:, :2] - 50, low, flat[:, 2:4], height, flat[:, 4:]), 1)
    expected = _first(peers.torch_points_in_boxes(points.double(), boxes.double()))
    points, boxes = points.to(device), boxes.to(device)

    def right(found: Tensor) -> None:
        assert (found.cpu() != expected).sum() <= 5, "more than five points on borders differ"

    def ours() -> Tensor:
        return ops.points_in_boxes_part(points[None], boxes[None])[0]

    def eager() -> Tensor:
        return _first(peers.torch_points_in_boxes(points, boxes))

    candidates = [Candidate(OURS, ours, right), Candidate("eager torch", eager, right)]
    return Row("points_in_boxes_part", f"300k points, {count} boxes", 4 * (4 * len(points) + 7 * count), candidates)


def _first(inside: Tensor) -> Tensor:
    """[M] int32: the first row of [T, M] that is set, -1 for none."""
    some, first = inside.max(0)
    return first.int().where(some, -1)
