"""Score a checkpoint with the metrics of its config."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLE = """\
examples:
  python tools/test.py configs/synthetic/lidar_teacher.py work_dirs/teacher/epoch_20.pth
  python tools/test.py configs/synthetic/camera_student.py work_dirs/distilled/epoch_20.pth   a distiller's too
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a file, or PACKAGE::PATH for a config that an installed package ships")
    parser.add_argument("checkpoint", help="weights that fit the config's model; every key must fit")
    parser.add_argument("--work-dir", help="where the results and metrics.json go (default: the checkpoint's folder)")
    parser.add_argument("--data-root", help="nuScenes folder with its infos, see tools/train.py")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="see tools/train.py")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    from bevkd.engine import load_config
    from bevkd.engine.config import apply_flags, parse_options
    from bevkd.engine.testing import score_checkpoint

    cfg = load_config(args.config, parse_options(args.cfg_options))
    work_dir = args.work_dir or str(Path(args.checkpoint).parent)
    apply_flags(cfg, work_dir=work_dir, data_root=args.data_root, launcher=args.launcher)
    score_checkpoint(cfg, args.checkpoint)


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
