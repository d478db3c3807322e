"""Score Waymo 3D detections by the rules of the official metrics, without TensorFlow.

Example:
    python tools/eval_waymo.py --predictions work_dirs/run/predictions.bin --ground-truth data/waymo/ground_truth.bin

Both files hold a serialized waymo.open_dataset.Objects; the ground truth may also be an info file. The table has the
official tool's lines.
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
    parser.add_argument("--ground-truth", type=Path, required=True, help="serialized Objects, or Waymo infos (.pkl)")
    parser.add_argument(
        "--let",
        action="store_true",
        help="camera-only metrics (LET-3D-AP and APL): tolerant of errors along the line of sight",
    )
    parser.add_argument("--json", type=Path, help="also write the scores here")
    parser.add_argument("--submission", type=Path, help="also write a file for Waymo's evaluation server here")
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


def main() -> None:
    args = parse_args()
    if (args.submission is None) != (args.submission_info is None):
        raise ConfigError("--submission and --submission-info belong together, one of them is missing")
    from bevkd.evaluation.files import write_json
    from bevkd.evaluation.waymo import load, score, score_table
    from bevkd.evaluation.waymo_metrics.rules import CAMERA_ONLY, DETECTION
    from bevkd.evaluation.waymo_metrics.submission import read_info, write_submission

    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    info = read_info(args.submission_info) if args.submission_info else None
    rules = CAMERA_ONLY if args.let else DETECTION
    predictions, truth, frames = load(args.predictions, args.ground_truth, args.unlabelled_frames, rules)
    scores = score(predictions, truth, args.exact_geometry, rules)
    if args.json is not None:
        write_json(scores, args.json)
    if info is not None:
        count = write_submission(predictions, info, args.submission)
        print(f"{args.submission}: {count} boxes", file=sys.stderr)
    print(f"{frames} examples found.\n")
    print(score_table(scores))


if __name__ == "__main__":
    run_tool(main)
