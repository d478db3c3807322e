"""Time training steps with a live, a dense cached and a foreground cached teacher against the student's own step."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevkd.errors import run_tool

EXAMPLE = """\
example:
  python tools/benchmark_distill.py --data-root data/bench --threads 2
The folder is any nuScenes one with infos; tools/create_data.py makes a synthetic one.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "configs/synthetic/unidistill_lidar_to_camera.py"
    parser.add_argument(
        "config", nargs="?", default=default, help="a recipe with a live teacher (default: %(default)s)"
    )
    parser.add_argument("--data-root", required=True, help="nuScenes folder with its infos")
    parser.add_argument("--batches", type=int, default=4, help="different batches (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="timed steps of each kind (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/distill"), help="folder of the JSON file"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from benchmarks.distill import measure_steps, table
    from benchmarks.table import write_result
    from bevkd.errors import ConfigError
    from bevkd.structures.quiet import only_warnings

    if min(args.batches, args.repeats, args.threads) < 1:
        raise ConfigError(
            f"--batches {args.batches}, --repeats {args.repeats}, --threads {args.threads}: expected >= 1"
        )
    only_warnings()
    report = measure_steps(args.config, args.data_root, args.batches, args.repeats, args.threads, args.device)
    print(table(report))
    print(f"wrote {write_result(Path(args.config).stem, report, args.output)}")


if __name__ == "__main__":
    run_tool(main)
