"""Sums over ranks: by hand, with an empty rank, and nothing without a process group."""

import torch

from bevkd.structures.ranks import rank_count, rank_gather, rank_sum
from tests.two_ranks import run_ranks


def _three(rank):
    counts = torch.tensor([rank, 2 * rank])
    weight = torch.ones(2, requires_grad=True)
    total = rank_sum(counts * weight)
    return rank_count(), rank_sum(counts), rank_gather(torch.full((2, 3), float(rank))), total.requires_grad, counts


def test_three_ranks_by_hand(tmp_path):
    for rank, (count, total, everyone, grad, own) in enumerate(run_ranks(_three, tmp_path, ranks=3)):
        assert count == 3
        assert total.tolist() == [3.0, 6.0]
        assert everyone[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
        assert not grad
        assert own.tolist() == [rank, 2 * rank]  # the caller's tensor is left alone


def test_one_process_is_left_alone():
    counts = torch.tensor([3, 0])
    assert rank_count() == 1
    assert rank_sum(counts).tolist() == [3.0, 0.0]
    assert rank_sum(counts).dtype == torch.float32
    assert rank_sum(counts.double()).dtype == torch.float64
    assert rank_gather(counts).tolist() == [3, 0]
