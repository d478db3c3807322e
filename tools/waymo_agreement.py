"""Compare bevkd's Waymo scores with the official implementation's on ordinary and adversarial scenes.

The official package runs in an environment of its own, made on first use (Python 3.9 to 3.11, some minutes) or named
with --python. Exit code 0: every number agrees; 1: one does not.

Examples:
    python tools/waymo_agreement.py
    python tools/waymo_agreement.py --python waymo_env/bin/python --per-kind 20 --seed 1
    python tools/waymo_agreement.py --predictions P.bin --ground-truth G.bin
    python tools/waymo_agreement.py --v2-folder data/synthetic_waymo/validation
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevkd.errors import ConfigError, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an interpreter that has waymo-open-dataset-tf-2-12-0==1.6.7")
    default = Path.home() / ".cache" / "bevkd" / "waymo-official"
    parser.add_argument("--environment", type=Path, default=default, help="where to make one (default: %(default)s)")
    parser.add_argument("--per-kind", type=int, default=7, help="scenes of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: %(default)s)")
    parser.add_argument("--predictions", type=Path, help="compare on this Objects file instead of made-up scenes")
    parser.add_argument("--ground-truth", type=Path, help="its ground truth, an Objects file")
    parser.add_argument(
        "--v2-folder", type=Path, help="compare on a split of Waymo v2 (Parquet): its points, and its labels as a scene"
    )
    parser.add_argument(
        "--write-vectors", type=Path, help="also write scenes and official numbers here, as test vectors"
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if (args.predictions is None) != (args.ground_truth is None):
        raise ConfigError("--predictions and --ground-truth go together, found one of them")
    if args.per_kind < 1:
        raise ConfigError(f"--per-kind is {args.per_kind}, expected at least 1")
    from bevkd.evaluation.waymo_agreement import make_scenes
    from bevkd.evaluation.waymo_agreement.compare import compare, report
    from bevkd.evaluation.waymo_agreement.environment import official_python
    from bevkd.evaluation.waymo_agreement.v2_folder import compare_points, labelled_scene
    from bevkd.evaluation.waymo_agreement.vectors import copy_pair, evaluate_official, pack, write_official

    python = official_python(args.python, args.environment)
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), []
        if args.v2_folder is not None:
            results = compare_points(python, args.v2_folder, folder)
            write_official(python, [labelled_scene(args.v2_folder, args.seed)], folder)
        elif args.predictions is not None:
            copy_pair(python, args.predictions, args.ground_truth, folder)
        else:
            write_official(python, make_scenes(args.per_kind, args.seed), folder)
        evaluate_official(python, folder)
        if args.write_vectors is not None:
            pack(python, folder, args.write_vectors)
        results += compare(folder)
    table, summary = report(results)
    print(table)
    print(json.dumps(summary))
    return 0 if summary["agree"] else 1


if __name__ == "__main__":
    run_tool(main)
