"""BEV pictures: the right cell at the right place, one scale, and boxes where their metres are."""

import numpy as np
import pytest
import torch
from PIL import Image

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.visualization import bev
from bevkd.visualization.style import GT_COLOUR, add_pixel_axes, new_figure

GRID = BEVGrid((-20, 20), (-10, 30), 1.0)
BOX = np.array([[5.0, 12.0, -1.0, 8.0, 4.0, 1.5, 0.0]])


def picture(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def pixel(figure, axes, x: float, y: float) -> tuple[int, int]:
    """Image row and column of a place in metres."""
    column, up = axes.transData.transform((x, y))
    return round(figure.canvas.get_width_height()[1] - 1 - up), round(column)


def shown(image, boxes=None):
    figure = new_figure(480, 480)
    axes = add_pixel_axes(figure, 40, 40, 400, 400)
    bev.show_bev(axes, image, GRID, (0, 1), "gray", ("x", "y"))
    if boxes is not None:
        bev.draw_boxes_bev(axes, boxes, GT_COLOUR, width=2)
    return figure, axes, picture(figure)


def test_image_of_one_filled_cell():
    feature = torch.zeros(2, *GRID.shape)
    feature[:, 3, 7] = torch.tensor([3.0, 4.0])
    image = bev.bev_feature_image(feature, GRID)
    assert image.shape == GRID.shape
    assert image[3, 7] == 5
    assert image.sum() == 5


def test_a_bias_of_all_cells_does_not_show():
    feature = np.ones((3, *GRID.shape), np.float32) * np.array([5, -2, 9], np.float32)[:, None, None]
    assert not bev.bev_feature_image(feature, GRID).any()


def test_image_refuses_other_shapes_and_nan():
    with pytest.raises(ConfigError, match=r"expected \[C, 40, 40\]"):
        bev.bev_feature_image(np.zeros((2, 40, 41)), GRID)
    broken = np.zeros((2, *GRID.shape))
    broken[0, 1, 1] = np.nan
    with pytest.raises(DataError, match="1 values that are not finite"):
        bev.bev_feature_image(broken, GRID)


def test_robust_range_ignores_a_hot_cell_and_is_never_empty():
    image = np.linspace(0, 1, 10_000).reshape(100, 100)
    image[0, 0] = 1e6
    low, high = bev.robust_range(image)
    assert 0 <= low < 0.02
    assert 0.98 < high < 1.01
    assert bev.robust_range(np.zeros((4, 4))) == (0, 1)
    assert 0.98 < bev.robust_reach(-image) < 1.01
    assert bev.robust_reach(np.full((4, 4), -0.5)) == 0.5
    assert bev.robust_reach(np.zeros((4, 4))) == 1


def test_cosine_distance_by_hand():
    student, teacher = np.zeros((2, 1, 5)), np.zeros((2, 1, 5))
    student[:, 0, :4] = [[1, 0, -1, 1], [0, 2, 0, 0]]
    teacher[:, 0, :4] = [[3, 1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(bev.cosine_distance(student, teacher)[0], [0, 1, 2, 1, 0], atol=1e-6)
    with pytest.raises(ConfigError, match="same shape"):
        bev.cosine_distance(student, teacher[:1])


def test_cells_in_a_box_and_in_a_turned_one():
    inside = bev.cells_in_boxes(BOX, GRID)
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 23, 21, 28)
    assert inside.sum() == 32
    turned = BOX.copy()
    turned[0, 6] = np.pi / 2
    rows, columns = np.nonzero(bev.cells_in_boxes(turned, GRID))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 25, 23, 26)


def test_first_cell_lies_at_the_lower_left_and_x_runs_right():
    image = np.zeros(GRID.shape)
    image[0, 0] = image[2, 30] = 1
    figure, axes, drawn = shown(image)
    assert drawn[pixel(figure, axes, -19.5, -9.5)].tolist() == [255] * 3
    assert drawn[pixel(figure, axes, 10.5, -7.5)].tolist() == [255] * 3
    assert drawn[pixel(figure, axes, -7.5, 10.5)].tolist() == [0] * 3
    row, column = pixel(figure, axes, -19.5, -9.5)
    assert row > 400
    assert column < 60


def test_box_changes_pixels_on_its_outline_only():
    figure, axes, plain = shown(np.zeros(GRID.shape))
    _, _, boxed = shown(np.zeros(GRID.shape), BOX)
    changed = (plain != boxed).any(-1)
    for x, y in ((9, 12), (1, 12), (5, 14), (5, 10), (7, 12), (9.9, 12)):  # edges, and the tick ahead
        assert changed[pixel(figure, axes, x, y)], (x, y)
    for x, y in ((3, 12), (7, 13), (12, 12), (5, 16), (-5, -12 + 20)):
        assert not changed[pixel(figure, axes, x, y)], (x, y)
    rows, columns = np.nonzero(changed)
    top, left = pixel(figure, axes, 1, 14)
    bottom, right = pixel(figure, axes, 10, 10)
    assert abs(rows.min() - top) <= 4
    assert abs(rows.max() - bottom) <= 4
    assert abs(columns.min() - left) <= 4
    assert abs(columns.max() - right) <= 4


def features(seed: int, channels: int = 4, strength: float = 1.0) -> torch.Tensor:
    return strength * torch.rand(channels, *GRID.shape, generator=torch.Generator().manual_seed(seed))


def test_comparison_file(tmp_path):
    maps = {"Teacher": features(0), "Plain": features(1), "Distilled": features(2)}
    path = bev.draw_bev_comparison(maps, GRID, BOX, {"Plain": BOX + 1}, tmp_path / "deep" / "bev.png")
    with Image.open(path) as image:
        assert image.size == (1892, 1348)
        assert image.convert("L").getextrema() == (0, 255)
    assert [file.name for file in path.parent.iterdir()] == ["bev.png"]
    again = bev.draw_bev_comparison(maps, GRID, BOX, {"Plain": BOX + 1}, tmp_path / "again.png")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "maps",
    [
        {"One": features(0)},
        {"T": features(0), "S": features(1, channels=7)},
        {"T": features(0), "S": features(1, strength=100)},
        {"T": features(0), "A": features(1), "B": features(2, channels=7), "C": features(3)},
        {"T": torch.zeros(4, *GRID.shape), "S": features(1)},
    ],
    ids=["one", "other channels", "other strength", "four", "an empty map"],
)
def test_comparison_of_odd_sets(tmp_path, maps):
    path = bev.draw_bev_comparison(maps, GRID, np.zeros((0, 7)), None, tmp_path / "bev.png")
    with Image.open(path) as image:
        low, high = image.convert("L").getextrema()
        assert low < high


def test_maps_of_one_strength_share_a_scale_and_others_do_not():
    images = {"a": np.linspace(0, 1, 100).reshape(10, 10), "b": np.linspace(0, 2, 100).reshape(10, 10)}
    same, span, shared = bev._on_one_scale(images)
    assert shared
    assert span[1] > 1.9
    assert same["a"] is images["a"]
    scaled, span, shared = bev._on_one_scale({"a": images["a"], "b": 50 * images["b"]})
    assert not shared
    assert span == (0, 1)
    np.testing.assert_allclose(scaled["a"], scaled["b"], atol=1e-6)


def test_comparison_refuses_what_it_cannot_draw(tmp_path):
    with pytest.raises(ConfigError, match="no BEV map"):
        bev.draw_bev_comparison({}, GRID, BOX, {}, tmp_path / "x.png")
    with pytest.raises(ConfigError, match="none of the maps"):
        bev.draw_bev_comparison({"a": features(0)}, GRID, BOX, {}, tmp_path / "x.png", teacher="b")
    with pytest.raises(DataError, match=r"ground-truth boxes: row 0 .* finite"):
        bev.draw_bev_comparison({"a": features(0)}, GRID, BOX * np.nan, {}, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
