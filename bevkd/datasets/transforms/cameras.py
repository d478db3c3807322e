"""Loading of surround-view images with one exact LiDAR-to-pixel matrix per camera."""

# ruff: noqa: NPY002  (mmengine seeds numpy's global generator in every worker; a run is repeatable through it)

import io
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from bevkd.datasets.checks.cameras import principal_point_outside
from bevkd.datasets.constants import CAMERAS
from bevkd.errors import ConfigError, DataError

_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def read_image(path: str | Path, scale: float = 1.0, size: tuple[int, int] | None = None) -> tuple[np.ndarray, int]:
    """Decode an image, at a half or a quarter of its resolution where ``scale`` leaves room for that.

    Args:
        scale: What the caller will resize by; a JPEG is decoded straight at the coarser resolution when
            ``scale`` <= 1/2 (or 1/4) and its sides divide.
        size: Expected (height, width) of the stored image, if known.

    Returns:
        ``[H, W, 3]`` uint8 RGB, and the factor 1, 2 or 4 by which it is smaller than the stored image.

    Raises:
        DataError: missing, truncated or undecodable file, or a stored size other than ``size``.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a camera image") from None
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
            # OpenCV fills what is missing of a truncated file with grey and only prints; PIL raises.
            if not (data.startswith(_JPEG_START) and data.endswith(_JPEG_END)):
                header.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: not a complete image ({error})".replace(f" {io.BytesIO}", "")) from None
    if size is not None and (height, width) != tuple(size):
        raise DataError(f"{path}: image is {width}x{height} pixels, expected {size[1]}x{size[0]}")
    factor = next((f for f in (4, 2) if scale * f <= 1 and height % f == 0 and width % f == 0), 1)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[factor])
    if image is None:
        raise DataError(f"{path}: {len(data)} bytes that cannot be decoded as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), factor


def resize_matrix(scale_x: float, scale_y: float) -> np.ndarray:
    """``[3, 3]`` map of pixel coordinates under a resize, where integers are pixel CENTRES.

    The outer edge of the image, at -0.5, stays where it is: halving moves the centre of the first two pixels,
    u = 0.5, to u' = 0, because u' = s (u + 0.5) - 0.5.
    """
    matrix = np.diag([scale_x, scale_y, 1.0])
    matrix[0, 2], matrix[1, 2] = 0.5 * scale_x - 0.5, 0.5 * scale_y - 0.5
    return matrix


def lidar2global(frame: dict) -> np.ndarray:
    """``[4, 4]`` float64 from a key frame's LiDAR frame to the map."""
    ego = np.asarray(frame["ego2global"], dtype=np.float64)
    return ego @ np.asarray(frame["lidar_points"]["lidar2ego"], dtype=np.float64)


