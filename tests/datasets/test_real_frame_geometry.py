"""Real points through our geometry: they must fall into the annotated image boxes of their objects."""

# ruff: noqa: NPY002  (transforms draw from numpy's global generator, which mmengine seeds)

import cv2
import numpy as np
import pytest

from bevkd.datasets.constants import CAMERAS

pytestmark = pytest.mark.real_frame
AUGMENT = {"resize": (0.9, 1.2), "rotate": (-5.4, 5.4), "flip": True}


def annotated(frame):
    """(camera index, 3D box row, image box) of every image box whose 3D box is found in the LiDAR frame."""
    boxes = np.array([instance["bbox_3d"] for instance in frame.info["instances"]])
    found = []
    for index, name in enumerate(CAMERAS):
        cam2lidar = np.linalg.inv(np.array(frame.info["images"][name]["lidar2cam"]))
        for record in frame.info["cam_instances"][name]:
            # camera boxes hold the bottom centre here; height is along y, which points down
            x, y, z = record["bbox_3d"][:3]
            gaps = [
                np.linalg.norm(boxes[:, :3] - (cam2lidar @ [x, y + shift, z, 1])[:3], axis=1)
                for shift in (0.0, -record["bbox_3d"][4] / 2)
            ]
            gap = min(gaps, key=np.min)
            if gap.min() < 0.2:
                found.append((index, boxes[gap.argmin()], np.array(record["bbox"])))
    return found


def inside(points, box):
    """Mask of the points ``[N, 3]`` within a box x, y, z (gravity centre), dx, dy, dz, yaw."""
    shift = points - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    local = np.column_stack([shift[:, 0] * cos + shift[:, 1] * sin, shift[:, 1] * cos - shift[:, 0] * sin, shift[:, 2]])
    return (np.abs(local) <= box[3:6] / 2).all(axis=1)


def hits(frame, packed, cloud):
    """Share of the objects' points that fall into their image boxes, and how many points there were.

    ``cloud`` are the points ``[N, 3]`` as they left the pipeline, row for row those of the file.
    """
    raw = np.fromfile(frame.root / frame.info["lidar_points"]["lidar_path"], np.float32).reshape(-1, 5)[:, :3]
    matrices = packed.metainfo["lidar2img"]
    right = total = 0
    for camera, box, (x1, y1, x2, y2) in annotated(frame):
        original = (
            np.array(frame.info["images"][CAMERAS[camera]]["cam2img"])
            @ np.array(frame.info["images"][CAMERAS[camera]]["lidar2cam"])[:3]
        )
        rows = np.flatnonzero(inside(raw, box))
        seen = np.column_stack([raw[rows], np.ones(len(rows))]) @ original.T
        pixels = seen[:, :2] / seen[:, 2:]
        # points on the stored image: an object may stand across its border
        rows = rows[(seen[:, 2] > 0) & (pixels >= 0).all(axis=1) & (pixels < (1600, 900)).all(axis=1)]
        ours = np.column_stack([cloud[rows], np.ones(len(rows))]) @ matrices[camera].T
        uv = ours[:, :2] / ours[:, 2:3]
        # the annotated image box, carried by the affine part that the image itself went through
        corners = np.array([(x1, y1, 1), (x2, y1, 1), (x2, y2, 1), (x1, y2, 1)]) @ _image_map(frame, packed, camera).T
        right += (_in_quadrilateral(uv, corners[:, :2]) & (ours[:, 2] > 0)).sum()
        total += len(rows)
    return right / total, total


def _image_map(frame, packed, camera):
    """``[3, 3]`` stored pixels to network pixels, read off ``lidar2img`` (and the world's own motion)."""
    record = frame.info["images"][CAMERAS[camera]]
    cam2img = np.eye(4)
    cam2img[:3, :3] = record["cam2img"]
    original = cam2img @ np.array(record["lidar2cam"])
    world = packed.metainfo.get("bev_matrix", np.eye(4))
    return (packed.metainfo["lidar2img"][camera] @ world @ np.linalg.inv(original))[:3, :3]


