"""The Waymo scores as an mmengine metric."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from bevkd.datasets import safe_pickle
from bevkd.errors import ConfigError, DataError

from .files import write_json, write_whole
from .waymo import evaluate, evaluate_camera_only, score_table
from .waymo_metrics.infos import objects_from_infos, objects_from_results
from .waymo_metrics.messages import LEVELS
from .waymo_metrics.object_files import write_chunks
from .waymo_metrics.rules import CAMERA_ONLY, DETECTION, Rules

LEADERBOARD = ("TYPE_VEHICLE", "TYPE_PEDESTRIAN", "TYPE_CYCLIST")


@METRICS.register_module()
class WaymoBEVMetric(BaseMetric):
    """Collects ``pred_instances_3d`` by frame, writes ``predictions.bin`` and scores it by Waymo's rules.

    Args:
        data_root: Folder of the data set.
        ann_file: Info file of the evaluated split (relative paths are looked up in ``data_root`` first).
        output_dir: Where ``predictions.bin`` and ``scores.json`` go; None takes the running experiment's work dir.
        format_only: Write the predictions and score nothing (test split).
        exact_geometry: See :func:`bevkd.evaluation.waymo.evaluate`.
        camera_only: For detectors without LiDAR: score by :func:`bevkd.evaluation.waymo.evaluate_camera_only` as well.

    The metrics are ``AP/L1``, ``APH/L1``, ``AP/L2``, ``APH/L2`` (and ``LET-APL/L2``, ``LET-AP/L2``, ``LET-APH/L2``
    with ``camera_only``), means over vehicles, pedestrians and cyclists, and each type's by the official names
    (``OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1/AP`` ...); scores.json has the ranges, and the cameras, too.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        output_dir: str | None = None,
        format_only: bool = False,
        exact_geometry: bool = False,
        camera_only: bool = False,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.data_root = Path(data_root)
        self.ann_file = self.data_root / ann_file if (self.data_root / ann_file).exists() else Path(ann_file)
        self.output_dir = output_dir
        self.format_only = format_only
        self.exact_geometry = exact_geometry
        self.camera_only = camera_only

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one batch's predictions, on the CPU and without gradients."""
        for sample in data_samples:
            predicted = sample["pred_instances_3d"]
            self.results.append(
                {
                    "sample_idx": int(sample["sample_idx"]),
                    "bboxes_3d": predicted["bboxes_3d"].tensor.detach().cpu(),
                    "scores_3d": predicted["scores_3d"].detach().cpu(),
                    "labels_3d": predicted["labels_3d"].detach().cpu(),
                }
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the predictions and return the scores, see the class."""
        infos = safe_pickle.load(self.ann_file)
        by_sample = {result["sample_idx"]: result for result in results}
        missing = set(range(len(infos["data_list"]))) - set(by_sample)
        if missing:
            raise DataError(
                f"{self.ann_file}: {len(missing)} of {len(infos['data_list'])} frames were not predicted, the first is"
                f" data_list[{min(missing)}]"
            )
        folder = self._folder()
        classes = tuple((self.dataset_meta or {}).get("classes") or infos["metainfo"]["classes"])
        predictions = objects_from_results(by_sample, infos, classes, "predictions")
        path = write_whole(folder / "predictions.bin", write_chunks(predictions))
        if self.format_only:
            return {}
        scores, summary = {}, {}
        for rules in (DETECTION, CAMERA_ONLY)[: 1 + self.camera_only]:
            truth = objects_from_infos(infos, str(self.ann_file), rules is CAMERA_ONLY)
            judge = evaluate_camera_only if rules is CAMERA_ONLY else evaluate
            with logged_warnings():
                found = judge(predictions, truth, exact_geometry=self.exact_geometry)
            MMLogger.get_current_instance().info("Waymo scores, from %s\n%s", path, score_table(found))
            scores |= found
            summary |= means(found, rules)
        write_json(scores, folder / "scores.json")
        return summary | {name: score for name, score in scores.items() if name.startswith("OBJECT_TYPE")}

    def _folder(self) -> Path:
        if self.output_dir is not None:
            return Path(self.output_dir)
        log_file = MMLogger.get_current_instance().log_file  # work_dir/<time stamp>/<time stamp>.log
        if not log_file:
            raise ConfigError("WaymoBEVMetric.output_dir is not set and no experiment with a work dir is running")
        return Path(log_file).parent.parent


@contextmanager
def logged_warnings() -> Iterator[None]:
    """Give what the scoring warns of to the run's log."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in said:
        MMLogger.get_current_instance().warning(str(warning.message))


def means(scores: dict[str, float], rules: Rules = DETECTION) -> dict[str, float]:
    """``AP/L1``, ``APH/L1``, ``AP/L2`` and ``APH/L2``: means over the leaderboard's three types."""
    groups = [f"OBJECT_TYPE_{name}" for name in LEADERBOARD]
    return {
        f"{key}/L{level}": sum(scores[f"{group}_{LEVELS[level - 1]}/{key}"] for group in groups) / len(groups)
        for level in rules.levels
        for key in rules.metrics
    }
