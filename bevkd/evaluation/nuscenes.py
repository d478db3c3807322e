"""nuScenes detection scores, by the unmodified devkit."""

import contextlib
import io
import math
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmdet3d.registry import METRICS
from mmengine.logging import MMLogger

from bevkd.datasets import safe_pickle
from bevkd.datasets.constants import CLASSES
from bevkd.datasets.nuscenes_tables import explained, open_nuscenes
from bevkd.datasets.splits import is_official, official_splits
from bevkd.errors import ConfigError

from .files import write_json, write_whole
from .inputs import DeclaredInputs
from .nuscenes_split import ScoredSplit, scored_samples
from .submission import check_results, format_results, read_results

CONFIG = "detection_cvpr_2019"
TP_ERRORS = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}
HEADLINE = ("mAP", "NDS", *TP_ERRORS.values())


def evaluate(
    result_path: str | Path,
    data_root: str | Path,
    version: str = "v1.0-mini",
    output_dir: str | Path | None = None,
    eval_set: str | None = None,
    left_out: Collection[str] = (),
) -> dict[str, Any]:
    """Score a nuScenes result file with the devkit (configuration detection_cvpr_2019).

    Args:
        result_path: ``results_nusc.json``, boxes in the global frame.
        data_root: nuScenes folder with the tables of ``version``.
        output_dir: Where the devkit leaves ``metrics_summary.json`` and ``metrics_details.json``; nowhere when None.
        eval_set: An official split of the version or one of its ``splits.json``; None takes mini_val for v1.0-mini and
            val for v1.0-trainval.
        left_out: Scenes of the split that are not scored, because their files were not downloaded.

    Returns:
        ``mAP``, ``NDS``, ``mATE`` (m), ``mASE`` (1 - IoU), ``mAOE`` (rad), ``mAVE`` (m/s), ``mAAE`` (1 - accuracy),
        all float, and ``per_class``: by class name ``AP`` (mean over the four distances) and the five errors ``ATE``
        ... ``AAE``, NaN where the benchmark defines none.

    Raises:
        DataError: unusable tables, a split that is unknown or without annotations, or a result file with a missing
            sample, too many boxes, NaN ... (one sentence).
    """
    return _scores(summarise(result_path, data_root, version, output_dir, eval_set, left_out))


