"""Score a nuScenes result file with the official devkit.

Example:
    python tools/eval_nuscenes.py --result work_dirs/run/results_nusc.json --data-root data/nuscenes --version v1.0-mini
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevkd.errors import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", type=Path, required=True, help="results_nusc.json, boxes in the global frame")
    parser.add_argument("--data-root", type=Path, required=True, help="nuScenes folder, real or synthetic")
    parser.add_argument("--version", default="v1.0-mini", help="v1.0-mini or v1.0-trainval (default: %(default)s)")
    parser.add_argument("--eval-set", help="official split, or one of VERSION/splits.json (default: mini_val or val)")
    parser.add_argument("--output-dir", type=Path, help="keep the devkit's files and scores.json here")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from bevkd.evaluation.nuscenes import evaluate, score_table, without_nan, write_json

    scores = evaluate(args.result, args.data_root, args.version, args.output_dir, args.eval_set)
    if args.output_dir is not None:
        write_json(without_nan(scores), args.output_dir / "scores.json")
    print(score_table(scores))
    print(json.dumps(without_nan(scores)))


if __name__ == "__main__":
    run_tool(main)