@TRANSFORMS.register_module()
class LoadCameras(BaseTransform):
    """One image per camera, resized and cropped to ``size``, and the matrices that project LiDAR points into them.

    Sets ``results['img']`` (list of ``[H, W, 3]`` uint8 **RGB**, so the data preprocessor needs no ``bgr_to_rgb``),
    ``results['lidar2img']`` (``[N, 4, 4]`` float64: (x, y, z, 1) in the LiDAR frame to (u d, v d, d, 1), with u, v the
    column and row in the network's input image, integers at pixel centres, and d the depth in metres),
    ``img_path``, ``img_shape`` and ``ori_shape``.

    With ``previous=True`` the images of the key frame before follow in the same list, so that there are twice as many;
    ``results['previous_lidar2img']`` ``[N, 4, 4]`` projects points of *that* frame's LiDAR frame into them, and
    ``results['previous_to_current']`` ``[4, 4]`` takes that frame to this one, as the ego moved. The first key frame of
    a scene is its own predecessor: its images are repeated and the motion is none.

    Without augmentation the image is scaled to fill ``size`` (the larger of both ratios), centred in width and cropped
    at the top, where the sky is.

    Args:
        size: (height, width) of the network's input.
        augment: Optional ranges for training, drawn per camera: ``resize`` (low, high) multiplies the scale above,
            ``rotate`` (low, high) in degrees about the crop's centre, ``flip`` True mirrors half of the images.
            UniDistill's 0.386 to 0.55 on 1600 pixels for an input of 704 is ``resize=(0.877, 1.25)``, with
            ``rotate=(-5.4, 5.4), flip=True``. Pixels from outside the image are black.
        cameras: Camera names, in the order of the output: any number of them with any names; the data set asks every
            sample for these and no others. Their images may differ in size.
        previous: Load the key frame before as well, for which the data set needs ``previous=True`` too.

    Raises:
        DataError: a camera is not in the sample, or its image is missing, undecodable or of another size than the
            info file says; the principal point is outside of it; or the sample knows no previous key frame.
        ConfigError: an unknown key in ``augment``; no camera, or one named twice.
    """

    def __init__(
        self,
        size: tuple[int, int],
        augment: dict | None = None,
        cameras: tuple[str, ...] = CAMERAS,
        previous: bool = False,
    ) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.augment = {"resize": (1.0, 1.0), "rotate": (0.0, 0.0), "flip": False}
        if unknown := set(augment or ()) - set(self.augment):
            raise ConfigError(f"LoadCameras.augment: unknown {sorted(unknown)}; known: {sorted(self.augment)}")
        self.augment.update(augment or {})
        self.random = bool(augment)
        self.cameras = (cameras,) if isinstance(cameras, str) else tuple(cameras)
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ConfigError(f"LoadCameras.cameras is {list(self.cameras)}, expected one or more different names")
        self.previous = previous

    def transform(self, results: dict) -> dict:
        results["img"], results["lidar2img"], shapes = self._frame(results)
        results["img_path"] = [results["images"][name]["img_path"] for name in self.cameras]
        results["img_shape"] = self.size
        results["ori_shape"] = shapes[0]
        results["num_views"] = len(self.cameras)
        if self.previous:
            before = results.get("previous")
            if before is None:
                raise DataError("the sample has no 'previous' key frame, expected a data set with previous=True")
            images, results["previous_lidar2img"], _ = self._frame(before)
            results["img"] = results["img"] + images
            results["previous_to_current"] = np.linalg.inv(lidar2global(results)) @ lidar2global(before)
        return results

    def _frame(self, frame: dict) -> tuple[list[np.ndarray], np.ndarray, list[tuple[int, int]]]:
        """Images, their ``[N, 4, 4]`` lidar2img and stored (height, width) of one key frame."""
        images, matrices, shapes = [], [], []
        for name in self.cameras:
            record = frame["images"].get(name)
            if record is None:
                raise DataError(f"sample {frame.get('token')}: camera {name} is missing from the info file")
            image, pixel_map, shape = self._load(record)
            images.append(image)
            shapes.append(shape)
            intrinsics = np.asarray(record["cam2img"], dtype=np.float64)[:3, :3]
            u, v = intrinsics[:2, 2]
            if principal_point_outside(u, v, *shape):
                raise DataError(
                    f"{record['img_path']}: image is {shape[1]}x{shape[0]} pixels, but the principal point of "
                    f"{name}.cam2img is ({u:.0f}, {v:.0f}), expected cam2img of the image as stored"
                )
            cam2img = np.eye(4)
            cam2img[:3, :3] = pixel_map @ intrinsics
            matrices.append(cam2img @ np.asarray(record["lidar2cam"], dtype=np.float64))
        return images, np.stack(matrices), shapes

    def _load(self, record: dict) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Network input image, the ``[3, 3]`` map from stored pixels to its pixels, and the stored (height, width)."""
        stored = (record["height"], record["width"]) if "height" in record and "width" in record else None
        factor_hint = 1.0
        if stored is not None:
            factor_hint = self._base_scale(*stored) * self.augment["resize"][1]
        image, factor = read_image(record["img_path"], factor_hint, stored)
        height, width = image.shape[0] * factor, image.shape[1] * factor
        scale = self._base_scale(height, width)
        if self.random:
            scale *= np.random.uniform(*self.augment["resize"])
        new_w, new_h = max(round(width * scale), 1), max(round(height * scale), 1)
        if (new_w, new_h) != (image.shape[1], image.shape[0]):
            shrinking = new_w < image.shape[1]
            image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
        window = self._window(new_h, new_w)
        out_h, out_w = self.size
        plain = not self.random and new_h >= out_h and new_w >= out_w
        if plain:
            left, top = -int(window[0, 2]), -int(window[1, 2])
            image = image[top : top + out_h, left : left + out_w]
        else:
            image = cv2.warpAffine(np.ascontiguousarray(image), window[:2], (out_w, out_h), flags=cv2.INTER_LINEAR)
        return image, window @ resize_matrix(new_w / width, new_h / height), (height, width)

    def _base_scale(self, height: int, width: int) -> float:
        return max(self.size[0] / height, self.size[1] / width)

    def _window(self, height: int, width: int) -> np.ndarray:
        """``[3, 3]`` map from resized-image pixels to the output: crop, then mirror and rotate about the centre."""
        out_h, out_w = self.size
        spare = width - out_w
        left = spare // 2
        if self.random and spare > 0:
            left = np.random.randint(0, spare + 1)
        matrix = np.array([[1.0, 0.0, -left], [0.0, 1.0, out_h - height], [0.0, 0.0, 1.0]])
        if not self.random:
            return matrix
        if self.augment["flip"] and np.random.rand() < 0.5:
            matrix = np.array([[-1.0, 0.0, out_w - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
        angle = np.deg2rad(np.random.uniform(*self.augment["rotate"]))
        cos, sin = np.cos(angle), np.sin(angle)
        centre = np.array([(out_w - 1) / 2, (out_h - 1) / 2])
        turn = np.eye(3)
        turn[:2, :2] = [[cos, -sin], [sin, cos]]
        turn[:2, 2] = centre - turn[:2, :2] @ centre
        return turn @ matrix
