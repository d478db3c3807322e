"""Measure what distillation gains: students with and without a teacher, several seeds, one table."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLE = """\
examples:
  python tools/compare.py configs/compare/bench.py                      all of it; the same command goes on after a kill
  nohup nice python tools/compare.py configs/compare/bench.py --threads 2 > bench.log 2>&1 &     in the background
  python tools/compare.py configs/compare/bench.py --only 'rdd*' --seeds 0       a part of it, in the same folder
  python tools/compare.py configs/compare/bench.py --list               what is done and what is not
  python tools/compare.py configs/compare/bench.py --table --readme README.md    the table alone, from what is done
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="a file that names worlds, teachers, students, arms and seeds")
    parser.add_argument(
        "--out", type=Path, help="folder of all runs and of the table (default: work_dirs/compare/NAME)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="ARM", default=[], help="these arms (* and ? match), what they need"
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="these seeds in place of the file's")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads of each training")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="change keys of the file")
    parser.add_argument("--results", type=Path, help="also write table, JSON and plot into this folder")
    parser.add_argument("--readme", type=Path, help="also renew the table between the compare markers of this file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list the trainings, done and open, and stop")
    what.add_argument("--table", action="store_true", help="train nothing, write the table of what is done")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from bevkd.engine.compare import read_grid, read_result, require_unchanged, run_grid, summarise
    from bevkd.engine.config import parse_options

    whole = read_grid(args.grid, parse_options(args.cfg_options))
    grid = whole.only(args.only, args.seeds)
    out = args.out or Path("work_dirs/compare", grid.name)
    if args.list:
        for job in grid.jobs(out):
            print(f"{'done' if read_result(job.work_dir) else 'open'}  {job.name}")
        return
    from bevkd.visualization.comparison import comparison_table, write_comparison
    from bevkd.visualization.files import renew_section

    def report() -> None:
        for folder in filter(None, (out, args.results)):
            write_comparison(summarise(whole, out), folder)

    require_unchanged(whole, out)
    if args.table:
        report()
    else:
        run_grid(grid, out, args.jobs, args.threads, report)
    table = comparison_table(summarise(whole, out))
    print(table)
    if args.readme is not None:
        renew_section(args.readme, "compare", table)


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
