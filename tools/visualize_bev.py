"""Show what a model sees: BEV features, camera views and a 3D scene of one sample, for one model or several."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLE = """\
examples:
  python tools/visualize_bev.py configs/synthetic/lidar_teacher.py work_dirs/teacher/epoch_20.pth --index 3
  python tools/visualize_bev.py TEACHER.py TEACHER.pth --compare PLAIN.py PLAIN.pth --compare KD.py KD.pth \\
      --names "LiDAR teacher" "camera student" "camera + UniDistill" --open3d --out work_dirs/pictures
  python tools/visualize_bev.py mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class W.pth --data-root data/kitti

With --compare the first model is the teacher: below each other model stands its distance to the teacher's features.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a file, or PACKAGE::PATH for a config that an installed package ships")
    parser.add_argument("checkpoint", help="its weights; a distiller's checkpoint gives the student's")
    parser.add_argument(
        "--compare", nargs=2, action="append", default=[], metavar=("CONFIG", "CHECKPOINT"), help="one more model"
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="a title for each model (default: config names)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--index", type=int, default=0, help="position in the first config's test data set")
    which.add_argument("--token", help="sample token, in place of --index")
    parser.add_argument("--data-root", help="nuScenes folder with its infos, in place of the configs' own")
    parser.add_argument("--tap", choices=("high", "low"), default="high", help="map out of the BEV encoder, or into it")
    parser.add_argument(
        "--taps", nargs="*", action="append", default=[], metavar="NAME=PATH",
        help="module paths of low, high and head, where a model does not tell; give it again for each --compare",
    )  # fmt: skip
    parser.add_argument("--min-score", type=float, default=0.3, help="leave out predictions below this score")
    parser.add_argument("--open3d", action="store_true", help="draw the 3D scene with Open3D where it works")
    parser.add_argument("--device", default="cpu", help="where the models run, e.g. cuda")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/pictures"), help="folder for the pictures")
    return parser.parse_args()


def titles(args: argparse.Namespace, configs: list[str]) -> list[str]:
    from bevkd.errors import ConfigError

    names = args.names or [Path(config.split("::")[-1]).stem for config in configs]
    if len(names) != len(configs):
        raise ConfigError(f"--names has {len(names)} titles for {len(configs)} models, expected one each")
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def read_taps(given: list[list[str]], models: int) -> list[dict[str, str]]:
    """--taps by model, empty where it was not given."""
    from bevkd.errors import ConfigError

    if len(given) > models:
        raise ConfigError(f"--taps is given {len(given)} times for {models} models, expected once each at most")
    for word in (word for words in given for word in words):
        if "=" not in word:
            raise ConfigError(f"--taps has {word!r}, expected NAME=PATH such as high=pts_neck")
    taps = [dict(word.split("=", 1) for word in words) for words in given]
    return taps + [{}] * (models - len(given))


def main() -> None:
    args = parse_args()
    models = [(args.config, args.checkpoint), *args.compare]
    names = titles(args, [config for config, _ in models])
    taps = read_taps(args.taps, len(models))
    from bevkd.structures.quiet import only_warnings
    from bevkd.visualization.gallery import draw_gallery
    from bevkd.visualization.inspect import inspect_sample

    only_warnings()
    inspections, token = {}, args.token
    for name, (config, checkpoint), words in zip(names, models, taps, strict=True):
        inspections[name] = inspect_sample(
            config, checkpoint, args.index, token=token, taps=words,
            data_root=args.data_root, min_score=args.min_score, device=args.device,
        )  # fmt: skip
        token = inspections[name].token
    gallery = draw_gallery(inspections, args.out, tap=args.tap, open3d=args.open3d)
    for note in gallery.notes:
        print(f"note: {note}")
    print(f"sample {token}")
    for caption, path in gallery.pictures.items():
        print(f"{path}  {caption}")


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
