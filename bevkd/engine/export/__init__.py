"""A trained student alone: as a checkpoint, as safetensors, as an ONNX graph."""

from bevkd.engine.export.student import FORMATS, export_student, load_student

__all__ = ["FORMATS", "export_student", "load_student"]
