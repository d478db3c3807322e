"""Every random stream and every token comes from the seed and a list of names, never from global state."""

import hashlib

import numpy as np


def _digest(seed: int, names: tuple) -> bytes:
    return hashlib.md5("/".join([str(int(seed)), *map(str, names)]).encode(), usedforsecurity=False).digest()


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Random generator that depends only on ``seed`` and ``names``; two different name lists are independent."""
    return np.random.default_rng(np.frombuffer(_digest(seed, names), dtype=np.uint32))


def token(seed: int, *names: str | int) -> str:
    """32 hexadecimal digits, the form of a nuScenes token; the same names give the same token."""
    return _digest(seed, ("token", *names)).hex()
