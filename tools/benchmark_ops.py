"""Time bevkd's ops against other implementations, and say which goals are reached.

Every implementation must first give the right result; then all of one row run in turn on the same tensors. Ratios of
medians come first, because times on a shared machine wander.

Example:
    python tools/benchmark_ops.py --ops voxelize bev_pool --threads 1 2
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevkd.errors import run_tool

FAMILIES = ("voxelize", "segments", "bev_pool", "foreground", "boxes")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", nargs="+", choices=FAMILIES, default=FAMILIES, help="families to time (default: all)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2), help="CPU threads (default: 1 2)")
    parser.add_argument("--repeats", type=int, help="timed calls of each (default: 20 on a CPU, 200 on a GPU)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the JSON files")
    parser.add_argument("--readme", type=Path, help="also renew the table between the benchmark markers of this file")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from benchmarks.run import run_families
    from benchmarks.table import renew_readme, to_markdown, write_results

    report = run_families(args.ops, args.device, args.threads, args.repeats)
    for path in write_results(report, args.output):
        print(f"wrote {path}")
    print(to_markdown(report))
    if args.readme is not None:
        renew_readme(args.readme, args.output)


if __name__ == "__main__":
    run_tool(main)
