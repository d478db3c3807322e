"""Published distillation methods, one file per paper, named as the paper names its method.

>>> list_methods("bev")
['DistillBEV', 'RDD', 'UniDistill']
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from bevkd.distill.method import Method
from bevkd.errors import ConfigError, nearest


def _found() -> Iterator[type[Method]]:
    """The methods of every file in this folder; a file that begins with ``_`` is shared by several papers."""
    for file in iter_modules(__path__):
        if not file.name.startswith("_"):
            module = import_module(f"{__name__}.{file.name}")
            for value in vars(module).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, Method)
                    and value.__module__.startswith(module.__name__)
                ):
                    yield value


METHODS: dict[str, type[Method]] = {method.__name__: method for method in sorted(_found(), key=lambda m: m.__name__)}


def list_methods(family: str | None = None) -> list[str]:
    """The names of all methods, or of one family's, in alphabetical order."""
    return [name for name, method in METHODS.items() if family in (None, method.family)]


def get_method(name: str) -> type[Method]:
    """The class of a method.

    >>> get_method("UniDistill").paper.year
    2023

    Raises:
        ConfigError: no such method; the nearest names are listed.
    """
    if name not in METHODS:
        raise ConfigError(f"there is no method {name!r}{nearest(name, METHODS)}")
    return METHODS[name]
