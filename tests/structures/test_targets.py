"""Ground truth read from data samples."""

from types import SimpleNamespace

import pytest
import torch

from bevkd.errors import DataError
from bevkd.structures import BEVGrid
from bevkd.structures.targets import Targets

GRID = BEVGrid((-4, 4), (-4, 4), 0.5)


def sample(boxes, labels):
    return SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=boxes, labels_3d=labels))


def test_reads_box_structures_and_plain_tensors():
    tensor = torch.rand(2, 9)
    samples = [sample(SimpleNamespace(tensor=tensor), torch.tensor([1, 2])), sample(torch.zeros(0, 9), torch.zeros(0))]
    targets = Targets.from_data_samples(samples, GRID)
    assert targets.boxes[0] is tensor
    assert [len(b) for b in targets.boxes] == [2, 0]
    assert targets.labels[0].tolist() == [1, 2]
    assert targets.grid is GRID


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (SimpleNamespace(), "sample 1 of the batch has no gt_instances_3d"),
        (SimpleNamespace(gt_instances_3d=SimpleNamespace(bboxes_3d=torch.zeros(0, 9))), "labels_3d"),
        (sample(torch.zeros(2, 9), torch.zeros(3)), "sample 1 of the batch has 2 boxes and 3 labels"),
    ],
)
def test_bad_samples_are_named(bad, found):
    with pytest.raises(DataError, match=found):
        Targets.from_data_samples([sample(torch.zeros(0, 9), torch.zeros(0)), bad], GRID)
