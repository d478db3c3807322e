"""Whether an implementation gives the same bits in every one of many runs."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Candidate, threads

_RUNS = 50


def repeatable(candidate: Candidate, device: torch.device) -> bool:
    """The digests of 50 runs are equal: on a CPU over one and two threads in turn, on a GPU over two streams."""
    digests = set()
    for number in range(_RUNS):
        if device.type == "cuda":
            with torch.cuda.stream(torch.cuda.Stream() if number % 2 else torch.cuda.default_stream()):
                digests.add(_digest(candidate.run()))
        else:
            with threads(1 + number % 2):
                digests.add(_digest(candidate.run()))
    return len(digests) == 1


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    for tensor in _tensors(value):
        digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in _tensors(part)]
    return []
