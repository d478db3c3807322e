"""Write a trained student alone: no teacher, no adapters, nothing of the distillation."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLE = """\
examples:
  python tools/export_student.py configs/synthetic/unidistill_lidar_to_camera.py work_dirs/distilled/epoch_3.pth \\
      --out work_dirs/student --format checkpoint safetensors onnx
  python tools/test.py work_dirs/student/student.py work_dirs/student/student.pth      what was written, scored
ONNX (extra: pip install 'bevkd[onnx]') takes image classifiers for one size of image, pillar students behind their
voxelization, and lift-splat students for one fixed set of cameras: that of the first test sample, or that of --cameras
FILE, JSON with lidar2img [N, 4, 4] and image_size [H, W].
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="of the distiller or of the student: a file, or PACKAGE::PATH")
    parser.add_argument("checkpoint", help="of the distiller or of the student")
    parser.add_argument("--out", required=True, help="folder for student.py, student.pth and so on")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=("checkpoint", "safetensors", "onnx"),
        default=["checkpoint", "safetensors"],
        help="what to write beside student.py (default: checkpoint safetensors)",
    )
    parser.add_argument("--cameras", metavar="FILE", help="JSON with a camera student's geometry, for onnx")
    parser.add_argument("--data-root", help="nuScenes folder with its infos, see tools/train.py")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="see tools/train.py")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from functools import partial

    from bevkd.engine import load_config, register_all
    from bevkd.engine.config import apply_flags, parse_options
    from bevkd.engine.export import export_student
    from bevkd.engine.export.student import file_cameras
    from bevkd.structures.quiet import only_warnings

    only_warnings()
    cfg = load_config(args.config, parse_options(args.cfg_options))
    if cfg.get("default_scope") != "bevkd":  # which finds its parts without mmdet3d
        register_all()
    apply_flags(cfg, data_root=args.data_root)
    cameras = partial(file_cameras, args.cameras) if args.cameras else None
    export_student(cfg, args.checkpoint, args.out, args.format, cameras)


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
