"""The 3D scene: both renderers, and a missing library named in one sentence."""

import ctypes
import importlib.util

import numpy as np
import pytest
from PIL import Image

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.visualization import open3d_support, scene
from bevkd.visualization.outlines import project

BOXES = np.array([[3.0, 12, -1.8, 4, 2, 1.5, 0.3], [-6, 20, -1.8, 10, 3, 3, 1.5]])
GRID = BEVGrid((-40, 40), (-40, 40), 1.0)


def cloud(count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.column_stack((rng.uniform(-40, 40, (count, 2)), rng.normal(-1.7, 0.3, count)))


def is_picture(path, size) -> None:
    with Image.open(path) as image:
        assert image.size == size
        low, high = image.convert("L").getextrema()
        assert high - low > 150


def test_matplotlib_scene(tmp_path):
    result = scene.draw_scene(cloud(), BOXES, BOXES + 0.5, tmp_path / "s.png", open3d=False)
    assert (result.renderer, result.notice) == ("matplotlib", None)
    is_picture(result.path, (1840, 816))


def test_empty_sweep_without_boxes(tmp_path):
    result = scene.draw_scene(np.zeros((0, 5)), None, None, tmp_path / "s.png", open3d=False)
    is_picture(result.path, (1840, 816))


def test_ego_is_seen_from_behind_and_ahead_is_up():
    drawn = scene._build(cloud(10), BOXES, BOXES[:0], None, None, np.array([0.0, 1.0]))
    camera = scene._camera(drawn)
    uvd = project(np.array([[0.0, 0, 0], [0, 20, 0], [5, 0, 0]]), camera)
    (ego, ahead, right), depth = uvd[:, :2] / uvd[:, 2:], uvd[:, 2]
    assert (depth > 0).all()
    assert ego[0] == pytest.approx(scene.WIDTH / 2)
    assert ahead[1] < ego[1] - 50
    assert right[0] > ego[0] + 50
    waymo = scene._build(cloud(10), BOXES, BOXES[:0], None, None, np.array([1.0, 0.0]))
    uvd = project(np.array([[20.0, 0, 0], [0, -5, 0]]), scene._camera(waymo))
    np.testing.assert_allclose(uvd[:, :2] / uvd[:, 2:], [ahead, right], atol=1e-6)


def test_difference_colours_points_and_boxes():
    gain = np.zeros(GRID.shape)
    gain[:, 40:] = 1.0  # x > 0: the second student is closer
    gain[:, :40] = -1.0
    points = np.array([[10.0, 10, 0], [-10.0, 10, 0]])
    drawn = scene._build(points, BOXES, BOXES[:0], gain, GRID, np.array([0.0, 1.0]))
    closer, farther = scene.GAIN_COLOURS(1.0)[:3], scene.GAIN_COLOURS(0.0)[:3]
    np.testing.assert_allclose(drawn["point_colours"], [closer, farther])
    np.testing.assert_allclose(drawn["segment_colours"][-26:-13], [closer] * 13)
    np.testing.assert_allclose(drawn["segment_colours"][-13:], [farther] * 13)


def test_refusals(tmp_path):
    with pytest.raises(DataError, match=r"points have shape \(3,\)"):
        scene.draw_scene(np.zeros(3), BOXES, None, tmp_path / "s.png", open3d=False)
    with pytest.raises(ConfigError, match="difference map has shape"):
        scene.draw_scene(cloud(), BOXES, None, tmp_path / "s.png", difference=np.zeros((3, 3)), grid=GRID)


def without(monkeypatch, *gone: str) -> None:
    """As on a machine without these shared libraries."""
    real = ctypes.CDLL

    def load(name, *args, **kwargs):
        if name in gone:
            raise OSError(f"{name}: cannot open shared object file")
        return real("libc.so.6") if name in open3d_support.LIBRARIES else real(name, *args, **kwargs)

    monkeypatch.setattr(open3d_support.ctypes, "CDLL", load)
    monkeypatch.setattr(open3d_support.importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("library", "package"),
    [("libusb-1.0.so.0", "libusb-1.0-0"), ("libvulkan.so.1", "libvulkan1"), ("libEGL.so.1", "libegl1")],
)
def test_missing_library_is_named_with_its_package_and_the_run_goes_on(tmp_path, monkeypatch, library, package):
    without(monkeypatch, library)
    monkeypatch.setattr(open3d_support, "_has_driver", lambda: True)
    result = scene.draw_scene(cloud(), BOXES, None, tmp_path / "s.png")
    assert result.renderer == "matplotlib"
    assert result.notice == (
        f"Open3D cannot draw without the Debian package {package} (apt-get install {package}), "
        "so the 3D scene is a matplotlib picture."
    )
    is_picture(result.path, (1840, 816))


def test_all_missing_packages_are_named_at_once(tmp_path, monkeypatch):
    without(monkeypatch, "libusb-1.0.so.0", "libvulkan.so.1")
    monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path / "none.json"))
    assert open3d_support.missing_packages() == ["libusb-1.0-0", "libvulkan1", "mesa-vulkan-drivers"]


def test_open3d_itself_missing(monkeypatch):
    monkeypatch.setattr(open3d_support.importlib.util, "find_spec", lambda name: None)
    assert "pip install open3d" in open3d_support.why_not()


def test_a_renderer_that_dies_takes_nothing_with_it(tmp_path, monkeypatch):
    without(monkeypatch)
    monkeypatch.setattr(open3d_support, "_has_driver", lambda: True)
    monkeypatch.setattr(open3d_support.sys, "executable", "/bin/false")
    result = scene.draw_scene(cloud(), BOXES, None, tmp_path / "s.png")
    assert result.renderer == "matplotlib"
    assert "Open3D cannot draw here (exit status 1)" in result.notice


@pytest.mark.skipif(
    importlib.util.find_spec("open3d") is None or bool(open3d_support.missing_packages()),
    reason="Open3D or a library it needs is not installed",
)
def test_open3d_scene_shows_what_the_matplotlib_one_shows(tmp_path):
    one = scene.draw_scene(cloud(), BOXES, BOXES + 0.5, tmp_path / "o.png")
    other = scene.draw_scene(cloud(), BOXES, BOXES + 0.5, tmp_path / "m.png", open3d=False)
    assert (one.renderer, one.notice) == ("open3d", None)
    is_picture(one.path, (1280, 816))
    bright = []
    for path in (one.path, other.path):
        with Image.open(path) as image:
            view = np.asarray(image.convert("RGB"))[:760, :1280]
        white = np.argwhere((view > 235).all(-1))
        bright.append([white.min(0), white.max(0)])
    np.testing.assert_allclose(bright[0], bright[1], atol=6)
