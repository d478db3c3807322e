"""KITTI overlaps without CUDA: those of mmdet3d's kernel, run by numba's simulator, and served in its place."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bevkd.evaluation.kitti_overlaps import rotated_overlaps

SIMULATED = """
import importlib.util, sys
import numpy as np
found = importlib.util.find_spec("mmdet3d")
path = found.submodule_search_locations[0] + "/evaluation/functional/kitti_utils/rotate_iou.py"
spec = importlib.util.spec_from_file_location("rotate_iou", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
boxes = np.load(sys.argv[1])
np.savez(sys.argv[2], **{f"c{c}": module.rotate_iou_gpu_eval(boxes["boxes"], boxes["query"], c) for c in (-1, 0, 1, 2)})
"""


def draw(count: int, seed: int) -> np.ndarray:
    """Boxes within 3 m of each other: x, z, length, width, angle."""
    rng = np.random.default_rng(seed)
    columns = (rng.uniform(-1.5, 1.5, (count, 2)), rng.uniform(1, 5, (count, 2)), rng.uniform(-4, 4, (count, 1)))
    return np.hstack(columns)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Boxes, query boxes and what mmdet3d's own kernel makes of them by criterion."""
    folder = tmp_path_factory.mktemp("overlaps")
    boxes, query = draw(7, 0), draw(5, 1)
    np.savez(folder / "boxes.npz", boxes=boxes, query=query)
    subprocess.run(
        [sys.executable, "-c", SIMULATED, folder / "boxes.npz", folder / "out.npz"],
        check=True, timeout=120, env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
    )  # fmt: skip
    return boxes, query, np.load(folder / "out.npz")


@pytest.mark.parametrize("criterion", [-1, 0, 1, 2])
def test_overlaps_are_those_of_the_kernel(kernels, criterion):
    boxes, query, expected = kernels
    found = rotated_overlaps(boxes, query, criterion)
    assert found.dtype == np.float32
    assert (found > 0.05).sum() > 10
    np.testing.assert_allclose(found, expected[f"c{criterion}"], atol=2e-5, rtol=2e-5)


def test_a_turned_box_by_hand():
    # A 2 x 1 box turned by pi/2 clockwise shares a unit square with itself.
    boxes, query = np.array([[0.0, 0, 2, 1, 0]]), np.array([[0.0, 0, 2, 1, np.pi / 2], [0.0, 0, 4, 4, 0]])
    np.testing.assert_allclose(rotated_overlaps(boxes, query), [[1 / 3, 1 / 8]], rtol=1e-6)
    np.testing.assert_allclose(rotated_overlaps(boxes, query, 0), [[1 / 2, 1 / 8]], rtol=1e-6)
    np.testing.assert_allclose(rotated_overlaps(boxes, query, 1), [[1 / 2, 1]], rtol=1e-6)
    np.testing.assert_allclose(rotated_overlaps(boxes, query, 2), [[1, 2]], rtol=1e-6)
    assert rotated_overlaps(boxes[:0], query).shape == (0, 2)


def frame(boxes: list, scores: list | None = None) -> dict:
    """A KITTI annotation of cars in the camera's frame: x, y (bottom), z, length, height, width, yaw."""
    boxes = np.array(boxes, dtype=float).reshape(-1, 7)
    count = len(boxes)
    annotation = {
        "name": np.array(["Car"] * count), "truncated": np.zeros(count), "occluded": np.zeros(count, int),
        "alpha": np.zeros(count), "bbox": np.tile([100.0, 100, 300, 200], (count, 1)), "location": boxes[:, :3],
        "dimensions": boxes[:, 3:6], "rotation_y": boxes[:, 6],
    }  # fmt: skip
    return annotation if scores is None else {**annotation, "score": np.array(scores)}


def test_mmdet3ds_kitti_scores_run_on_any_machine():
    pytest.importorskip("mmdet3d")
    from mmdet3d.evaluation.functional.kitti_utils import kitti_eval

    truth = [frame([[2 * i, 1.6, 20, 4, 1.5, 1.8, 0.3]]) for i in range(20)]
    hit = [frame([[2 * i, 1.6, 20, 4, 1.5, 1.8, 0.3]], [0.9]) for i in range(20)]
    far = [frame([[2 * i, 1.6, 24, 4, 1.5, 1.8, 0.3]], [0.9]) for i in range(20)]
    key, kinds = "KITTI/Car_3D_AP40_moderate_strict", ["bbox", "bev", "3d"]
    assert (
        kitti_eval(truth, hit, ["Car"], eval_types=kinds)[1][key] > 40
    )  # at twenty boxes not all of its 40 recalls exist
    assert kitti_eval(truth, far, ["Car"], eval_types=kinds)[1][key] == 0
