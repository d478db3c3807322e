"""Time the Waymo evaluation over growing numbers of frames: matching and scores alone, and with the files before it.

The frames are drawn: boxes of three types within 75 m, four of five predictions near a ground truth, the rest anywhere.

Example:
    python tools/benchmark_waymo.py --frames 1000 4000 16000 --threads 2
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevkd.errors import run_tool

SIZES = {1: (4.7, 2.1, 1.7), 2: (0.9, 0.9, 1.8), 4: (1.8, 0.8, 1.8)}  # m, by Waymo type


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", nargs="+", type=int, default=(1000, 4000, 16000), help="default: 1000 4000 16000")
    parser.add_argument("--predictions", type=int, default=50, help="of each frame (default: %(default)s)")
    parser.add_argument("--ground-truths", type=int, default=50, help="of each frame (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--no-files", action="store_true", help="leave out writing and reading the .bin files")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def draw(frames: int, predictions: int, truths: int, seed: int = 0):
    """Predictions and ground truth of ``frames`` frames."""
    import numpy as np

    from bevkd.evaluation.waymo_metrics.objects import FrameKey, Objects

    rng = np.random.default_rng(seed)
    keys = [FrameKey(f"segment-{i // 200:05d}", 0, 1_550_000_000_000_000 + i * 100_000) for i in range(frames)]
    types = rng.choice(list(SIZES), (frames, truths), p=(0.5, 0.4, 0.1))
    boxes = np.empty((frames, truths, 7))
    boxes[..., :3] = rng.uniform((-75, -75, 0), (75, 75, 2), (frames, truths, 3))
    boxes[..., 3:6] = np.array([SIZES.get(kind, (0, 0, 0)) for kind in range(5)])[types]
    boxes[..., 3:6] *= rng.uniform(0.8, 1.2, (frames, truths, 3))
    boxes[..., 6] = rng.uniform(-np.pi, np.pi, (frames, truths))
    source = rng.integers(0, truths, (frames, predictions))
    row = np.arange(frames)[:, None]
    found = boxes[row, source] + rng.normal(0, (0.15, 0.15, 0.05, 0.1, 0.05, 0.05, 0.1), (frames, predictions, 7))
    lost = rng.random((frames, predictions)) < 0.2
    found[..., :2] = np.where(lost[..., None], rng.uniform(-75, 75, (frames, predictions, 2)), found[..., :2])
    found[..., 3:6] = np.maximum(found[..., 3:6], 0.1)
    scores = rng.random((frames, predictions)) * np.where(lost, 0.6, 1)
    return (
        Objects.from_arrays(
            found.reshape(-1, 7), types[row, source].ravel(), np.repeat(np.arange(frames), predictions),
            scores=scores.ravel(), keys=keys,
        ),
        Objects.from_arrays(
            boxes.reshape(-1, 7), types.ravel(), np.repeat(np.arange(frames), truths),
            points=rng.integers(1, 200, frames * truths), keys=keys,
        ),
    )  # fmt: skip


def measure(frames: int, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of each stage, and the most memory that the process has held so far."""
    from bevkd.evaluation.files import write_whole
    from bevkd.evaluation.waymo import evaluate
    from bevkd.evaluation.waymo_metrics.object_files import read_objects, write_chunks

    sides = draw(frames, args.predictions, args.ground_truths)
    figures: dict[str, float] = {"frames": frames}
    if not args.no_files:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            paths = [write_whole(Path(folder) / f"{n}.bin", write_chunks(side)) for n, side in enumerate(sides)]
            figures["write_s"] = time.perf_counter() - start
            start = time.perf_counter()
            sides = tuple(map(read_objects, paths))
            figures["read_s"] = time.perf_counter() - start
    start = time.perf_counter()
    scores = evaluate(*sides)
    figures["evaluate_s"] = time.perf_counter() - start
    figures["evaluate_ms_per_frame"] = 1000 * figures["evaluate_s"] / frames
    figures["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures["vehicle_ap"] = scores["OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1/AP"]
    return figures


def main() -> None:
    args = parse_args()
    import torch

    from bevkd.evaluation.files import write_json

    torch.set_num_threads(args.threads)
    rows = []
    for frames in sorted(args.frames):
        rows.append(measure(frames, args))
        if len(rows) == 1:
            print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in rows[-1].values()]
        print("| " + " | ".join(cells) + " |", flush=True)
    if args.json is not None:
        setting = {name: getattr(args, name) for name in ("predictions", "ground_truths", "threads")}
        write_json({**setting, "rows": rows}, args.json)


if __name__ == "__main__":
    run_tool(main)
