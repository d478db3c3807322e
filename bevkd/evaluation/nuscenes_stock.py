"""mmdet3d's own nuScenes metric for its own configs, without the ways in which it ends a run."""

import os
from typing import Any

import torch
from mmdet3d.evaluation.metrics import NuScenesMetric
from mmdet3d.registry import METRICS

from bevkd.errors import ConfigError

from .inputs import DeclaredInputs
from .nuscenes import summarise
from .nuscenes_split import ScoredSplit


@METRICS.register_module()
class NuScenesStockMetric(ScoredSplit, DeclaredInputs, NuScenesMetric):
    """mmdet3d's ``NuScenesMetric``: the same names and scores, and a score of 0 for results without any box.

    What differs otherwise: the file's ``meta`` says what the model uses (``modality`` follows it unless set), the
    split is that of the info file or ``eval_set``, and what cannot be scored is one sentence before the run or, for a
    result file, after it.
    """

    def __init__(
        self, *args: Any, modality: dict[str, bool] | None = None, eval_set: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.init_inputs(modality)
        self.eval_set = eval_set

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """As in mmdet3d."""
        self.note_batch(data_batch)
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """As in mmdet3d."""
        self.modality = self.inputs()
        return super().compute_metrics(results)

    def _format_camera_bbox(self, *args: Any, **kwargs: Any) -> str:
        """As in mmdet3d, which calls CUDA here whatever the model runs on."""
        if not torch.cuda.is_available():
            raise ConfigError(
                "NuScenesMetric joins the boxes of single cameras on a GPU, and torch sees none; expected a GPU, or a "
                "detector with boxes in the LiDAR frame"
            )
        return super()._format_camera_bbox(*args, **kwargs)

    def _evaluate_single(
        self, result_path: str, classes: list[str] | None = None, result_name: str = "pred_instances_3d"
    ) -> dict[str, float]:
        """As in mmdet3d: the scores by its names, rounded to four digits but for NDS and mAP."""
        folder = os.path.dirname(result_path)
        summary = summarise(result_path, self.data_root, output_dir=folder, **self.split_of(self.dataset_meta))
        scores = {}
        for name in classes or ():
            scores |= {f"{name}_AP_dist_{key}": round(ap, 4) for key, ap in summary["label_aps"][name].items()}
            scores |= {f"{name}_{key}": round(error, 4) for key, error in summary["label_tp_errors"][name].items()}
        scores |= {self.ErrNameMapping[key]: round(error, 4) for key, error in summary["tp_errors"].items()}
        scores |= {"NDS": summary["nd_score"], "mAP": summary["mean_ap"]}
        return {f"{result_name}_NuScenes/{name}": score for name, score in scores.items()}
