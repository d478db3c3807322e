"""A teacher's features computed once and read from disk: their key, shards and the teachers that read them."""

from bevkd.distill.cache.teachers import CachedDenseTeacher, CachedForegroundTeacher

__all__ = ["CachedDenseTeacher", "CachedForegroundTeacher"]
