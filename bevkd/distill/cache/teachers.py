"""Teachers whose features were computed once, by ``tools/cache_teacher.py``, and are read from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from bevkd.distill.cache.key import FORMAT, CacheKey, grid_dict
from bevkd.distill.cache.motion import Motion, mirror_channels, require_symmetric
from bevkd.distill.cache.records import BOXES, CELLS, unpack_head
from bevkd.distill.cache.samples import CachedHead, CachedKeypoints
from bevkd.distill.cache.settings import feature_settings
from bevkd.distill.cache.shards import ShardReader
from bevkd.distill.models import read_config
from bevkd.errors import ConfigError, DataError
from bevkd.registry import MODELS
from bevkd.structures import BEVGrid
from bevkd.structures.sums import sha256
from bevkd.structures.targets import Targets


@dataclass(frozen=True)
class _Batch:
    """What a batch's samples have in the cache.

    Attributes:
        records: of the samples.
        motions: how each was augmented.
        rows: per sample [M_b], the rows of its boxes in its record.
        boxes: per sample [M_b, >=7].
        device: where the taps are wanted.
    """

    records: list[dict[str, Tensor]]
    motions: list[Motion]
    rows: list[Tensor]
    boxes: list[Tensor]
    device: torch.device

    def values(self, name: str) -> list[Tensor]:
        """What each sample's record holds of a tap, in float32."""
        return [record[name].to(self.device).float() for record in self.records]


class CachedTeacher:
    """What both kinds of cached teacher share: the key, the shards, and finding a batch's boxes in them.

    The features are those of the sample as it was loaded, without augmentation. A live teacher would see the moved
    sample, and no detector is exactly equivariant: under augmentation a cached teacher is an approximation.

    Args:
        cache: folder that ``tools/cache_teacher.py`` filled.
        config: the teacher's config file; None takes any. What its features depend on must be as it says: the model,
            and the pipeline and data settings that its samples are read with.
        checkpoint: the weights that it must have been made with; None takes any.
        ann_file: the info file that it must have been made from; None takes any. Boxes are compared in any case.
        taps: the tap paths that it must have; None takes any.
        grid: ``dict(x_range, y_range, cell)`` that it must have; the distiller compares it with the student's too.

    Raises:
        DataError: on :meth:`load`, no cache, an incomplete one or a corrupt shard; on a call, a sample or box that
            it does not have. ConfigError: a stale cache, naming the field; an augmentation that does not fit.
    """

    mode: ClassVar[str]

    def __init__(
        self,
        cache: str | Path,
        checkpoint: str | Path | None = None,
        ann_file: str | Path | None = None,
        taps: Mapping[str, str] | None = None,
        grid: Mapping[str, Any] | BEVGrid | None = None,
        config: str | Path | None = None,
    ) -> None:
        self._config = config
        self.folder, self._checkpoint, self._ann_file = Path(cache), checkpoint, ann_file
        self._wanted_taps, self._wanted_grid = taps, grid
        self.key: CacheKey | None = None
        self.taps: dict[str, str] = {}
        self.grid: BEVGrid | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> CachedTeacher:
        return self

    def load(self) -> None:
        """Read the key and the shards' headers, once, and refuse what is stale or incomplete."""
        if self.key is not None:
            return
        key = CacheKey.read(self.folder)
        grid = self._wanted_grid
        grid = grid_dict(grid if isinstance(grid, BEVGrid) else BEVGrid(**grid)) if grid is not None else None
        key.require(
            self.folder,
            format=FORMAT,
            mode=self.mode,
            teacher_sha256=_hash(self._checkpoint, "checkpoint"),
            ann_sha256=_hash(self._ann_file, "ann_file"),
            settings=None if self._config is None else _settings(self._config),
            taps=None if self._wanted_taps is None else dict(self._wanted_taps),
            grid=grid,
        )
        self._shards = ShardReader(self.folder, key.digest())
        if len(self._shards) < key.samples:
            raise DataError(
                f"the cache {self.folder} holds {len(self._shards)} of {key.samples} samples, expected all: run "
                "tools/cache_teacher.py again, which goes on where it stopped"
            )
        self.key, self.taps, self.grid = key, dict(key.taps), key.bev_grid()

    def info(self) -> dict[str, Any]:
        """See :meth:`bevkd.distill.LiveTeacher.info`, of the model that filled the cache."""
        key = self.key or CacheKey.read(self.folder)
        known = {"config": key.teacher, "checkpoint": key.checkpoint, "sha256": key.teacher_sha256}
        return {**known, "settings": key.settings["model"]}

    def classes(self) -> list[list[str]] | None:
        """The classes by task of its head; None where it did not tell."""
        return self._known().classes

    @torch.no_grad()
    def __call__(self, inputs: Any, data_samples: Sequence[Any] | None, device: torch.device) -> dict[str, Any]:
        """The taps for one batch; ``inputs`` are not looked at."""
        self.load()
        boxes = Targets.from_data_samples(data_samples or [], self._known().bev_grid(), device).boxes
        motions = [Motion.of(sample.metainfo) for sample in data_samples or []]
        records = [self._shards.read(motion.token) for motion in motions]
        rows = [m.find_boxes(box, r[BOXES], self.folder) for m, box, r in zip(motions, boxes, records)]
        batch = _Batch(records, motions, rows, boxes, device)
        return {name: self._tap(name, batch) for name in self.taps}

    def _tap(self, name: str, batch: _Batch) -> Any:
        """One tap of a batch out of its samples' records."""
        raise NotImplementedError

    def _known(self) -> CacheKey:
        assert self.key is not None, "call load() first"
        return self.key

    def _layout(self, name: str) -> Any:
        """What the cache says of a tap: (C, Y, X) of a map, or the channels by key of every task of a head."""
        return self._known().layout[name]

    def _is_head(self, name: str) -> bool:
        return isinstance(self._layout(name)[0], Mapping)

    def _mirrors(self, motion: Motion) -> tuple[bool, bool]:
        """How a sample was mirrored, or a refusal: cells of a turned, scaled or shifted sample are no cells."""
        if (mirrors := motion.mirrors) is None:
            raise ConfigError(
                _turned(motion, f"{type(self).__name__} holds whole cells of the sample as it was loaded")
            )
        require_symmetric(self._known().bev_grid(), mirrors, motion.token)
        return mirrors


