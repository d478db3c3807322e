"""The file that Waymo's evaluation server takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from bevkd.errors import DataError

from ..files import write_whole
from .messages import message
from .objects import Objects, write_chunks

MIN_SCORE = 0.03  # the official submission tool leaves out what scores less
_MIN_SIZE = 1e-6  # metres, likewise: no box without volume


def read_info(path: str | Path) -> object:
    """A ``Submission`` message without results, from a text file like Waymo's ``submission.txtpb``.

    Raises:
        DataError: the file is missing, is no such text, or lacks ``account_name`` or ``unique_method_name``.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        info = text_format.Parse(text, message("Submission")())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a Submission in text form") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: {reason}; expected lines like 'account_name: \"me@example.org\"'") from None
    for field in ("account_name", "unique_method_name"):
        if not getattr(info, field):
            raise DataError(f"{path}: {field} is missing; the evaluation server asks for it")
    if not info.task:
        info.task = info.DETECTION_3D
    return info


def write_submission(predictions: Objects, info: object, path: str | Path) -> int:
    """Write predictions with ``info`` (from :func:`read_info`); returns the number of boxes written.

    Predictions with a score below 0.03 are left out and sizes raised to a micrometre, as by the official tool.
    """
    kept = predictions.rows(predictions.scores >= np.float32(MIN_SCORE))
    boxes = kept.boxes.copy()
    boxes[:, 3:6] = np.maximum(boxes[:, 3:6], _MIN_SIZE)
    kept = dataclasses.replace(kept, boxes=boxes, points=None)

    def parts():
        yield info.SerializeToString()
        for chunk in write_chunks(kept):  # messages written one after the other merge: the results of all parts add up
            part = message("Submission")()
            part.inference_results.MergeFromString(chunk)
            yield part.SerializeToString()

    write_whole(path, parts())
    return len(kept)
