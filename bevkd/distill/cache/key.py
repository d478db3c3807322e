"""What a teacher cache was made from, as ``cache.json`` in its folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bevkd.errors import ConfigError, DataError
from bevkd.structures import BEVGrid
from bevkd.structures.settings import first_difference

NAME = "cache.json"
FORMAT = 2
# What two caches of one kind must share; the paths beside the hashes are for people.
_SAMENESS = ("format", "mode", "dtype", "teacher_sha256", "grid", "taps", "settings", "ann_sha256")
_MAKE_AGAIN = "make the cache again with tools/cache_teacher.py, or point the config at the one that fits"


@dataclass(frozen=True)
class CacheKey:
    """The identity of a teacher cache.

    Attributes:
        mode: ``dense`` or ``foreground``.
        dtype: of the stored features: ``float32``, ``float16`` or ``bfloat16``.
        teacher: config file of the teacher. checkpoint: its weights' path. teacher_sha256: their hash.
        grid: ``dict(x_range, y_range, cell)``.
        taps: name -> module path.
        settings: of the teacher's config, see :func:`bevkd.distill.cache.settings.feature_settings`.
        layout: tap name -> shape [C, Y, X] of a map, or, for a head, channels by key of every task.
        classes: by task of the head, where it tells.
        ann_file: the data set's info file. ann_sha256: its hash.
        samples: number of samples in the data set.
    """

    mode: str
    dtype: str
    teacher: str
    checkpoint: str
    teacher_sha256: str
    grid: dict[str, Any]
    taps: dict[str, str]
    settings: dict[str, Any]
    layout: dict[str, Any]
    classes: list[list[str]] | None
    ann_file: str
    ann_sha256: str
    samples: int
    format: int = FORMAT

    @classmethod
    def read(cls, folder: str | Path) -> CacheKey:
        """The key of a cache folder.

        Raises:
            DataError: no cache there, or one that is unreadable. ConfigError: one of an earlier format.
        """
        path = Path(folder) / NAME
        if not path.is_file():
            raise DataError(f"{folder} holds no {NAME}, expected a teacher cache made by tools/cache_teacher.py")
        try:
            content = json.loads(path.read_text())
            if content.get("format") == 1:
                raise ConfigError(
                    f"the cache {folder} has format 1, which does not say with which model settings and pipeline its "
                    f"features were made, expected format {FORMAT}: {_MAKE_AGAIN}"
                )
            return cls(**content)
        except ConfigError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            names = ", ".join(field.name for field in fields(cls))
            raise DataError(f"{path} is no cache description ({error}), expected JSON with {names}") from error

    def text(self) -> str:
        """The content of ``cache.json``."""
        return json.dumps(asdict(self), indent=1)

    def digest(self) -> str:
        """A short hash of all that two caches must share; each shard carries it."""
        same = json.dumps({name: asdict(self)[name] for name in _SAMENESS}, sort_keys=True)
        return hashlib.sha256(same.encode()).hexdigest()[:16]

    def bev_grid(self) -> BEVGrid:
        """``grid`` as an object."""
        return BEVGrid(**self.grid)

    def require(self, folder: str | Path, **wanted: Any) -> None:
        """Refuse a cache that is stale.

        Args:
            folder: for the error sentence.
            wanted: fields with the values that they must have; None stands for any.

        Raises:
            ConfigError: naming the first field that differs, what the cache has and what was expected.
        """
        own = asdict(self)
        for name, value in wanted.items():
            if name == "settings" and value is not None and (found := first_difference(self.settings, value)):
                setting, before, now = found
                raise ConfigError(f"the cache {folder} has {setting} {before}, expected {now}: {_MAKE_AGAIN}")
            if value is not None and own[name] != json.loads(json.dumps(value)):
                found, expected = (v[:12] if name.endswith("sha256") else v for v in (own[name], value))
                source = {"teacher_sha256": f" ({self.checkpoint})", "ann_sha256": f" ({self.ann_file})"}.get(name, "")
                raise ConfigError(f"the cache {folder} has {name} {found}{source}, expected {expected}: {_MAKE_AGAIN}")


def grid_dict(grid: BEVGrid) -> dict[str, Any]:
    """A grid as JSON keeps it."""
    return {"x_range": list(grid.x_range), "y_range": list(grid.y_range), "cell": grid.cell}
