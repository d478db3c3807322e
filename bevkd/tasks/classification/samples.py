"""Small data without any download: scikit-learn's handwritten digits as folders of images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from bevkd.errors import DataError

DIGITS = tuple("0123456789")
_EVERY = 5  # one image in so many is for validation


def write_digits(root: str | Path) -> Path:
    """Write 1,797 digits of 8 x 8 grey pixels as ``root/{train,val}/<digit>/<number>.png``, in a second.

    Every fifth image of the collection, 359 in all, is for validation. The folder appears whole or not at all, and
    always with the same pixels.

    Args:
        root: a new or an empty folder.

    Returns:
        ``root``.

    Raises:
        DataError: there is something in ``root``, or it cannot be written.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    root = Path(root)
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        raise DataError(f"{root} is not empty, expected a new or an empty folder for the digits")
    building = root.absolute().with_name(f".{root.name}.building-{os.getpid()}")
    digits = load_digits()
    try:
        for number, (pixels, label) in enumerate(zip(digits.images, digits.target)):
            split = "val" if number % _EVERY == _EVERY - 1 else "train"
            folder = building / split / DIGITS[label]
            folder.mkdir(parents=True, exist_ok=True)
            grey = np.round(pixels * 255 / 16).astype(np.uint8)  # they count from 0 to 16
            Image.fromarray(grey).save(folder / f"{number:04d}.png")
        os.replace(building, root)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{root} cannot be written: {reason}; expected room for 2,000 small files") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return root