@MODELS.register_module()
class CachedDenseTeacher(CachedTeacher):
    """Whole maps from disk, for any method; see :class:`CachedTeacher`.

    Equal to a live teacher, to the rounding of the stored dtype, where the sample was not augmented. A mirrored sample
    gets mirrored maps and head channels: exactly what a mirror-equivariant teacher would return, on a grid that is
    symmetric about 0. A rotated, scaled or shifted sample is refused.
    """

    mode = "dense"

    def _tap(self, name: str, batch: _Batch) -> Any:
        maps = [self._mirrored(name, values, motion) for values, motion in zip(batch.values(name), batch.motions)]
        stacked = torch.stack(maps)
        return unpack_head(stacked, self._layout(name)) if self._is_head(name) else stacked

    def _mirrored(self, name: str, maps: Tensor, motion: Motion) -> Tensor:
        """[C, Y, X] of the sample as it was loaded to that of the mirrored sample."""
        mirrors = self._mirrors(motion)
        if self._is_head(name) and any(mirrors):
            scale, shift = (v.to(maps)[:, None, None] for v in mirror_channels(self._layout(name), mirrors))
            maps = maps * scale + shift
        return maps.flip([dim for dim, mirrored in ((2, mirrors[0]), (1, mirrors[1])) if mirrored])


@MODELS.register_module()
class CachedForegroundTeacher(CachedTeacher):
    """The foreground of a teacher from disk, for :class:`bevkd.distill.UniDistill`; see :class:`CachedTeacher`.

    Maps are known at the nine keypoints of every box. Keypoints move with their box, so every augmentation of
    ``BEVAugment`` keeps them; in a mirrored sample left and right change sides. Head maps are known in the cells around
    the boxes, and the response loss takes them from samples that were mirrored at most, on a grid that is symmetric
    about 0; for samples that were rotated, scaled or shifted it needs a live teacher, or ``response=0``.
    """

    mode = "foreground"
    foreground_only = True

    def _tap(self, name: str, batch: _Batch) -> Any:
        values, motions = batch.values(name), batch.motions
        if not self._is_head(name):
            found = zip(values, batch.rows, motions)
            samples = [v[row.to(batch.device)][:, m.keypoint_order] for v, row, m in found]
            return CachedKeypoints(samples, batch.boxes, self._layout(name))
        cells = [record[CELLS].to(batch.device).long() for record in batch.records]
        tasks, shape = self._layout(name), self._known().bev_grid().shape
        turned = next((motion for motion in motions if motion.mirrors is None), None)
        if turned is not None:
            why = "the response loss reads the cached head in whole cells: set its weight to 0"
            return CachedHead(values, cells, tasks, shape, _turned(turned, why))
        for index, motion in enumerate(motions):
            values[index], cells[index] = self._mirrored(values[index], cells[index], tasks, motion)
        return CachedHead(values, cells, tasks, shape)

    def _mirrored(
        self, values: Tensor, cells: Tensor, tasks: Sequence[Mapping[str, int]], motion: Motion
    ) -> tuple[Tensor, Tensor]:
        mirrors = self._mirrors(motion)
        if not any(mirrors):
            return values, cells
        rows, columns = self._known().bev_grid().shape
        row, column = cells // columns, cells % columns
        column = columns - 1 - column if mirrors[0] else column
        row = rows - 1 - row if mirrors[1] else row
        scale, shift = (v.to(values) for v in mirror_channels(tasks, mirrors))
        return values * scale + shift, row * columns + column


def _turned(motion: Motion, why: str) -> str:
    return (
        f"sample {motion.token} was rotated, scaled or shifted and {why}; expected BEVAugment with rotation=(0, 0), "
        "scale=(1, 1) and translation_std=0, or a LiveTeacher"
    )


def _settings(path: str | Path) -> dict[str, Any]:
    return feature_settings(read_config(path, "config of the cached teacher"), str(path))


def _hash(path: str | Path | None, field: str) -> str | None:
    if path is None:
        return None
    if not Path(path).is_file():
        raise ConfigError(f"{field} of the cached teacher names {path}, which does not exist, expected a file")
    return sha256(path)
