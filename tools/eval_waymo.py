"""Score Waymo 3D detections by the rules of the official metrics, without TensorFlow.

Example:
    python tools/eval_waymo.py --predictions work_dirs/run/predictions.bin --ground-truth data/waymo/ground_truth.bin

Both files hold a serialized waymo.open_dataset.Objects; the ground truth may also be an info file. The table has the
official tool's lines.

A submission for a testing split, whose ground truth nobody has:
    python tools/eval_waymo.py --predictions work_dirs/run/predictions.bin \\
        --ground-truth data/waymo/waymo_infos_test.pkl --submission run.tar.gz --submission-info submission.txtpb
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevkd.errors import ConfigError, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, required=True, help="serialized Objects, with scores")
    parser.add_argument(
        "--ground-truth",
        type=Path,
        help="serialized Objects, or Waymo infos (.pkl); infos of a testing split serve to check a submission's frames",
    )
    parser.add_argument(
        "--let",
        action="store_true",
        help="camera-only metrics (LET-3D-AP and APL): tolerant of errors along the line of sight",
    )
    parser.add_argument("--json", type=Path, help="also write the scores here")
    parser.add_argument(
        "--submission",
        type=Path,
        help="also write a file for Waymo's evaluation server here: NAME.tar.gz, or NAME.bin for one bare message",
    )
    parser.add_argument("--submission-info", type=Path, help="text like Waymo's submission.txtpb, for --submission")
    parser.add_argument(
        "--exact-geometry",
        action="store_true",
        help="exact overlap of boxes; the official one may find none for a box turned by exactly pi",
    )
    parser.add_argument(
        "--unlabelled-frames",
        action="store_true",
        help="count predictions in unknown frames as false alarms, as the official tool does, instead of refusing them",
    )
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if (args.submission is None) != (args.submission_info is None):
        raise ConfigError("--submission and --submission-info belong together, one of them is missing")
    if args.ground_truth is None and args.submission is None:
        raise ConfigError("--ground-truth is missing; only a --submission can be written without it")
    if args.ground_truth is None and args.json is not None:
        raise ConfigError("--json is for scores, and without --ground-truth there are none")


def main() -> None:
    args = parse_args()
    check_args(args)
    from bevkd.evaluation.files import write_json
    from bevkd.evaluation.waymo import load, score, score_table
    from bevkd.evaluation.waymo_metrics.object_files import read_objects
    from bevkd.evaluation.waymo_metrics.rules import CAMERA_ONLY, DETECTION
    from bevkd.evaluation.waymo_metrics.submission import check_name, check_unscored, write_submission
    from bevkd.evaluation.waymo_metrics.submission_info import read_info

    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    if args.submission is not None:
        check_name(args.submission)
    info = read_info(args.submission_info) if args.submission_info else None
    rules = CAMERA_ONLY if args.let else DETECTION
    predictions = read_objects(args.predictions)
    truth = rules.read_truth(args.ground_truth) if args.ground_truth else None
    if truth is not None and (len(truth) or info is None or args.json is not None):
        predictions, truth, frames = load(predictions, truth, args.unlabelled_frames, rules)
        scores = score(predictions, truth, args.exact_geometry, rules)
        print(f"{frames} examples found.\n")
        print(score_table(scores), flush=True)
        if args.json is not None:
            write_json(scores, args.json)
    else:
        check_unscored(predictions, truth, args.unlabelled_frames)
        print(f"{args.ground_truth or 'no ground truth'}: nothing to score by", file=sys.stderr)
    if info is not None:
        count = write_submission(predictions, info, args.submission)
        print(f"{args.submission}: {count} boxes", file=sys.stderr)


if __name__ == "__main__":
    run_tool(main)
