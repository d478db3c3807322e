"""Train the model that a config describes."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLE = """\
examples:
  python tools/train.py configs/synthetic/lidar_teacher.py --work-dir work_dirs/teacher
  python tools/train.py configs/synthetic/lidar_teacher.py --resume            go on after a kill, at the very step
  python tools/train.py configs/synthetic/lidar_teacher.py \\
      --cfg-options train_cfg.max_epochs=4 optim_wrapper.optimizer.lr=2e-4
  python tools/train.py mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d \\
      --data-root data/nuscenes                                            a config that an installed package ships
  torchrun --nproc_per_node 4 tools/train.py configs/synthetic/lidar_teacher.py --launcher pytorch
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a file, or PACKAGE::PATH for a config that an installed package ships")
    parser.add_argument("--work-dir", help="where checkpoints and logs go (default: work_dirs/CONFIG_NAME)")
    parser.add_argument(
        "--data-root",
        help="nuScenes folder with its infos: rewrites every path of the config below its own data_root, takes the "
        "version that the folder has, and leaves ObjectSample out when there is no ground-truth database",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision (needs a GPU)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from a checkpoint (default: the latest of the work dir)",
    )
    parser.add_argument("--seed", type=int, help="seed of weights, sample order and augmentation")
    parser.add_argument(
        "--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="change config keys; +KEY=VALUE adds one"
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    from bevkd.engine import build_runner, load_config
    from bevkd.engine.config import apply_flags, parse_options

    cfg = load_config(args.config, parse_options(args.cfg_options))
    apply_flags(cfg, work_dir=args.work_dir, data_root=args.data_root, launcher=args.launcher, seed=args.seed)
    apply_flags(cfg, amp=args.amp, resume=args.resume)
    build_runner(cfg).train()


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
