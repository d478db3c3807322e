"""Filling a teacher cache: every training sample once through the teacher, without augmentation.

Shards appear whole or not at all, so a run that is killed or runs out of disk goes on where the last whole one ended.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from bevkd.distill.cache.key import NAME, CacheKey, grid_dict
from bevkd.distill.cache.motion import Motion
from bevkd.distill.cache.records import DTYPES, dense_record, foreground_record, layout_of, require_finite
from bevkd.distill.cache.settings import cached_data, feature_settings
from bevkd.distill.cache.shards import ShardReader
from bevkd.distill.teachers import LiveTeacher
from bevkd.engine.checkpoint import remove_partials, write_text
from bevkd.engine.errors import config_errors
from bevkd.engine.lock import WorkDirLock
from bevkd.engine.preflight import require_dataset_classes, require_inputs
from bevkd.engine.shard_writer import ShardWriter, nbytes
from bevkd.engine.workers import guard_workers, worker_errors
from bevkd.errors import ConfigError
from bevkd.structures.sums import check_sums, sha256
from bevkd.structures.targets import Targets

MODES = ("foreground", "dense")
_FREE = ("layout", "teacher", "checkpoint", "ann_file", "classes")  # of a key: known later, or only for people
_SHARD = 128 << 20  # bytes


def cache_teacher(
    cfg: Config,
    checkpoint: str | Path,
    out: str | Path,
    mode: str = "foreground",
    dtype: str = "float16",
    taps: Mapping[str, str] | None = None,
    grid: Mapping[str, Any] | None = None,
    batch_size: int = 4,
    workers: int = 2,
    device: str = "cpu",
    shard_bytes: int = _SHARD,
) -> int:
    """Fill ``out`` with the teacher's features of the training set of ``cfg``, read through its test pipeline.

    What ``out`` already holds of the same cache is kept; the number of samples that were added is returned.

    Args:
        cfg: the teacher's config, with ``model``, ``train_dataloader`` and ``test_dataloader``.
        checkpoint: its weights, or those of a distiller that trained it.
        out: the cache's folder, one run at a time.
        mode: ``foreground`` for UniDistill, ``dense`` for any method.
        dtype: of the stored features, a key of :data:`bevkd.distill.cache.records.DTYPES`.
        taps, grid: see :class:`bevkd.distill.LiveTeacher`.
        device: where the teacher runs.
        shard_bytes: a shard is written when it holds as much; what a kill can cost.

    Raises:
        ConfigError: a stale cache in ``out``, another run there, an augmenting pipeline, no room on the disk.
        DataError: a sample or shard that is unusable, or a disk that filled up. CheckpointError: see LiveTeacher.
    """
    out = Path(out)
    check_sums(checkpoint)
    lock = WorkDirLock(out, "the cache", "--out")
    lock.acquire()
    try:
        remove_partials(out)
        teacher = LiveTeacher(cfg.model, checkpoint, taps, grid)
        with config_errors(str(cfg.filename)):
            teacher.load()
            dataset = _dataset(cfg)
        require_dataset_classes("train_dataloader", dataset, teacher.model)
        require_inputs("test_dataloader", dataset, teacher.model, training=False)
        key = _key(cfg, teacher, dataset, mode, dtype)
        with worker_errors():
            return _fill(out, teacher, dataset, key, batch_size, workers, torch.device(device), shard_bytes)
    finally:
        lock.release()


def _dataset(cfg: Config) -> Any:
    """See :func:`bevkd.distill.cache.settings.cached_data`."""
    from mmdet3d.registry import DATASETS
    from mmengine.registry import init_default_scope

    samples = cached_data(cfg, str(cfg.filename))
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    return DATASETS.build(samples)


def _key(cfg: Config, teacher: LiveTeacher, dataset: Any, mode: str, dtype: str) -> CacheKey:
    if mode not in MODES or dtype not in DTYPES:
        raise ConfigError(
            f"the cache has mode {mode!r} and dtype {dtype!r}, expected one of {MODES} and {list(DTYPES)}"
        )
    if teacher.grid is None:
        raise ConfigError(
            f"the teacher of {cfg.filename} has no BEV grid, expected --grid X_MIN X_MAX Y_MIN Y_MAX CELL"
        )
    return CacheKey(
        mode=mode,
        dtype=dtype,
        teacher=str(cfg.filename),
        checkpoint=str(teacher.checkpoint),
        teacher_sha256=teacher.info()["sha256"],
        grid=grid_dict(teacher.grid),
        taps=teacher.taps,
        settings=feature_settings(cfg, str(cfg.filename)),
        layout={},
        classes=teacher.classes(),
        ann_file=str(dataset.ann_file),
        ann_sha256=sha256(dataset.ann_file),
        samples=len(dataset),
    )


def _fill(
    out: Path,
    teacher: LiveTeacher,
    dataset: Any,
    key: CacheKey,
    batch_size: int,
    workers: int,
    device: torch.device,
    shard_bytes: int,
) -> int:
    if (out / NAME).is_file():
        CacheKey.read(out).require(out, **{n: v for n, v in vars(key).items() if n not in _FREE})
    done = ShardReader(out, key.digest())
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    left = [index for index, info in enumerate(infos) if info["token"] not in done]
    print(f"{out}: {len(dataset) - len(left)} of {len(dataset)} samples are there", flush=True)
    if not left:
        return 0
    boxes_left = sum(len(infos[index]["ann_info"]["gt_bboxes_3d"]) for index in left)
    del infos
    loader = guard_workers(DataLoader(Subset(dataset, left), batch_size, num_workers=workers, collate_fn=_collate))
    writer = ShardWriter(out, key.digest(), len(left), shard_bytes)
    for features, samples in _features(teacher, loader, device):
        records = _records(features, samples, key, teacher)
        if not key.layout:
            key = CacheKey(**{**vars(key), "layout": layout_of(features)})
            _require_room(out, _estimate(records, len(left), boxes_left, key), len(left))
            write_text(out / NAME, key.text())
        for token, record in records.items():
            writer.add(token, record)
    writer.flush()
    return len(left)


def _features(teacher: LiveTeacher, loader: DataLoader, device: torch.device) -> Iterator[tuple[dict, list]]:
    """Taps and data samples, batch by batch."""
    model = teacher.model.to(device)
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        yield teacher(data["inputs"], data["data_samples"], device), data["data_samples"]


def _records(features: Mapping, samples: Sequence, key: CacheKey, teacher: LiveTeacher) -> dict[str, dict[str, Tensor]]:
    dtype = DTYPES[key.dtype]
    boxes = Targets.from_data_samples(samples, teacher.grid).boxes
    records = {}
    for index, (sample, box) in enumerate(zip(samples, boxes)):
        motion = Motion.of(sample.metainfo)
        if motion.mirrors != (False, False):
            raise ConfigError(f"sample {motion.token} was augmented, expected a test pipeline without BEVAugment")
        if key.mode == "dense":
            record = dense_record(features, index, box, dtype)
        else:
            record = foreground_record(features, index, box, dtype, teacher.grid)
        require_finite(record, motion.token, dtype)
        records[motion.token] = record
    return records


def _estimate(records: Mapping[str, Mapping[str, Tensor]], samples: int, boxes: int, key: CacheKey) -> int:
    """Bytes that all samples will take, from those of the first batch: by sample, or by box for the foreground."""
    size, seen = sum(map(nbytes, records.values())), sum(len(record["boxes"]) for record in records.values())
    if key.mode == "dense":
        return size * samples // len(records)
    if seen:
        return size * boxes // seen
    channels = sum(sum(sum(task.values()) for task in part) if isinstance(part[0], Mapping) else part[0]
                   for part in key.layout.values())  # fmt: skip
    return boxes * 9 * channels * DTYPES[key.dtype].itemsize  # no box yet to learn from: nine points, nine cells


def _require_room(out: Path, needed: int, samples: int) -> None:
    free = shutil.disk_usage(out).free
    each = needed / samples / 1e6
    print(f"{samples} samples will take about {needed / 1e9:.3g} GB ({each:.3g} MB each); {free / 1e9:.3g} GB are free")
    if needed > free:
        raise ConfigError(
            f"the cache {out} needs about {needed / 1e9:.3g} GB and {free / 1e9:.3g} GB are free on its disk, expected "
            "room for it: take another --out, a narrower --dtype or --mode foreground"
        )


def _collate(batch: list) -> Any:
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(batch)
