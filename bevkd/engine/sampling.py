"""Training samples whose random augmentation depends on seed, epoch and sample only.

mmengine seeds each data worker once, so what a sample looks like depends on the number of workers and on all samples
before it, and a resumed run sees other pictures than the uninterrupted one. Here the batch sampler hands out indices
that carry their own seed, and the data set seeds the generators from it around each sample. The stream is then the
same for any number of workers, and a run can go on from the middle of an epoch without loading what it has seen.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import BatchSampler, Dataset, Sampler

from bevkd.engine.randomness import seed_all, unchanged_randomness
from bevkd.structures.config_types import type_name


class SeededIndex(int):
    """A sample's index that brings the seed of its augmentation along, also into worker processes."""

    def __new__(cls, index: int, seed: int) -> SeededIndex:
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed)


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(BatchSampler):
    """Batches of :class:`SeededIndex`; can skip the first ones of its next pass without loading them.

    Args:
        sampler: yields indices; its ``seed`` and ``epoch`` attributes enter the samples' seeds.
        batch_size: samples in a batch.
        drop_last: leave out a last batch that is not full.
    """

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.skip = 0

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        skip, self.skip = self.skip, 0
        position = 0
        for number, batch in enumerate(super().__iter__()):
            first, position = position, position + len(batch)
            if number >= skip:
                yield [SeededIndex(index, self._seed(first + i)) for i, index in enumerate(batch)]

    def _seed(self, position: int) -> int:
        # By position in the pass, not by index: a sampler with replacement draws a sample twice, differently.
        parts = (
            getattr(self.sampler, "seed", 0),
            getattr(self.sampler, "epoch", 0),
            getattr(self.sampler, "rank", 0),
            position,
        )
        return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little") >> 1


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Seeds the generators around each sample of ``dataset`` and leaves the caller's generators unmoved.

    Every other attribute (``metainfo``, ``pipeline``, ``get_cat_ids`` ...) is that of the wrapped data set.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = _build(dataset) if isinstance(dataset, dict) else dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SeededIndex):
            return self.dataset[index]
        with unchanged_randomness():
            seed_all(index.seed)
            return self.dataset[int(index)]

    def __getattr__(self, name: str) -> Any:
        # "dataset" is asked for while unpickling; "__getitems__" would load a batch past the seeding above.
        if name in ("dataset", "__getitems__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _build(dataset: dict) -> Any:
    """Build a data set; mmdet3d's class balancing is left out, with a warning, where some class has no sample."""
    try:
        return DATASETS.build(dataset)
    except ZeroDivisionError:
        if type_name(dataset.get("type")) != "CBGSDataset":
            raise
        said = "CBGSDataset is left out: it balances classes, and some class has no sample in this data set"
        print_log(said, "current", logging.WARNING)
        return DATASETS.build(dataset["dataset"])


def seeded_loader(loader: ConfigDict) -> ConfigDict:
    """The config of a training loader with both parts put in, unless it brings a batch sampler of its own."""
    if not isinstance(loader, dict) or loader.get("batch_sampler") is not None or "batch_size" not in loader:
        return loader
    loader = loader.copy()
    loader["batch_sampler"] = {"type": "SeededBatchSampler", "drop_last": loader.pop("drop_last", False)}
    loader["dataset"] = {"type": "SeededDataset", "dataset": loader["dataset"]}
    return loader
