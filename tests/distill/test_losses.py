"""What losses share: means over a batch with weights, in full precision."""

from types import SimpleNamespace

import pytest
import torch

from bevkd.distill.losses import batch_mean, kept_share, sample_weights, wide
from tests.two_ranks import run_ranks

VALUES, WEIGHTS = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1.0, 0.0, 0.5])


def test_a_weight_scales_its_sample_alone():
    assert batch_mean(VALUES).item() == 3.0
    assert batch_mean(VALUES, WEIGHTS).item() == pytest.approx((1 + 2.5) / 3)
    assert batch_mean(VALUES, torch.zeros(3)).item() == 0.0
    assert batch_mean(VALUES[:0]).item() == 0.0


def _rank(rank):
    chosen = slice(0, 1) if rank == 0 else slice(1, 3)
    return [batch_mean(VALUES[chosen], WEIGHTS[chosen]).item(), batch_mean(VALUES[chosen][:0]).item()]


def test_ranks_of_unequal_batches_have_the_mean_of_the_joined_one(tmp_path):
    (first, nothing), (second, _) = run_ranks(_rank, tmp_path)
    assert (first + second) / 2 == pytest.approx(batch_mean(VALUES, WEIGHTS).item())
    assert nothing == 0.0


def test_weights_of_targets():
    like = torch.zeros(3, 2, dtype=torch.float64)
    assert sample_weights(None, like).tolist() == [1.0, 1.0, 1.0]
    found = sample_weights(SimpleNamespace(weights=WEIGHTS), like)
    assert (found.tolist(), found.dtype) == (WEIGHTS.tolist(), torch.float64)
    assert kept_share(WEIGHTS).item() == pytest.approx(2 / 3)


def test_precision():
    assert wide(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert wide(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
