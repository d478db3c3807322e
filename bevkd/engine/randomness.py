"""The state of every random generator that training uses: taken, put back, and kept neutral."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def random_state() -> dict:
    """State of python's, numpy's and torch's generators, of builtin types and tensors only (so it loads safely)."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  (transforms draw from it)
    state = {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict) -> None:
    """Put back what :func:`random_state` returned."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def unchanged_randomness() -> Iterator[None]:
    """Run a block that may draw random numbers without moving the generators of the caller."""
    before = random_state()
    try:
        yield
    finally:
        restore_random_state(before)


def seed_all(seed: int) -> None:
    """Seed python, numpy and the CPU generator of torch; ``seed`` may be any non-negative integer."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.random.default_generator.manual_seed(seed % 2**63)
