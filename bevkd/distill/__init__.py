"""The core of distillation: a student, its teachers and the methods between them, free of any one task."""

from importlib import import_module
from typing import Any

from bevkd.distill.cache import CachedDenseTeacher, CachedForegroundTeacher
from bevkd.distill.distiller import Distiller
from bevkd.distill.method import Example, Method, Paper
from bevkd.distill.teachers import LiveTeacher

# Papers live in bevkd.methods; these three were published here first, and scripts import them from here.
_MOVED = {"UniDistill": "unidistill", "DistillBEV": "distillbev", "RDD": "rdd"}

__all__ = [
    "RDD",
    "CachedDenseTeacher",
    "CachedForegroundTeacher",
    "DistillBEV",
    "Distiller",
    "Example",
    "LiveTeacher",
    "Method",
    "Paper",
    "UniDistill",
]


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MOVED[name]}"), name)
