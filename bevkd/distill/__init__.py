"""Distillation: the distiller, its teachers, and one file per method for bird's-eye view."""

from bevkd.distill.cache import CachedDenseTeacher, CachedForegroundTeacher
from bevkd.distill.distillbev import DistillBEV
from bevkd.distill.distiller import Distiller
from bevkd.distill.rdd import RDD
from bevkd.distill.teachers import LiveTeacher
from bevkd.distill.unidistill import UniDistill

__all__ = [
    "RDD",
    "CachedDenseTeacher",
    "CachedForegroundTeacher",
    "DistillBEV",
    "Distiller",
    "LiveTeacher",
    "UniDistill",
]
