"""Camera mosaics: order of the views, boxes where they project to, and refusals."""

import numpy as np
import pytest
from PIL import Image

from bevkd.errors import DataError
from bevkd.visualization.cameras import CAMERAS, GAP, LEGEND_HEIGHT, MOSAIC, TILE_WIDTH, draw_cameras
from bevkd.visualization.style import CLASS_COLOURS

HEIGHT, WIDTH = 128, 352
TILE_HEIGHT = TILE_WIDTH * HEIGHT // WIDTH


def rig() -> np.ndarray:
    """Six cameras at the origin, turned about z; focal length 200 pixels, looking along +y for CAM_FRONT."""
    degrees = {"FRONT": 0, "FRONT_RIGHT": -60, "FRONT_LEFT": 60, "BACK": 180, "BACK_LEFT": 120, "BACK_RIGHT": -120}
    intrinsics = np.array([[200.0, 0, 175.5, 0], [0, 200, 63.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    matrices = []
    for name in CAMERAS:
        angle = np.radians(degrees[name.removeprefix("CAM_")])
        ahead = np.array([-np.sin(angle), np.cos(angle), 0])
        turn = np.eye(4)
        turn[:3, :3] = np.stack((np.array([ahead[1], -ahead[0], 0]), [0, 0, -1], ahead))
        matrices.append(intrinsics @ turn)
    return np.stack(matrices)


def images() -> list[np.ndarray]:
    return [np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8) for i in range(6)]


def read(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def tile(picture: np.ndarray, camera: str) -> np.ndarray:
    row, column = divmod(MOSAIC.index(camera), 3)
    top, left = GAP + row * (TILE_HEIGHT + GAP), GAP + column * (TILE_WIDTH + GAP)
    return picture[top : top + TILE_HEIGHT, left : left + TILE_WIDTH]


def is_colour(pixels: np.ndarray, colour: str, tolerance: int = 40) -> np.ndarray:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(pixels - wanted) <= tolerance).all(-1)


def test_views_stand_in_the_order_of_a_driver(tmp_path):
    picture = read(draw_cameras(images(), rig(), np.zeros((0, 7)), path=tmp_path / "c.png"))
    assert picture.shape == (2 * (TILE_HEIGHT + GAP) + GAP + LEGEND_HEIGHT, 3 * TILE_WIDTH + 4 * GAP, 3)
    for index, camera in enumerate(CAMERAS):
        assert tile(picture, camera)[TILE_HEIGHT // 2, TILE_WIDTH // 2].tolist() == [40 * index] * 3


def test_box_is_drawn_where_it_projects(tmp_path):
    # 2 x 2 x 2 m, its near face 10 m ahead: that face covers u 155.5 to 195.5 and v 43.5 to 83.5.
    box = np.array([[0.0, 11, -1, 2, 2, 2, np.pi / 2]])
    plain = read(draw_cameras(images(), rig(), np.zeros((0, 7)), path=tmp_path / "plain.png"))
    drawn = read(draw_cameras(images(), rig(), box, names=["car"], path=tmp_path / "box.png"))
    front = is_colour(tile(drawn, "CAM_FRONT"), CLASS_COLOURS["car"])
    rows, columns = np.nonzero(front)
    scale = TILE_WIDTH / WIDTH
    expected = [(155.5 + 0.5) * scale, (195.5 + 0.5) * scale, (43.5 + 0.5) * scale, (83.5 + 0.5) * scale]
    found = [columns.min(), columns.max(), rows.min(), rows.max()]
    np.testing.assert_allclose(found, expected, atol=4)
    for camera in CAMERAS[1:]:
        assert (tile(plain, camera) == tile(drawn, camera)).all(), camera


def test_box_beside_the_camera_plane_is_cut_not_mirrored(tmp_path):
    # A bus that passes on the right, from 8 m behind to 8 m ahead.
    bus = np.array([[4.0, 0, -1.5, 16, 3, 3, np.pi / 2]])
    drawn = read(draw_cameras(images(), rig(), bus, names=["bus"], path=tmp_path / "bus.png"))
    for camera, side in (("CAM_FRONT", "right"), ("CAM_BACK", "left")):
        seen = is_colour(tile(drawn, camera), CLASS_COLOURS["bus"])
        columns = np.nonzero(seen)[1]
        assert len(columns) > 100
        assert (columns.min() > TILE_WIDTH / 2) if side == "right" else (columns.max() < TILE_WIDTH / 2)
    assert not is_colour(tile(drawn, "CAM_FRONT_LEFT"), CLASS_COLOURS["bus"]).any()


def test_legend_names_only_the_classes_present(tmp_path):
    def legend(boxes, names):
        picture = read(draw_cameras(images(), rig(), boxes, names=names, path=tmp_path / "l.png"))
        return picture[-LEGEND_HEIGHT:]

    box = np.array([[0.0, 11, -1, 2, 2, 2, 0]])
    truck = legend(box, ["truck"])
    assert is_colour(truck, CLASS_COLOURS["truck"]).any()
    assert not is_colour(truck, CLASS_COLOURS["car"], 12).any()
    assert legend(np.zeros((0, 7)), []).max() < 60


def test_predictions_are_dashed(tmp_path):
    box = np.array([[0.0, 11, -1, 2, 2, 2, 0]])
    none = np.zeros((0, 7))
    solid = read(draw_cameras(images(), rig(), box, names=["car"], path=tmp_path / "a.png"))
    dashed = read(draw_cameras(images(), rig(), none, box, path=tmp_path / "b.png", prediction_names=["car"]))
    amounts = [is_colour(tile(p, "CAM_FRONT"), CLASS_COLOURS["car"]).sum() for p in (solid, dashed)]
    assert 0.3 * amounts[0] < amounts[1] < 0.85 * amounts[0]


def test_cameras_to_the_sides_may_have_lower_images(tmp_path):
    cameras = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_SIDE_RIGHT", "CAM_SIDE_LEFT")
    low = [np.full((90 if "SIDE" in name else 180, 320, 3), 255, np.uint8) for name in cameras]
    drawn = read(draw_cameras(low, rig()[:4], np.zeros((0, 7)), path=tmp_path / "low.png", cameras=cameras))
    tile_height = round(TILE_WIDTH * 180 / 320)
    second_row = GAP + tile_height + GAP
    white = (drawn[..., :3].min(-1) > 250).mean(1) > 0.2
    assert white[GAP + 2 : GAP + tile_height - 2].all()
    assert white[second_row + 2 : second_row + tile_height // 2 - 2].all()
    assert not white[second_row + tile_height // 2 + 4 :].any()


def test_refusals_name_what_is_wrong(tmp_path):
    box, path = np.array([[0.0, 11, -1, 2, 2, 2, 0]]), tmp_path / "x.png"
    with pytest.raises(DataError, match=r"6 images, 6 camera names and lidar2img of shape \(5, 4, 4\)"):
        draw_cameras(images(), rig()[:5], box, path=path)
    broken = images()
    broken[3] = broken[3].astype(float)
    with pytest.raises(DataError, match="image of CAM_BACK is float64"):
        draw_cameras(broken, rig(), box, path=path)
    with pytest.raises(DataError, match="2 class names for 1 boxes"):
        draw_cameras(images(), rig(), box, names=["car", "bus"], path=path)
    with pytest.raises(DataError, match=r"predicted boxes have shape \(1, 5\)"):
        draw_cameras(images(), rig(), box, box[:, :5], path=path)
    assert not path.exists()


@pytest.mark.parametrize("names", [("wide",), ("CAM_FRONT", "tele"), tuple(f"c{k}" for k in range(8))])
def test_other_cameras_are_all_shown(tmp_path, names):
    """Names beside nuScenes' come after them; none is left out."""
    pictures = [np.full((HEIGHT, WIDTH, 3), 30 * k, np.uint8) for k in range(len(names))]
    path = draw_cameras(
        pictures, np.stack([rig()[0]] * len(names)), np.zeros((0, 7)), path=tmp_path / "a.png", cameras=names
    )
    rows, columns = -(-len(names) // 3), min(3, len(names))
    assert read(path).shape[:2] == (
        rows * (TILE_HEIGHT + GAP) + GAP + LEGEND_HEIGHT, columns * TILE_WIDTH + (columns + 1) * GAP)  # fmt: skip