def _in_quadrilateral(points, corners, margin=0.5):
    """Inside a convex quadrilateral, within half a pixel."""
    edges = np.roll(corners, -1, axis=0) - corners
    orientation = np.sign(edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0])
    result = np.ones(len(points), dtype=bool)
    for corner, edge in zip(corners, edges):
        shift = points - corner
        result &= orientation * (edge[0] * shift[:, 1] - edge[1] * shift[:, 0]) >= -margin * np.linalg.norm(edge)
    return result


def run(frame, *steps, **camera):
    captured = {}

    def keep(results):
        captured["points"] = results["points"].tensor[:, :3].numpy().astype(np.float64)
        return results

    pipeline = [{"type": "LoadSweeps", "remove_close": 0.0}, {"type": "LoadCameras", **{"size": (256, 704), **camera}},
                *steps, keep, {"type": "PackBEV"}]  # fmt: skip
    return frame.dataset(pipeline)[0]["data_samples"], captured["points"]


def test_points_fall_into_image_boxes(real_frame_infos):
    share, total = hits(real_frame_infos, *run(real_frame_infos))
    assert total > 1000
    assert share >= 0.95


@pytest.mark.parametrize("seed", range(3))
def test_points_fall_into_image_boxes_under_augmentation(real_frame_infos, seed):
    np.random.seed(seed)
    share, total = hits(real_frame_infos, *run(real_frame_infos, {"type": "BEVAugment"}, augment=AUGMENT))
    assert total > 1000
    assert share >= 0.95


def test_the_image_itself_went_through_the_same_map(real_frame_infos):
    """The stored image, warped by the map read off ``lidar2img``, is the network's image; shifted, it is not."""
    np.random.seed(0)
    packed = real_frame_infos.dataset(
        [{"type": "LoadCameras", "size": (256, 704), "augment": AUGMENT}, {"type": "PackBEV"}]
    )[0]
    for index, name in enumerate(CAMERAS):
        stored = cv2.imread(str(real_frame_infos.root / real_frame_infos.info["images"][name]["img_path"]))
        stored = cv2.cvtColor(cv2.GaussianBlur(stored, (5, 5), 0), cv2.COLOR_BGR2RGB)
        loaded = packed["inputs"]["img"][index].permute(1, 2, 0).numpy().astype(np.float64)
        affine = _image_map(real_frame_infos, packed["data_samples"], index)
        differences = []
        for shift in (0.0, 1.5):
            affine_shifted = affine + shift * np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]])
            warped = cv2.warpAffine(stored, affine_shifted[:2], (704, 256))
            differences.append(np.abs(warped - loaded).mean())
        assert differences[0] < 0.6 * differences[1], (name, differences)


def test_a_wrong_frame_is_noticed(real_frame_infos):
    sample, points = run(real_frame_infos)
    share, _ = hits(real_frame_infos, sample, points @ np.diag([-1.0, 1.0, 1.0]))
    assert share < 0.5


def test_pixels_agree_with_the_devkit(real_frame_infos):
    """Without resizing, the projection is ``view_points`` of the devkit."""
    from nuscenes.utils.geometry_utils import view_points

    sample, points = run(real_frame_infos, size=(900, 1600))
    for index, name in enumerate(CAMERAS):
        record = real_frame_infos.info["images"][name]
        lidar2cam = np.array(record["lidar2cam"])
        expected = view_points(lidar2cam[:3, :3] @ points.T + lidar2cam[:3, 3:], np.array(record["cam2img"]), True)
        ours = np.column_stack([points, np.ones(len(points))]) @ sample.metainfo["lidar2img"][index].T
        np.testing.assert_allclose(ours[:, :2] / ours[:, 2:3], expected[:2].T, rtol=1e-6, atol=1e-4)
