"""Which samples of nuScenes are scored, and whether they can be: known before a run, not after its first epoch."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from bevkd.datasets.nuscenes_tables import check_folder, read_table
from bevkd.datasets.splits import official_splits, split_scenes
from bevkd.errors import DataError

if TYPE_CHECKING:
    from nuscenes import NuScenes


class ScoredSplit(BaseMetric):
    """Mixin of nuScenes metrics: the split of the info file, or ``eval_set``, checked as soon as the data set is known.

    Attributes:
        data_root: nuScenes folder with the tables.
        eval_set: A split's name; None takes the info file's, or the version's own for files that name none.
        format_only: Nothing is scored.
    """

    data_root: str | Path
    eval_set: str | None
    format_only: bool

    @property
    def dataset_meta(self) -> dict | None:
        """What the data set says about itself, as in mmengine."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self._dataset_meta = meta
        if not self.format_only and "version" in meta:
            split = self.split_of(meta)
            require_split(self.data_root, split["version"], split["eval_set"])
            if split["left_out"]:
                MMLogger.get_current_instance().warning(
                    f"{len(split['left_out'])} scenes of split {split['eval_set']} were left out of the infos and are "
                    "not scored: do not compare the scores with those of the whole split"
                )

    def split_of(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """``version``, ``eval_set`` and ``left_out``: arguments of :func:`bevkd.evaluation.nuscenes.evaluate`."""
        eval_set = self.eval_set or meta.get("split")
        left_out = meta.get("left_out", {}).get("scenes", ()) if eval_set == meta.get("split") else ()
        return {"version": meta["version"], "eval_set": eval_set, "left_out": left_out}


def require_split(data_root: str | Path, version: str, eval_set: str | None) -> None:
    """Say before a run what would end it at its first evaluation, without reading all tables.

    Raises:
        DataError: no such tables or split, or tables without annotations.
    """
    tables = check_folder(Path(data_root), version)
    scenes = [scene["name"] for scene in read_table(tables / "scene.json")]
    split_scenes(tables, eval_set or official_splits(version)[-1], scenes)
    if (tables / "sample_annotation.json").stat().st_size < 10:  # "[]"
        raise DataError(
            f"{tables}: table sample_annotation is empty, expected annotations to score against; for a test split set "
            "format_only=True in the evaluator"
        )


def scored_samples(nusc: "NuScenes", eval_set: str, left_out: Collection[str]) -> tuple[list[str], list[str]]:
    """Scene names and sample tokens of a split, of which at least one has an annotation that counts.

    Raises:
        DataError: see :func:`bevkd.datasets.splits.split_scenes`; or nothing is annotated.
    """
    from nuscenes.eval.detection.utils import category_to_detection_name

    tables = Path(nusc.dataroot) / nusc.version
    names = {scene["token"]: scene["name"] for scene in nusc.scene}
    scenes = [name for name in split_scenes(tables, eval_set, set(names.values())) if name not in left_out]
    members = set(scenes)
    samples = [sample for sample in nusc.sample if names[sample["scene_token"]] in members]
    annotations = (nusc.get("sample_annotation", token) for sample in samples for token in sample["anns"])
    if not any(category_to_detection_name(annotation["category_name"]) for annotation in annotations):
        raise DataError(
            f"{tables}: the {len(samples)} samples of split {eval_set} have no annotation of the ten classes, expected "
            "some to score against"
        )
    return scenes, [sample["token"] for sample in samples]
