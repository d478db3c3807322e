"""Parts built from configs, with errors that name the wrong key."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from bevkd.errors import BevkdError, ConfigError, nearest


def build_part(registry: Registry, config: Mapping, field: str, **filled: Any) -> Any:
    """Build one part of a detector.

    Args:
        registry: where the part's ``type`` is looked up.
        config: the part's config.
        field: dotted name of the config field, for the error sentence, e.g. ``"model.head"``.
        filled: arguments that the detector supplies itself; a config that repeats one is refused.

    Returns:
        The built object.

    Raises:
        ConfigError: no or unknown ``type``, an unknown or missing key, or a key that the detector fills in.
    """
    if not isinstance(config, Mapping) or "type" not in config:
        raise ConfigError(f"{field} is {config!r}, expected a dict with a 'type'")
    repeated = sorted(set(filled) & set(config))
    if repeated:
        raise ConfigError(
            f"{field} sets {', '.join(repeated)}, expected no such key: the detector fills it in from its grid"
        )
    found = _find_class(registry, config["type"], field)
    known = _parameters(found)
    if known is not None:
        for key in config:
            if key != "type" and key not in known:
                raise ConfigError(
                    f"{field} has the unknown key {key!r}, expected one of {found.__name__}'s{nearest(key, known)}"
                )
    try:
        return registry.build({**config, **filled})
    except BevkdError:
        raise
    except (TypeError, KeyError, AssertionError) as error:
        raise ConfigError(f"{field} (type {found.__name__}) cannot be built: {_explain(error, found)}") from error


def _find_class(registry: Registry, name: Any, field: str) -> type:
    if inspect.isclass(name):
        return name
    found = registry.get(name)
    if found is None:
        raise ConfigError(
            f"{field}.type is {name!r}, expected a registered name{nearest(str(name), registry.module_dict)}"
        )
    return found


def _parameters(found: type) -> list[str] | None:
    """Argument names of a class's constructor, or None when it takes arbitrary ones."""
    parameters = inspect.signature(found).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters]


def _explain(error: Exception, found: type) -> str:
    """The reason in one line; mmengine wraps the constructor's message in several, of which the last says why."""
    text = " ".join(str(error).split()) or type(error).__name__
    wrong = re.search(r"unexpected keyword argument '(\w+)'", text)
    if wrong:
        known = [n for n in inspect.signature(found).parameters if n not in ("self", "kwargs")]
        return f"unknown key {wrong[1]!r}{nearest(wrong[1], known)}"
    return text
