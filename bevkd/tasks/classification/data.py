"""Folders of images, one folder for each class, and what is done to an image before the model sees it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement
from PIL import Image

from bevkd.datasets.samples import run_pipeline
from bevkd.errors import ConfigError, DataError, nearest
from bevkd.registry import DATASETS, TRANSFORMS

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """``<data_root>/<split>/<class>/.../<image>``, the public layout of ImageNet and many others.

    A sample's ``token``, such as ``train/cat/007.png``, is its path below ``data_root``: the same in every run and on
    every machine. Files with other endings than images have, and hidden ones, are passed over. A sample that cannot be
    read is an error: no other takes its place.

    Args:
        data_root: the folder.
        split: folder below it with the classes' folders; empty for ``data_root`` itself.
        pipeline: transforms, from :class:`OpenImage` to :class:`PackImage`.
        classes: names in the order of their numbers; None takes the folders' in alphabetical order.
        **kwargs: mmengine's, such as ``indices`` and ``test_mode``.

    Raises:
        DataError: no such folder, no class, a class without images, folders that are not the ``classes``, or images
            beside the classes' folders.
    """

    def __init__(
        self,
        data_root: str | Path,
        split: str = "",
        pipeline: Sequence[Mapping[str, Any]] = (),
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.folder = Path(data_root, split)
        self._prefix = f"{PurePath(split).as_posix()}/" if split else ""
        metainfo = {"classes": tuple(classes)} if classes else None
        super().__init__(data_root=str(data_root), pipeline=list(pipeline), metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """``img_path``, ``gt_label``, ``class_name`` and ``token`` of every image, class by class, by path."""
        found = self._class_folders()
        classes = self._metainfo.setdefault("classes", tuple(found))
        if set(found) != set(classes):
            missing, unknown = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
            parts = [f"lacks the folders {missing}"] * bool(missing) + [f"has the folders {unknown}"] * bool(unknown)
            raise DataError(f"{self.folder} {' and '.join(parts)}, expected the classes {list(classes)}")
        data, above = [], len(str(self.folder)) + 1
        for label, name in enumerate(classes):
            paths = sorted(_images(found[name]))
            if not paths:
                endings = sorted({Path(file).suffix or file for _, _, files in os.walk(found[name]) for file in files})
                holds = f"has files of the kinds {endings[:5]} alone" if endings else "is empty"
                raise DataError(f"class folder {found[name]} {holds}, expected images ({', '.join(_ENDINGS)})")
            for path in paths:
                token = self._prefix + path[above:].replace(os.sep, "/")
                data.append({"img_path": path, "gt_label": label, "class_name": name, "token": token})
        return data

    def prepare_data(self, index: int) -> Any:
        """Run the pipeline on one sample.

        Raises:
            DataError: with its token, where mmengine would take a random other sample.
        """
        sample = self.get_data_info(index)
        return run_pipeline(self.pipeline, sample, sample["token"])

    def get_cat_ids(self, index: int) -> list[int]:
        """The class number of a sample, in a list."""
        return [self.get_data_info(index)["gt_label"]]

    def _class_folders(self) -> dict[str, str]:
        try:
            entries = sorted(os.scandir(self.folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be read: {error.strerror}; expected one folder a class") from error
        stray = [entry.name for entry in entries if entry.is_file() and entry.name.lower().endswith(_ENDINGS)]
        if stray:
            raise DataError(f"{self.folder} holds {stray[0]} beside the classes' folders, expected images inside them")
        folders = {e.name: e.path for e in entries if e.is_dir() and not e.name.startswith(".")}
        if not folders:
            raise DataError(f"{self.folder} has no folder in it, expected one folder of images for each class")
        return folders


def _images(folder: str) -> Iterator[str]:
    for parent, _, files in os.walk(folder, followlinks=True):
        for file in files:
            if file.lower().endswith(_ENDINGS) and not file.startswith("."):
                yield os.path.join(parent, file)


@TRANSFORMS.register_module()
class OpenImage:
    """Read ``img_path`` into ``img``, a PIL image.

    Args:
        mode: ``"RGB"`` or ``"L"`` (grey); images of another mode are converted.

    Raises:
        ConfigError: another mode. DataError: when called, a file that is missing, cut short or no image,
            or one of 16 or 32 bits a channel: a conversion would clip them.
    """

    def __init__(self, mode: str = "RGB") -> None:
        if mode not in ("RGB", "L"):
            raise ConfigError(f"OpenImage has mode {mode!r}{nearest(mode, ('RGB', 'L'))}")
        self.mode = mode

    def __call__(self, results: dict) -> dict:
        path = results["img_path"]
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise DataError(f"{path} has pixels of the kind {image.mode}, expected 8 bits a channel")
                results["img"] = image.convert(self.mode)
        except DataError:
            raise  # which is a ValueError too
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{path} cannot be read as an image ({reason}), expected a whole image file") from error
        return results


@TRANSFORMS.register_module()
class ResizeImage:
    """Bring ``img`` to one size, whatever its sides' ratio.

    Args:
        size: (height, width) in pixels.
    """

    def __init__(self, size: Sequence[int]) -> None:
        self.height, self.width = _size(size, "ResizeImage")

    def __call__(self, results: dict) -> dict:
        results["img"] = results["img"].resize((self.width, self.height), Image.Resampling.BILINEAR)
        return results


@TRANSFORMS.register_module()
class RandomCropImage:
    """Cut a window out of ``img`` at a random place, behind a black margin; smaller images get a wider margin.

    Args:
        size: (height, width) of the window in pixels.
        padding: pixels of the margin on each side.
    """

    def __init__(self, size: Sequence[int], padding: int = 0) -> None:
        self.height, self.width = _size(size, "RandomCropImage")
        if padding < 0:
            raise ConfigError(f"RandomCropImage has padding {padding}, expected 0 or more pixels")
        self.padding = padding

    def __call__(self, results: dict) -> dict:
        image = results["img"]
        top, left = (
            self._start(side, window) for side, window in ((image.height, self.height), (image.width, self.width))
        )
        results["img"] = image.crop((left, top, left + self.width, top + self.height))  # PIL fills with black
        return results

    def _start(self, side: int, window: int) -> int:
        room = side - window
        low, high = min(-self.padding, room), max(0, room + self.padding)
        return random.randint(low, max(low, high)) if self.padding or room > 0 else room // 2


@TRANSFORMS.register_module()
class RandomFlipImage:
    """Mirror ``img`` left to right.

    Args:
        probability: from 0 to 1.
    """

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"RandomFlipImage has probability {probability}, expected 0 to 1")
        self.probability = probability

    def __call__(self, results: dict) -> dict:
        if random.random() < self.probability:
            results["img"] = results["img"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return results


@TRANSFORMS.register_module()
class PackImage:
    """Make ``inputs`` [C, H, W] uint8 and ``data_samples`` with ``gt_label`` and the sample's names."""

    def __call__(self, results: dict) -> dict:
        pixels = np.array(results["img"])
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        sample = BaseDataElement(metainfo={key: results[key] for key in ("token", "img_path", "class_name")})
        sample.gt_label = results["gt_label"]  # a plain int: a tensor would be moved to the GPU and waited for there
        return {"inputs": torch.from_numpy(np.ascontiguousarray(pixels)), "data_samples": sample}


def _size(size: Sequence[int], name: str) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ConfigError(f"{name} has size {size!r}, expected (height, width) in pixels")
    return size[0], size[1]
