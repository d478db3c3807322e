"""Are the boxes of an info file sound, and in metres, radians and metres a second?"""

from itertools import chain
from operator import itemgetter

import numpy as np

from bevkd.errors import DataError

from .columns import InfoFile, rectangle, require

_KEYS = ("bbox_3d", "bbox_label_3d", "bbox_3d_isvalid", "num_lidar_pts", "velocity")
_FARTHEST = 500.0  # metres; no LiDAR sees farther, but a map's coordinates go on
_LONGEST = 100.0  # metres
_FASTEST = 150.0  # m/s
_MOST_TURN = 4 * np.pi


class Boxes:
    """All boxes of a file: ``boxes`` ``[M, 7]``, ``labels`` ``[M]``, ``velocities`` ``[M, 2]``, ``points`` ``[M]``
    (LiDAR points inside) and ``samples`` ``[M]`` (index of the sample)."""

    def __init__(self, file: InfoFile) -> None:
        """Gather them.

        Raises:
            DataError: an instance lacks a key, or its numbers are too many, too few or none.
        """
        self.file = file
        lists = [info.get("instances") or () for info in file.samples]
        counts = list(map(len, lists))
        self.samples = np.repeat(np.arange(len(counts)), counts)
        self.starts = np.r_[0, np.cumsum(counts)]
        everything = list(chain.from_iterable(lists))
        try:
            boxes, labels, _, points, velocities = (list(map(itemgetter(key), everything)) for key in _KEYS)
        except (KeyError, TypeError):
            self._name_missing(lists)
            raise
        self.boxes = self._rows("bbox_3d", boxes, 7)
        self.labels = self._numbers("bbox_label_3d", labels, np.int64)
        self.velocities = self._rows("velocity", velocities, 2)
        self.points = self._numbers("num_lidar_pts", points, np.float64)

    def check(self, classes: tuple[str, ...]) -> None:
        """Refuse boxes that are not finite, without a size, of an unknown class or in other units.

        Raises:
            DataError: naming the first.
        """
        boxes = self.boxes
        self._refuse(~np.isfinite(boxes).all(axis=1), "bbox_3d {box} is not finite")
        self._refuse((boxes[:, 3:6] <= 0).any(axis=1), "bbox_3d {box} has a size that is not positive")
        expected = f"expected -1 (ignored) to {len(classes) - 1}"
        self._refuse((self.labels < -1) | (self.labels >= len(classes)), f"bbox_label_3d is {{label}}, {expected}")
        turned = np.abs(boxes[:, 6]) > _MOST_TURN
        self._refuse(turned, "bbox_3d {box} has a yaw that looks like degrees, expected radians")
        large = (boxes[:, 3:6] > _LONGEST).any(axis=1)
        self._refuse(large, f"bbox_3d {{box}} has a size above {_LONGEST:.0f}, expected metres")
        far = (np.abs(boxes[:, :3]) > _FARTHEST).any(axis=1)
        self._refuse(far, f"bbox_3d {{box}} is farther than {_FARTHEST:.0f}, expected metres in the LiDAR frame")
        fast = (np.abs(self.velocities) > _FASTEST).any(axis=1)  # False for NaN, which is an unknown velocity
        self._refuse(fast, f"velocity {{velocity}} is above {_FASTEST:.0f}, expected m/s")

    def centres(self, sample: int) -> np.ndarray:
        """``[B, 3]`` centres of the sample's boxes with LiDAR points."""
        own = slice(self.starts[sample], self.starts[sample + 1])
        return self.boxes[own, :3][self.points[own] > 0]

    def _name_missing(self, lists: list) -> None:
        for index, instances in enumerate(lists):
            for number, instance in enumerate(instances):
                require(instance, _KEYS, self.file.where(index, f"instances[{number}]"))

    def _rows(self, name: str, values: list, count: int) -> np.ndarray:
        array = rectangle(values, count)
        if array is not None:
            return array
        for row, value in enumerate(values):
            if np.size(value) != count:
                raise DataError(f"{self._where(row)}: {name} has {np.size(value)} numbers, expected {count}")
        flat = self._numbers(
            name, [number for value in values for number in np.ravel(value).tolist()], np.float64, count
        )
        return flat.reshape(-1, count)

    def _numbers(self, name: str, values: list, kind: type, count: int = 1) -> np.ndarray:
        array = np.array(values)
        if not values or array.dtype.kind in ("iu" if kind is np.int64 else "iuf"):
            return array.astype(kind)
        kinds = (int, np.integer) if kind is np.int64 else (int, float, np.number)
        first = next(i for i, value in enumerate(values) if not isinstance(value, kinds) or isinstance(value, bool))
        expected = "a whole number" if kind is np.int64 else "a number"
        raise DataError(f"{self._where(first // count)}: {name} is {values[first]!r}, expected {expected}")

    def _refuse(self, bad: np.ndarray, text: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            what = text.format(
                box=self.boxes[row].round(3).tolist(), label=self.labels[row], velocity=self.velocities[row].tolist()
            )
            raise DataError(f"{self._where(row)}: {what}")

    def _where(self, row: int) -> str:
        sample = int(self.samples[row])
        return self.file.where(sample, f"instances[{row - self.starts[sample]}]")
