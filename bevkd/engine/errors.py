"""Turn the errors of a wrong config, raised deep in a registry, into one sentence with the nearest right names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from mmengine.runner import Runner

from bevkd.errors import BevkdError, ConfigError, DataError, nearest

_UNEXPECTED = re.compile(r"got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (.+)")
_UNREGISTERED = re.compile(r"(\S+) is not in the (\S+?)::?(?:\S*:)?([\w ]+) registry")
_ONE_VALUE = re.compile(r"Expected more than 1 value per channel when training, got input size (.+)")
_NOTHING = "need at least one array to concatenate"
_OTHER_META = "meta information of the"  # of data sets that are joined
_NO_TABLES = "Database version not found:"  # the nuScenes devkit
_BUILDERS = ("build_from_cfg", "build_dataloader")


@contextmanager
def config_errors(name: str) -> Iterator[None]:
    """Translate what a wrong config makes mmengine raise while it builds the parts of config ``name``.

    A TypeError is translated only when the call that failed was made by a builder, with the config's own keys;
    every other one is a bug and keeps its traceback.

    Raises:
        ConfigError: a parameter that a class does not take or lacks, a type that is not registered, joined data sets
            that differ, or a batch too small for batch normalisation.
        DataError: a file that the config names does not exist.
    """
    try:
        yield
    except TypeError as error:
        sentence = _explain_call(str(error), _frames(error.__traceback__))
        if sentence is None:
            raise
        raise ConfigError(f"config {name}: {sentence}") from error
    except KeyError as error:
        match = _UNREGISTERED.search(str(error))
        if match is None:
            raise
        raise ConfigError(f"config {name}: {_explain_type(match, _frames(error.__traceback__))}") from error
    except ValueError as error:
        sentence = _explain_value(str(error), _frames(error.__traceback__))
        if isinstance(error, BevkdError) or sentence is None:
            raise
        raise ConfigError(f"config {name}: {sentence}") from error
    except AssertionError as error:
        if not str(error).startswith(_NO_TABLES):
            raise
        folder = str(error)[len(_NO_TABLES) :].strip()
        raise DataError(f"config {name} evaluates with the tables in {folder}, which does not exist") from error
    except FileNotFoundError as error:
        if error.filename is None:
            raise
        raise DataError(f"config {name} needs {error.filename}, which does not exist") from error


def _explain_value(message: str, frames: list[FrameType]) -> str | None:
    if found := _ONE_VALUE.search(message):
        return (
            f"a batch normalisation got one value per channel (input {found[1]}), of which it can take no statistics; "
            "expected a train_dataloader.batch_size of at least 2, and drop_last=True where the last batch holds one"
        )
    empty = next((f.f_locals.get("self") for f in frames if f.f_code.co_name == "_serialize_data"), None)
    if empty is not None and _NOTHING in message:  # mmengine joins the infos' bytes
        return (
            f"{getattr(empty, 'ann_file', 'a data set')} has no sample, or indices, filter_cfg or filter_empty_gt "
            "leave nothing of it; expected at least one"
        )
    if _OTHER_META in message:
        return f"the data sets that are joined have different metainfo ({message}), expected the same classes in all"
    return None


def _frames(trace: TracebackType | None) -> list[FrameType]:
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _explain_call(message: str, frames: list[FrameType]) -> str | None:
    builder = next((f for f in reversed(frames) if f.f_code.co_name in _BUILDERS), frames[-1])
    made, given = _call_of(builder, message)
    unexpected, missing = _UNEXPECTED.search(message), _MISSING.search(message)
    if unexpected and unexpected[1] in given:
        return f"{made.__name__} takes no parameter {unexpected[1]!r}{nearest(unexpected[1], _parameters(made))}"
    if missing and made is not None and builder is frames[-1]:
        return f"{made.__name__} lacks the parameter {missing[1]}"
    return None


def _call_of(builder: FrameType, message: str) -> tuple[Any, dict]:
    """The callable that a builder's frame was calling, and the config's keys for it."""
    values = builder.f_locals
    if builder.f_code.co_name == "build_from_cfg":
        return values.get("obj_cls"), values.get("args") or {}
    if builder.f_code.co_name == "build_dataloader":
        return builder.f_globals.get("DataLoader"), values.get("dataloader_cfg") or {}
    if "set_randomness" in message and isinstance(values.get("self"), Runner):
        return Runner.set_randomness, values.get("randomness") or {}
    return None, {}


def _parameters(made: Any) -> list[str]:
    """Parameter names of a class, those of its bases too where it passes ``**kwargs`` on."""
    names: dict[str, None] = {}
    for cls in inspect.getmro(made) if inspect.isclass(made) else (made,):
        try:
            parameters = inspect.signature(cls).parameters.values()
        except (TypeError, ValueError):
            break
        names.update((p.name, None) for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return list(names)


def _explain_type(match: re.Match, frames: list[FrameType]) -> str:
    wanted = match[1].strip("'\"")
    registry = next(
        (f.f_locals.get("registry") for f in reversed(frames) if f.f_code.co_name == "build_from_cfg"), None
    )
    known: list[str] = []
    while registry is not None:
        known += registry.module_dict
        registry = registry.parent
    return f"type {wanted!r} is not in the {match[3].strip()} registry{nearest(wanted, known) if known else ''}"
