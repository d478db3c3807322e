"""Fixtures of the method tests: those of the distiller's."""

from tests.distill.conftest import batch, boxes, detector, empty_batch, grid

__all__ = ["batch", "boxes", "detector", "empty_batch", "grid"]
