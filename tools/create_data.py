"""Make a synthetic data set, the info files of a real or synthetic one, or a small folder of images."""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EPILOG = """examples:
  python tools/create_data.py synthetic data/synthetic --frames 16 --image-size 128 352
  python tools/create_data.py synthetic data/synthetic_waymo --format waymo --frames 20
  python tools/create_data.py nuscenes data/synthetic
  python tools/create_data.py nuscenes data/nuscenes --version v1.0-trainval --out-dir data/infos
  python tools/create_data.py nuscenes data/nuscenes --splits my_train my_val
  python tools/create_data.py nuscenes data/nuscenes --sensors lidar --max-sweeps 0
  python tools/create_data.py waymo data/waymo
  python tools/create_data.py digits data/digits
"""


def parse_args() -> argparse.Namespace:
    """The subcommands and their flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    world = commands.add_parser(
        "synthetic",
        help="write a synthetic data set",
        description="Write a synthetic world as a genuine nuScenes mini or Waymo v2 folder: same seed, same bytes.",
        epilog="example: python tools/create_data.py synthetic data/synthetic --frames 16 --image-size 128 352",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    world.add_argument("root", type=Path, help="folder to create")
    world.add_argument("--format", choices=("nuscenes", "waymo"), default="nuscenes", help="whose files to write")
    world.add_argument("--seed", type=int, default=0, help="same seed, same bytes")
    world.add_argument("--frames", type=int, default=20, help="frames a scene: two a second (nuscenes), ten (waymo)")
    world.add_argument(
        "--sweeps", type=int, default=0, help="nuscenes: LiDAR sweeps before each key frame, 50 ms apart (0 to 9)"
    )
    world.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        default=argparse.SUPPRESS,
        metavar=("H", "W"),
        help="camera images: multiples of 16, default 256 704 (nuscenes); default 320 480 (waymo)",
    )
    world.add_argument(
        "--scenes",
        nargs="+",
        default=None,
        metavar="N|NAME",
        help="first N training scenes and both of validation, or names (default: all ten)",
    )
    world.add_argument(
        "--azimuths",
        type=int,
        default=argparse.SUPPRESS,
        help="LiDAR steps per turn: default 1084 (nuscenes), 1060 (waymo; the real cars have 2650)",
    )
    world.add_argument("--beams", type=int, default=64, help="waymo: rows of the roof LiDAR's range image")
    world.add_argument("--workers", type=int, default=2, help="threads; never changes the result")
    world.add_argument("--version", default="v1.0-mini", help="nuscenes: name of the tables' folder")
    world.add_argument("--overwrite", action="store_true", help="replace an existing synthetic set (nothing else ever)")
    add_nuscenes(commands)
    add_waymo(commands)
    digits = commands.add_parser(
        "digits",
        help="write handwritten digits as folders of images",
        description="Write scikit-learn's 1,797 handwritten digits as train and val folders of one folder a class.",
        epilog="example: python tools/create_data.py digits data/digits",
    )
    digits.add_argument("root", type=Path, help="folder to create")
    return parser.parse_args()


def add_nuscenes(commands: argparse._SubParsersAction) -> None:
    """The flags of ``nuscenes``."""
    infos = commands.add_parser(
        "nuscenes",
        help="write mmdet3d info files of a nuScenes folder",
        description="Write nuscenes_infos_train.pkl and nuscenes_infos_val.pkl in mmdet3d's v1.1 schema. A part of the "
        "download is enough: a sensor, sweeps or scenes of which no file is there are left out, and named at the end. "
        "Anything else that is missing is refused.",
        epilog="example: python tools/create_data.py nuscenes data/nuscenes --version v1.0-trainval",
    )
    infos.add_argument("root", type=Path, help="nuScenes folder that holds the tables' folder and samples")
    infos.add_argument("--version", default="v1.0-mini", help="tables' folder under root (default: %(default)s)")
    infos.add_argument("--out-dir", type=Path, help="where to write (default: root)")
    infos.add_argument(
        "--splits",
        nargs="+",
        metavar="NAME",
        help="official splits, or those of VERSION/splits.json, each as nuscenes_infos_NAME.pkl (default: train and "
        "val, or test, by version)",
    )
    infos.add_argument("--sensors", nargs="+", choices=("lidar", "camera"), help="default: those that are there")
    infos.add_argument(
        "--max-sweeps",
        type=int,
        metavar="N",
        help="list N earlier sweeps per key frame (default: 10, or none where no sweep is there)",
    )
    infos.add_argument(
        "--skip-missing-scenes",
        action="store_true",
        help="leave out scenes with missing or truncated files instead of refusing them",
    )


def add_waymo(commands: argparse._SubParsersAction) -> None:
    """The flags of ``waymo``."""
    from bevkd.datasets.waymo.names import SPLITS

    waymo = commands.add_parser(
        "waymo",
        help="convert a Waymo v2 (Parquet) folder",
        description="Write points, images and waymo_infos_<split>.pkl (mmdet3d's v1.1 schema) of a Waymo Open Dataset "
        "v2 folder. Called again, it goes on after the last finished segment.",
        epilog="example: python tools/create_data.py waymo data/waymo --splits validation",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    waymo.add_argument("root", type=Path, help=f"folder with {', '.join(SPLITS)}, or some of them")
    waymo.add_argument("--out-dir", type=Path, default=None, help="where to write (default: root)")
    waymo.add_argument("--splits", nargs="+", choices=tuple(SPLITS), default=None,
                       help="default: all that are there")  # fmt: skip
    waymo.add_argument("--workers", type=int, default=2, help="processes")
    waymo.add_argument("--every", type=int, default=1, metavar="N",
                       help="take every N-th of the ten frames a second (5 is customary for training)")  # fmt: skip


def read_scenes(words: list[str] | None) -> int | list[str] | None:
    """--scenes as ``create`` takes it: None, a number, or names."""
    if words is not None and len(words) == 1 and words[0].lstrip("-").isdigit():
        return int(words[0])
    return words


def make_world(args: argparse.Namespace) -> Path:
    """Write the synthetic set in the format asked for."""
    options = {name: vars(args)[name] for name in ("azimuths",) if name in args}
    if "image_size" in args:
        options["image_size"] = tuple(args.image_size)
    for name in ("seed", "frames", "workers", "overwrite"):
        options[name] = vars(args)[name]
    options["scenes"] = read_scenes(args.scenes)
    if args.format == "waymo":
        from bevkd.datasets.synthetic.waymo_create import create_waymo

        return create_waymo(args.root, beams=args.beams, **options)
    from bevkd.datasets.synthetic import create

    return create(args.root, sweeps=args.sweeps, version=args.version, **options)


def main() -> None:
    """Run the subcommand."""
    args = parse_args()
    notes: list[str] = []
    if args.command == "synthetic":
        print(f"wrote {make_world(args)}")
        return
    if args.command == "digits":
        from bevkd.tasks.classification.samples import write_digits

        print(f"wrote {write_digits(args.root)}")
        return
    if args.command == "waymo":
        from bevkd.datasets.waymo.convert import convert

        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        written = convert(args.root, args.out_dir, args.splits, args.workers, every=args.every)
    else:
        from bevkd.datasets.infos import create_infos

        written = create_infos(
            args.root, args.version, args.out_dir, args.max_sweeps, splits=args.splits, sensors=args.sensors,
            skip_damaged=args.skip_missing_scenes, log=notes.append,
        )  # fmt: skip
    for path in written.values():
        print(f"wrote {path}")
    for note in notes:
        print(note)


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