def summarise(
    result_path: str | Path,
    data_root: str | Path,
    version: str,
    output_dir: str | Path | None = None,
    eval_set: str | None = None,
    left_out: Collection[str] = (),
) -> dict[str, Any]:
    """The devkit's own summary, as in ``metrics_summary.json``; see :func:`evaluate`."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    eval_set = eval_set or official_splits(version)[-1]
    content = read_results(result_path)
    nusc = open_nuscenes(data_root, version)
    with tempfile.TemporaryDirectory() as scratch, explained(data_root, version):
        scenes, tokens = scored_samples(nusc, eval_set, left_out)
        own = not is_official(eval_set)
        others = {sample["token"] for sample in nusc.sample} if own else ()  # the devkit takes its part of the file
        check_results(content, tokens, result_path, eval_set, others)
        folder = os.path.join(scratch, "devkit")  # the devkit would leave half a file on a full disk
        if not any(content["results"][token] for token in tokens):
            result_path = _with_a_box_out_of_range(content, tokens[0], Path(scratch) / "results_nusc.json")
        if left_out:  # the devkit reads splits of one's own in the data root, and nothing else there
            eval_set, nusc.dataroot = f"{eval_set}, in part", scratch
            write_json({eval_set: scenes}, Path(scratch, version, "splits.json"))
        # The devkit prints and draws progress bars whatever its verbose flag says.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            judge = DetectionEval(nusc, config_factory(CONFIG), str(result_path), eval_set, folder, verbose=False)
            summary = judge.main(render_curves=False)
        for file in Path(folder).glob("*.json") if output_dir is not None else ():
            write_whole(Path(output_dir, file.name), [file.read_bytes()])
    return summary


def _with_a_box_out_of_range(content: dict[str, Any], token: str, path: Path) -> Path:
    """A copy of results without any box, plus one for sample ``token`` that the devkit drops for its distance.

    The devkit cannot load a file in which nothing was found, which is a result like any other: 0.
    """
    box = {
        "sample_token": token,
        "translation": [1e7, 1e7, 0.0],
        "size": [1.0, 1.0, 1.0],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.0, 0.0],
        "detection_name": "car",
        "detection_score": 0.0,
        "attribute_name": "",
    }
    return write_json({**content, "results": {**content["results"], token: [box]}}, path)


def _scores(summary: dict[str, Any]) -> dict[str, Any]:
    errors = summary["label_tp_errors"]
    return {
        "mAP": float(summary["mean_ap"]),
        "NDS": float(summary["nd_score"]),
        **{name: float(summary["tp_errors"][key]) for key, name in TP_ERRORS.items()},
        "per_class": {
            label: {
                "AP": float(summary["mean_dist_aps"][label]),
                **{name[1:]: float(errors[label][key]) for key, name in TP_ERRORS.items()},
            }
            for label in CLASSES
        },
    }


def score_table(scores: dict[str, Any]) -> str:
    """The scores as a markdown table of headline numbers and one of classes."""
    columns = ("AP", *(name[1:] for name in TP_ERRORS.values()))
    lines = [
        "| " + " | ".join(HEADLINE) + " |",
        "|" + "---|" * len(HEADLINE),
        "| " + " | ".join(f"{scores[name]:.4f}" for name in HEADLINE) + " |",
        "",
        "| class | " + " | ".join(columns) + " |",
        "|" + "---|" * (1 + len(columns)),
    ]
    for label, row in scores["per_class"].items():
        cells = ["-" if math.isnan(row[name]) else f"{row[name]:.3f}" for name in columns]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def without_nan(scores: dict[str, Any]) -> dict[str, Any]:
    """The scores with None for NaN, as JSON wants it."""
    per_class = {
        label: {name: None if math.isnan(value) else value for name, value in row.items()}
        for label, row in scores["per_class"].items()
    }
    return {**scores, "per_class": per_class}


@METRICS.register_module()
class NuScenesBEVMetric(ScoredSplit, DeclaredInputs):
    """Collects ``pred_instances_3d`` by sample token, writes ``results_nusc.json`` and scores it with the devkit.

    Args:
        data_root: nuScenes folder with the tables.
        ann_file: Info file of the evaluated split (relative paths are looked up in ``data_root`` first).
        output_dir: Where ``results_nusc.json``, ``metrics_summary.json`` and ``scores.json`` go; None takes the
            running experiment's work dir.
        modality: What the submission's meta field says where the model does not: ``use_external``, ``use_map``, and
            ``use_lidar``, ``use_camera`` and ``use_radar``, which follow the model when they are left out.
        format_only: Write the result file and score nothing (test split).
        eval_set: An official split or one of ``splits.json``; None takes the info file's.

    The metrics are ``mAP``, ``NDS``, ``mATE``, ``mASE``, ``mAOE``, ``mAVE``, ``mAAE`` and ``AP/<class>``.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        output_dir: str | None = None,
        modality: dict[str, bool] | None = None,
        format_only: bool = False,
        eval_set: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.data_root = Path(data_root)
        self.ann_file = self.data_root / ann_file if (self.data_root / ann_file).exists() else Path(ann_file)
        self.output_dir = output_dir
        self.init_inputs(modality)
        self.format_only = format_only
        self.eval_set = eval_set

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep one batch's predictions, on the CPU and without gradients."""
        self.note_batch(data_batch)
        for sample in data_samples:
            predicted = sample["pred_instances_3d"]
            self.results.append(
                {
                    "token": sample.get("token"),
                    "sample_idx": sample.get("sample_idx"),
                    "bboxes_3d": predicted["bboxes_3d"].tensor.detach().cpu(),
                    "scores_3d": predicted["scores_3d"].detach().cpu(),
                    "labels_3d": predicted["labels_3d"].detach().cpu(),
                }
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the result file and return the scores, see the class."""
        infos = safe_pickle.load(self.ann_file)
        samples = infos["data_list"]
        predictions = {result["token"] or samples[int(result["sample_idx"])]["token"]: result for result in results}
        folder = self._folder()
        classes = tuple(self.dataset_meta["classes"]) if self.dataset_meta else CLASSES
        submission = format_results(predictions, samples, classes, self.inputs())
        path = write_json(submission, folder / "results_nusc.json")
        if self.format_only:
            return {}
        scores = evaluate(path, self.data_root, output_dir=folder, **self.split_of(infos["metainfo"]))
        write_json(without_nan(scores), folder / "scores.json")
        MMLogger.get_current_instance().info("nuScenes scores, from %s\n%s", path, score_table(scores))
        classwise = {f"AP/{label}": row["AP"] for label, row in scores["per_class"].items()}
        return {**{name: scores[name] for name in HEADLINE}, **classwise}

    def _folder(self) -> Path:
        if self.output_dir is not None:
            return Path(self.output_dir)
        log_file = MMLogger.get_current_instance().log_file  # work_dir/<time stamp>/<time stamp>.log
        if not log_file:
            raise ConfigError("NuScenesBEVMetric.output_dir is not set and no experiment with a work dir is running")
        return Path(log_file).parent.parent
