"""Implementations to measure against: PyPI packages, plain torch, or written anew from a published description."""
