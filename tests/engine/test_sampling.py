"""Seeds that travel with the samples."""

import copy
import pickle
import random

import numpy as np
import torch
from mmengine.dataset import DefaultSampler

from bevkd.engine.randomness import random_state, restore_random_state, seed_all, unchanged_randomness
from bevkd.engine.sampling import SeededBatchSampler, SeededDataset, SeededIndex, seeded_loader
from tests.engine.toy import DATASETS, ToyData, toy_loader


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(1))]  # noqa: NPY002


def sampler(epoch=0, seed=1, **kwargs):
    inner = DefaultSampler(ToyData(7), shuffle=True, seed=seed)
    inner.set_epoch(epoch)
    return SeededBatchSampler(inner, 3, **kwargs)


def test_an_index_carries_its_seed_through_pickle():
    index = pickle.loads(pickle.dumps(SeededIndex(4, 99)))
    assert (index, index.seed) == (4, 99)
    assert copy.copy(index).seed == 99
    assert [10, 11, 12][SeededIndex(1, 0)] == 11


def test_batches_are_those_of_the_plain_sampler():
    plain = torch.utils.data.BatchSampler(DefaultSampler(ToyData(7), shuffle=True, seed=1), 3, False)
    assert [list(map(int, b)) for b in sampler()] == list(plain)
    assert [len(b) for b in sampler(drop_last=True)] == [3, 3]


def test_a_skipped_pass_has_the_same_seeds_once():
    whole = [[(int(i), i.seed) for i in b] for b in sampler()]
    skipping = sampler()
    skipping.skip = 2
    assert [[(int(i), i.seed) for i in b] for b in skipping] == whole[2:]
    assert len(list(skipping)) == 3


def test_seeds_differ_between_samples_epochs_and_runs():
    seeds = {i.seed for s in (sampler(), sampler(epoch=1), sampler(seed=2)) for b in s for i in b}
    assert len(seeds) == 21


def test_a_sample_depends_on_its_seed_alone_and_moves_nothing():
    data = SeededDataset(ToyData())
    before = random_state()
    first = data[SeededIndex(3, 5)]["inputs"]
    draws()
    assert torch.equal(data[SeededIndex(3, 5)]["inputs"], first)
    assert not torch.equal(data[SeededIndex(3, 6)]["inputs"], first)
    restore_random_state(before)
    expected = draws()
    restore_random_state(before)
    data[SeededIndex(3, 5)]
    assert draws() == expected


def test_the_wrapped_data_set_shows_through():
    data = SeededDataset({"type": "ToyData", "length": 5})
    assert (len(data), data.metainfo, data.poison) == (5, {"classes": ("line",)}, None)
    assert pickle.loads(pickle.dumps(data)).length == 5
    assert not hasattr(data, "__getitems__")


def test_the_state_goes_through_a_checkpoint(tmp_path):
    seed_all(2**63 + 5)
    torch.save(random_state(), tmp_path / "s.pth")
    expected = draws()
    restore_random_state(torch.load(tmp_path / "s.pth", weights_only=True))
    assert draws() == expected
    with unchanged_randomness():
        draws()
    restore_random_state(torch.load(tmp_path / "s.pth", weights_only=True))
    with unchanged_randomness():
        draws()
    assert draws() == expected


def test_a_loader_with_its_own_batch_sampler_is_left_alone():
    loader = {**toy_loader(shuffle=True), "batch_sampler": {"type": "AspectRatioBatchSampler"}}
    assert seeded_loader(loader) is loader
    changed = seeded_loader({**toy_loader(shuffle=True), "drop_last": True})
    assert changed["batch_sampler"] == {"type": "SeededBatchSampler", "drop_last": True}
    assert "drop_last" not in changed


class CBGSDataset(ToyData):
    def __init__(self, dataset: dict) -> None:
        raise ZeroDivisionError


def test_balancing_is_left_out_where_a_class_is_absent(said):
    DATASETS.register_module(module=CBGSDataset, force=True)
    data = SeededDataset({"type": "CBGSDataset", "dataset": {"type": "ToyData", "length": 5}})
    assert type(data.dataset) is ToyData
    assert said == ["CBGSDataset is left out: it balances classes, and some class has no sample in this data set"]
