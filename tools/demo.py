"""The main job from nothing: a LiDAR detector teaches a camera detector, and the nuScenes devkit scores the result."""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXAMPLE = """\
examples:
  python tools/demo.py                                  about eight minutes on two cores
  python tools/demo.py --out work_dirs/seed1 --seed 1   another world, other weights
A demo that was stopped goes on where it was; finished parts are not made again.
"""
TEACHER, PLAIN, TAUGHT = "LiDAR teacher", "camera student", "camera student, taught"
RECIPES = {
    TEACHER: "configs/synthetic/lidar_teacher.py",
    PLAIN: "configs/synthetic/camera_student.py",
    TAUGHT: "configs/synthetic/unidistill_lidar_to_camera.py",
}
START = ("+model.init_from_teacher.bev_encoder=bev_encoder", "+model.init_from_teacher.head=head")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"), help="folder for world, runs and report")
    parser.add_argument("--seed", type=int, default=0, help="seed of the world and of all three trainings")
    parser.add_argument("--frames", type=int, default=36, help="key frames in each of the ten scenes")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="for all three trainings")
    return parser.parse_args()


def make_world(args: argparse.Namespace) -> Path:
    """The synthetic world with its infos; a finished one is used again."""
    from bevkd.engine import compare

    root = args.out / f"world_seed{args.seed}_{args.frames}frames"
    print(f"world: {root}", flush=True)
    return compare.make_world(root, {"seed": args.seed, "frames": args.frames, "image_size": (128, 352)})


def train(name: str, world: Path, args: argparse.Namespace, teacher: Path | None = None) -> dict:
    """Train and score one recipe, or go on with it, unless that is done already; its row of the table."""
    from bevkd.engine.compare import Job, read_result
    from bevkd.engine.compare.job import require_settings
    from bevkd.engine.compare.run import start_job
    from bevkd.engine.config import parse_options

    work_dir = args.out / Path(RECIPES[name]).stem
    words = [*args.cfg_options, *(START if teacher else ())]
    options, root = parse_options(words), str(world)
    job = Job(name, str(work_dir), RECIPES[name], args.seed, options, root, teacher=teacher and str(teacher))
    if read_result(work_dir) is not None:
        require_settings(job)
        print(f"\n{name}: finished before, see {work_dir} (remove it to train again)")
    else:
        weights = [f"model.teacher.checkpoint={read_result(teacher)['checkpoint']}"] if teacher else []
        print(f"\n{name}, as by: {by_hand(job, [*words, *weights])}", flush=True)
        finish(start_job(job))
    result = read_result(work_dir)
    row = {"name": name, "work_dir": work_dir, "checkpoint": result["checkpoint"], "step_time": result["step_s"]}
    return {**row, **result["seen"]}


def by_hand(job, options: list[str]) -> str:
    """The command that trains the same."""
    words = ["python", "tools/train.py", job.config, "--work-dir", job.work_dir, "--data-root", job.data_root]
    return shlex.join([*words, "--seed", str(job.seed), *(["--cfg-options", *options] if options else [])])


def finish(process: subprocess.Popen) -> None:
    """Wait for a training; the demo ends with it when it fails or the user stops the demo."""
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        code = process.wait()
    if code:
        print(f"error: the training ended with exit code {code}; `make demo` goes on from there", file=sys.stderr)
        sys.exit(code)


def report(rows: list[dict], world: Path, args: argparse.Namespace) -> None:
    """Pictures of one validation sample, loss curves and the table, printed and as a folder."""
    from rich.console import Console

    from bevkd.visualization.curves import draw_curves
    from bevkd.visualization.gallery import draw_gallery
    from bevkd.visualization.inspect import inspect_sample
    from bevkd.visualization.report import rich_table, verdicts, write_report

    out = args.out / "report"
    seen = {
        row["name"]: inspect_sample(RECIPES[row["name"]], row["checkpoint"], 0, data_root=world, min_score=0.35)
        for row in rows
    }
    gallery = draw_gallery(seen, out)
    curves = draw_curves({row["name"]: row["work_dir"] for row in rows}, out / "loss_curves.png")
    notes = [
        f"Made by `python tools/demo.py --seed {args.seed} --frames {args.frames}` on {os.cpu_count()} cores.",
        "Both students: the same seed, sample order, augmentation and schedule. The taught one begins with the "
        "teacher's bird's-eye-view encoder and head and learns with UniDistill's losses; all else begins alike.",
        "Scores: nuscenes-devkit, detection_cvpr_2019, on the two mini_val scenes of the synthetic world.",
        *gallery.notes,
    ]
    path = write_report(out, rows, {**gallery.pictures, "Loss curves": curves}, notes, title="bevkd demo")
    console = Console()
    console.print()
    console.print(rich_table(rows))
    for sentence in verdicts(rows):
        console.print(sentence.replace("**", ""))
    print(f"\nreport: {path}")


def main() -> None:
    args = parse_args()
    start = time.monotonic()
    world = make_world(args)
    teacher = train(TEACHER, world, args)
    plain = train(PLAIN, world, args)
    taught = train(TAUGHT, world, args, teacher=teacher["work_dir"])
    report([teacher, plain, taught], world, args)
    print(f"demo: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    from bevkd.errors import run_tool

    run_tool(main)
