"""Distillation: the distiller, its teachers, and one file per method for bird's-eye view."""
