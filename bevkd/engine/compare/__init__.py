"""Experiments that answer whether distillation pays: students with and without it, seed by seed."""

from bevkd.engine.compare.grid import Grid, read_grid
from bevkd.engine.compare.job import Job, read_result
from bevkd.engine.compare.run import require_unchanged, run_grid
from bevkd.engine.compare.summary import summarise
from bevkd.engine.compare.world import make_world

__all__ = ["Grid", "Job", "make_world", "read_grid", "read_result", "require_unchanged", "run_grid", "summarise"]
