"""Kernels on every instruction set that this processor has, and on none that it lacks.

``ATEN_CPU_CAPABILITY`` is read once in a process, so each setting runs in a process of its own.
"""

import os
import subprocess
import sys

import pytest
import torch

from bevkd.ops import library

SETTINGS = {"default": 16, "avx2": 32, "avx512": 64}  # bytes of a vector register
HEAD = """
import hashlib, sys, torch
from bevkd.ops import library
library.load()
print(*torch.ops.bevkd.vector_bytes())
"""
# Ops over all kernels that choose their width. Rows of 5 channels are shorter than a unit, 81 are no whole number.
# Inputs are fractions of random whole numbers: torch.randn has other bits on other instruction sets.
BITS = """
from bevkd.ops import LiftPlan, bev_pool, segment_max, segment_mean, voxelize_dynamic, voxelize_segments
from bevkd.structures import BEVGrid
draw = torch.Generator().manual_seed(1)
hashed = hashlib.sha256()
def keep(*parts):
    for part in parts:
        hashed.update(part.detach().float().contiguous().view(torch.uint8).numpy().tobytes())
def drawn(*shape, dtype=torch.float32):
    return torch.randint(-(2**20), 2**20, shape, generator=draw).to(dtype) / 2**19
for channels, dtype in ((5, torch.float32), (80, torch.float32), (81, torch.float32), (200, torch.float64)):
    shape = 2, 2, 30, 5, 11
    plan = LiftPlan.build(2 * drawn(*shape, 3, dtype=dtype), BEVGrid((-4, 4), (-3, 3), 1.0), (-2.0, 2.0))
    leaves = drawn(*shape, dtype=dtype).requires_grad_(), drawn(2, 2, 5, 11, channels, dtype=dtype).requires_grad_()
    out = bev_pool(*leaves, plan)
    keep(plan.cell, *plan.lists, out, *torch.autograd.grad(out, leaves, drawn(2, channels, 6, 8, dtype=dtype)))
cloud, grid = 8 * drawn(5003, 5), ((0.3, 0.7, 4.0), (-9, -8, -2, 9, 6, 2))
keep(voxelize_dynamic(cloud, *grid))
segments = voxelize_segments(cloud, *grid)
for channels in (3, 21, 64):
    features = drawn(5003, channels).requires_grad_()
    for op in (segment_mean, segment_max):
        out = op(features, segments)
        keep(out, *torch.autograd.grad(out, features, drawn(*out.shape)))
print(hashed.hexdigest())
"""


def run(setting: str | None, code: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "ATEN_CPU_CAPABILITY"}
    if setting is not None:
        environment["ATEN_CPU_CAPABILITY"] = setting
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)


@pytest.fixture(scope="module")
def processor() -> int:
    """The widest registers of this processor by torch's own choice, which reads the processor's flags."""
    used, asked = (int(word) for word in run(None, HEAD).stdout.split())
    assert used == asked
    return used


@pytest.fixture(scope="module")
def runs(processor) -> dict[str, subprocess.CompletedProcess]:
    """A run for each setting; torch's own operators are called only where the processor has what is set."""
    return {name: run(name, HEAD + BITS if width <= processor else HEAD) for name, width in SETTINGS.items()}


@pytest.mark.parametrize("setting", SETTINGS)
def test_kernels_use_no_more_than_the_processor_has(setting, processor, runs):
    used, asked = (int(word) for word in runs[setting].stdout.split()[:2])
    assert used == min(SETTINGS[setting], processor)
    assert asked in (SETTINGS[setting], processor)  # a processor of another kind ignores these settings
    assert runs[setting].stderr.count("ATEN_CPU_CAPABILITY is") == (used < asked)


def test_same_bits_on_every_instruction_set(processor, runs):
    found = {name: runs[name].stdout.split()[2] for name, width in SETTINGS.items() if width <= processor}
    assert len(set(found.values())) == 1, found


def test_a_setting_beyond_the_processor_gets_one_sentence(monkeypatch, caplog):
    library.load()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx512")
    monkeypatch.setattr(torch.ops.bevkd, "vector_bytes", lambda: (32, 64))
    library._warn_of_wide_kernels()
    (record,) = caplog.records
    assert "ATEN_CPU_CAPABILITY is 'avx512', but this processor has AVX2: torch's own kernels may" in record.message
    monkeypatch.setattr(torch.ops.bevkd, "vector_bytes", lambda: (32, 32))
    library._warn_of_wide_kernels()
    assert len(caplog.records) == 1
