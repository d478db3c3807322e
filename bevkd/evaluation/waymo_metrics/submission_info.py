"""The text that tells Waymo's evaluation server whose submission it is, of what and by which sensors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from bevkd.errors import DataError, nearest

from .messages import ENUMS, PACKAGE, message

MAX_NAME = 25  # characters of unique_method_name
TASKS = ("DETECTION_3D", "CAMERA_ONLY_DETECTION_3D")  # whose results are 3D boxes
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_PLACEHOLDERS = re.compile(
    r"your[\W_]|your_?method|acc(ount)?@domain\.|.*@(your)?domain\.|.*@test\.com$", re.IGNORECASE
)
_RESERVED = re.compile(r".*@(.*\.)?example\.(com|net|org)$", re.IGNORECASE)  # addresses that nobody can have
_EXAMPLES = re.compile(r"your |author ?\d|a detailed description of|a link to your", re.IGNORECASE)


def read_info(path: str | Path) -> Any:
    """A ``Submission`` message without results, from a text file like Waymo's ``submission.txtpb``.

    ``task`` is DETECTION_3D where the text does not say.

    Raises:
        DataError: the file is missing, is no such text, or has a field or value that the server does not take or know.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise DataError(f"{path}: cannot be read ({reason}); expected a Submission in text form") from None
    try:
        info = text_format.Parse(text, message("Submission")())
    except text_format.ParseError as error:
        raise DataError(f"{path}: {_explained(str(error))}") from None
    if not info.task:
        info.task = info.DETECTION_3D
    for sentence in _faults(info):
        raise DataError(f"{path}: {sentence}")
    copied = [field for field in ("authors", "affiliation", "description", "method_link") if _is_example(info, field)]
    if copied:
        warnings.warn(f"{path}: {', '.join(copied)}: as in Waymo's example, the server will show it", stacklevel=2)
    if _RESERVED.fullmatch(info.account_name):
        warnings.warn(
            f"{path}: account_name is {info.account_name!r}, an address that nobody can have; the server asks for the"
            " e-mail address that is registered with it",
            stacklevel=2,
        )
    return info


def _explained(reason: str) -> str:
    """A parser's message in one sentence, with the nearest right name."""
    reason = reason.splitlines()[0]
    if match := re.search(rf'type "{PACKAGE}\.([\w.]+)" has no field named "([^"]+)"', reason):
        fields = message(match[1]).DESCRIPTOR.fields_by_name
        return f"line {reason.partition(':')[0]}: unknown field {match[2]!r}{nearest(match[2], fields)}"
    if match := re.search(rf'type "{PACKAGE}\.([\w.]+)" has no value named (\w+)', reason):
        return (
            f"line {reason.partition(':')[0]}: unknown value {match[2]!r}{nearest(match[2], ENUMS[match[1]].split())}"
        )
    return f"{reason}; expected lines like 'account_name: \"me@example.org\"'"


def _faults(info: Any) -> Iterator[str]:
    for field in ("account_name", "unique_method_name"):
        if not getattr(info, field):
            yield f"{field} is missing; the evaluation server asks for it"
    account, name = info.account_name, info.unique_method_name
    if not _ADDRESS.fullmatch(account) or _PLACEHOLDERS.match(account):
        yield f"account_name is {account!r}, expected the e-mail address that is registered with the evaluation server"
    if len(name) > MAX_NAME:
        yield f"unique_method_name has {len(name)} characters, expected at most {MAX_NAME}: {name!r}"
    if _PLACEHOLDERS.match(name):
        yield f"unique_method_name is {name!r} as in Waymo's example, expected the method's own"
    task, sensor = _name("Submission.Task", info.task), _name("Submission.SensorType", info.sensor_type)
    sensors = ENUMS["Submission.SensorType"].split()[1:]
    if task not in TASKS:
        yield f"task is {task}, expected {' or '.join(TASKS)}, of which the predictions are"
    if sensor not in sensors:
        yield f"sensor_type is {sensor if info.sensor_type else 'missing'}, expected one of {', '.join(sensors)}"
    if task == TASKS[1] and sensor != "CAMERA_ALL":
        yield f"task is {task} and sensor_type {sensor}, expected CAMERA_ALL or the task {TASKS[0]}"
    if not all(0 < kind < len(ENUMS["Label.Type"].split()) for kind in info.object_types):
        yield "object_types holds TYPE_UNKNOWN, expected types that are detected"
    for field in ("number_past_frames_exclude_current", "number_future_frames_exclude_current"):
        if getattr(info, field) < 0:
            yield f"{field} is {getattr(info, field)}, expected 0 or more"
    if info.HasField("inference_results"):
        yield "inference_results is set, expected the text without results; those come from the predictions"


def _name(enum: str, number: int) -> str:
    values = ENUMS[enum].split()
    return values[number] if 0 <= number < len(values) else str(number)


def _is_example(info: Any, field: str) -> bool:
    value = getattr(info, field)
    return any(_EXAMPLES.match(part) for part in ([value] if isinstance(value, str) else value))
