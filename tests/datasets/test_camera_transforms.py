# ruff: noqa: NPY002  (transforms draw from numpy's global generator, which mmengine seeds)
import cv2
import numpy as np
import pytest

from bevkd.errors import ConfigError, DataError

cameras = pytest.importorskip("bevkd.datasets.transforms.cameras")

EYE = np.eye(4).tolist()


def record(path, image, **extra):
    cv2.imwrite(str(path), image)
    return {"img_path": str(path), "cam2img": np.eye(3).tolist(), "lidar2cam": EYE, **extra}


def load(one, size, **kwargs):
    out = cameras.LoadCameras(size, cameras=("CAM",), **kwargs).transform({"images": {"CAM": one}, "token": "t"})
    return out["img"][0], out["lidar2img"][0]


def project(matrix, u, v, depth=2.0):
    """Where a point that the stored image shows at pixel (u, v) lands; with cam2img = lidar2cam = 1."""
    x = matrix @ [u * depth, v * depth, depth, 1.0]
    assert x[2] == depth
    return x[:2] / x[2]


def blob(height, width, u, v, sigma=6.0):
    y, x = np.mgrid[:height, :width]
    value = 255 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2))
    return np.repeat(value[..., None], 3, axis=2).astype(np.uint8)


def centroid(image):
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def test_drawn_halving_and_top_crop(tmp_path):
    # 8x6 pixels halved to 4x3, of which the lower 2 rows stay. Pixel centres (2, 4) and (3, 5) merge into one.
    image = np.zeros((6, 8, 3), np.uint8)
    image[4:6, 2:4] = (10, 20, 200)  # OpenCV writes BGR
    out, matrix = load(record(tmp_path / "a.png", image), (2, 4))
    assert out.shape == (2, 4, 3)
    assert out[1, 1].tolist() == [200, 20, 10]
    assert np.count_nonzero(out.sum(axis=2)) == 1
    np.testing.assert_allclose(project(matrix, 2.5, 4.5), (1, 1))
    np.testing.assert_allclose(project(matrix, -0.5, 1.5), (-0.5, -0.5))  # outer edges stay outer edges


@pytest.mark.parametrize("size", [(90, 160), (45, 80), (40, 80), (64, 176), (100, 300)])
@pytest.mark.parametrize("augment", [None, {"resize": (0.9, 1.2), "rotate": (-10, 10), "flip": True}])
def test_a_blob_follows_the_matrix(tmp_path, size, augment):
    np.random.seed(0)
    one = record(tmp_path / "a.png", blob(180, 320, 170.0, 140.0), height=180, width=320)
    for _ in range(4):
        image, matrix = load(one, size, augment=augment)
        assert image.shape == (*size, 3)
        expected = project(matrix, 170.0, 140.0)
        if (expected > 15).all() and (expected < np.array(size[::-1]) - 15).all():  # the whole blob is inside
            assert np.abs(centroid(image) - expected).max() < 0.15


def test_flip_changes_sides_and_rotation_turns(tmp_path):
    np.random.seed(1)
    one = record(tmp_path / "a.png", blob(180, 320, 100.0, 90.0))
    flips = [load(one, (180, 320), augment={"flip": True})[1] for _ in range(8)]
    places = {tuple(project(m, 100.0, 90.0).round(6)) for m in flips}
    assert places == {(100.0, 90.0), (219.0, 90.0)}
    _, turned = load(one, (180, 320), augment={"rotate": (90, 90)})
    np.testing.assert_allclose(project(turned, 159.5 + 10, 89.5), (159.5, 89.5 + 10), atol=1e-9)


@pytest.mark.parametrize(("scale", "factor"), [(1.0, 1), (0.6, 1), (0.5, 2), (0.25, 4), (0.1, 4)])
def test_coarse_decoding_keeps_the_outer_edges(tmp_path, scale, factor):
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), blob(160, 320, 200.0, 60.0), [cv2.IMWRITE_JPEG_QUALITY, 100])
    image, found = cameras.read_image(path, scale)
    assert found == factor
    assert image.shape == (160 // factor, 320 // factor, 3)
    expected = (np.array([200.0, 60.0]) + 0.5) / factor - 0.5
    assert np.abs(centroid(image) - expected).max() < 0.1


def jpeg(path, part=1.0):
    data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))[1].tobytes()
    path.write_bytes(data[: int(len(data) * part)])


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_jpeg_is_named(tmp_path, part):
    jpeg(tmp_path / "cut.jpg", part)
    with pytest.raises(DataError, match=r"cut\.jpg"):
        cameras.read_image(tmp_path / "cut.jpg")


def test_trailing_bytes_after_a_whole_jpeg_are_harmless(tmp_path):
    jpeg(tmp_path / "a.jpg")
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(b"\0\0trailer")
    assert cameras.read_image(tmp_path / "a.jpg")[0].shape == (64, 96, 3)


def test_other_bad_images_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg: cannot be read"):
        cameras.read_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg: not a complete image"):
        cameras.read_image(tmp_path / "text.jpg")
    jpeg(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: image is 96x64 pixels, expected 1600x900"):
        cameras.read_image(tmp_path / "a.jpg", size=(900, 1600))


def test_missing_camera_and_unknown_option():
    with pytest.raises(DataError, match="sample t: camera CAM_FRONT is missing"):
        cameras.LoadCameras((4, 4)).transform({"images": {}, "token": "t"})
    with pytest.raises(ConfigError, match="rotation"):
        cameras.LoadCameras((4, 4), augment={"rotation": (0, 1)})
