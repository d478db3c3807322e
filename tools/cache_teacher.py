"""Compute a teacher's features of the training set once, so that students train without running it."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLE = """\
examples:
  python tools/cache_teacher.py configs/synthetic/lidar_teacher.py work_dirs/lidar_teacher/epoch_3.pth \\
      --out work_dirs/lidar_teacher_cache          for UniDistill: about a hundredth of the dense size
  python tools/cache_teacher.py TEACHER.py TEACHER.pth --out D --mode dense --dtype bfloat16     for any method
The same command goes on where a killed one stopped. A recipe then names the folder:
  teacher=dict(type="CachedForegroundTeacher", cache="work_dirs/lidar_teacher_cache")
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a file, or PACKAGE::PATH for a config that an installed package ships")
    parser.add_argument("checkpoint", help="its weights; a distiller's checkpoint gives the student's")
    parser.add_argument("--out", required=True, help="the cache's folder")
    parser.add_argument(
        "--mode",
        choices=("foreground", "dense"),
        default="foreground",
        help="the ground-truth foreground alone, for UniDistill (default), or whole maps, for any method",
    )
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float16", help="on disk")
    parser.add_argument(
        "--taps", nargs="+", metavar="NAME=PATH", help="module paths of the teacher (default: its own low, high, head)"
    )
    parser.add_argument(
        "--grid",
        nargs=5,
        type=float,
        metavar=("X_MIN", "X_MAX", "Y_MIN", "Y_MAX", "CELL"),
        help="metres, for a teacher without a grid of its own",
    )
    parser.add_argument("--batch-size", type=int, default=4, help="samples in one forward pass of the teacher")
    parser.add_argument("--workers", type=int, default=2, help="processes that load samples")
    parser.add_argument("--device", help="where the teacher runs (default: a GPU where there is one)")
    parser.add_argument("--data-root", help="nuScenes folder with its infos, see tools/train.py")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="see tools/train.py")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import torch

    from bevkd.engine import load_config, register_all
    from bevkd.engine.config import apply_flags, parse_options
    from bevkd.engine.teacher_cache import cache_teacher
    from bevkd.errors import ConfigError
    from bevkd.structures.quiet import only_warnings

    if any("=" not in tap for tap in args.taps or ()):
        raise ConfigError(f"--taps is {args.taps}, expected NAME=PATH such as high=pts_neck")
    grid = None
    if args.grid:
        x_min, x_max, y_min, y_max, cell = args.grid
        grid = {"x_range": (x_min, x_max), "y_range": (y_min, y_max), "cell": cell}
    only_warnings()
    register_all()
    cfg = load_config(args.config, parse_options(args.cfg_options))
    apply_flags(cfg, data_root=args.data_root)
    added = cache_teacher(
        cfg,
        args.checkpoint,
        args.out,
        mode=args.mode,
        dtype=args.dtype,
        taps=dict(tap.split("=", 1) for tap in args.taps) if args.taps else None,
        grid=grid,
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    print(f"{args.out} is complete, {added} samples were added")


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
