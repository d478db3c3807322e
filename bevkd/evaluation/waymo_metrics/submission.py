"""The file that Waymo's evaluation server takes."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bevkd.errors import ConfigError, DataError

from ..files import write_whole
from .doubts import check_predictions, say_missing_frames
from .frames import refuse_unknown_frames
from .messages import TYPES, message
from .object_files import write_chunks
from .objects import Objects

MIN_SCORE = 0.03  # the official submission tool leaves out what scores less
PACKED, BARE = ".tar.gz", ".bin"
_MIN_SIZE = 1e-6  # metres, likewise: no box without volume
_SHARD = 1 << 18  # boxes in one file of the archive, some 30 MB
_MICROSECONDS = (10**15, 10**16)  # the years 2001 to 2286


def check_name(path: str | Path) -> None:
    """Refuse a name for a submission that ends in neither ``.tar.gz`` nor ``.bin``.

    Raises:
        ConfigError: such a name.
    """
    if not str(path).endswith((PACKED, BARE)):
        raise ConfigError(
            f"--submission is {path}, expected a name that ends in {PACKED}, which the server takes, or in {BARE} for"
            " one bare Submission message"
        )


def check_unscored(predictions: Objects, known: Objects | None = None, unlabelled_frames: bool = False) -> None:
    """What can be checked of predictions whose ground truth nobody has.

    Args:
        known: The frames of the split, without objects, where they are at hand.
        unlabelled_frames: Let predictions stand in any frame that ``known`` does not name.

    Raises:
        DataError: predictions that cannot score, or in frames that the split does not have.

    Warns:
        UserWarning: predictions that likely are not what was meant; see :mod:`.doubts`.
    """
    check_predictions(predictions)
    if known is None:
        low, high = _MICROSECONDS
        for key in predictions.keys:
            if not low <= key.timestamp < high or not key.context:
                raise DataError(
                    f"{predictions.source}: {key}: expected context_name, and frame_timestamp_micros in microseconds"
                    " since 1970 (sixteen digits)"
                )
        return
    if not unlabelled_frames:
        refuse_unknown_frames(predictions, known)
    say_missing_frames(predictions, known.keys, "frames of the split")


def write_submission(predictions: Objects, info: Any, path: str | Path) -> int:
    """Write predictions with ``info`` (from :func:`.submission_info.read_info`); returns the number of boxes written.

    A ``.tar.gz`` holds files of at most 262,144 boxes, each a whole ``Submission``; same input, same bytes. A ``.bin``
    is one such message. Predictions with a score below 0.03 are left out and sizes raised to a micrometre, as by the
    official tool.

    Raises:
        ConfigError: another ending. DataError: no prediction is left, or frames are those of a camera.
    """
    check_name(path)
    kept = predictions.rows(predictions.scores >= np.float32(MIN_SCORE))
    if not len(kept):
        raise DataError(
            f"{predictions.source}: none of {len(predictions)} predictions has a score of {MIN_SCORE} or more"
        )
    if cameras := [row for row in np.unique(kept.frames) if kept.keys[row].camera]:
        raise DataError(
            f"{predictions.source}: camera_name is set in {kept.keys[cameras[0]]}; expected it unset, as the server"
            " finds no match for such 3D boxes"
        )
    if info.object_types and (left := sorted(set(kept.types.tolist()) - set(info.object_types))):
        names = ", ".join(TYPES[kind] for kind in left)
        warnings.warn(f"{predictions.source}: holds {names}, which object_types of the info lacks", stacklevel=2)
    boxes = kept.boxes.copy()
    boxes[:, 3:6] = np.maximum(boxes[:, 3:6], _MIN_SIZE)
    kept = dataclasses.replace(kept, boxes=boxes, points=None)
    if str(path).endswith(BARE):
        write_whole(path, _message(kept, info))
    else:
        shards = (kept.rows(slice(begin, begin + _SHARD)) for begin in range(0, len(kept), _SHARD))
        write_whole(path, _packed(b"".join(_message(shard, info)) for shard in shards))
    return len(kept)


def _message(objects: Objects, info: Any) -> Iterator[bytes]:
    """A ``Submission`` in parts. Messages written one after the other merge: the results of all parts add up."""
    yield info.SerializeToString()
    for chunk in write_chunks(objects):
        part = message("Submission")()
        part.inference_results.MergeFromString(chunk)
        yield part.SerializeToString()


def _packed(shards: Iterable[bytes]) -> Iterator[bytes]:
    """A gzipped tar of ``submission/part0`` and so on, without times or owners."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as archive:
        for number, shard in enumerate(shards):
            head = tarfile.TarInfo(f"submission/part{number}")
            head.size = len(shard)
            archive.write(head.tobuf(tarfile.USTAR_FORMAT) + shard + bytes(-len(shard) % tarfile.BLOCKSIZE))
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
        archive.write(bytes(2 * tarfile.BLOCKSIZE))
    yield buffer.getvalue()
