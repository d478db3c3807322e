"""The emulator of CUDA kernels: it computes what CUDA computes, and it sees faults."""

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cuda_emulation import build

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def library():
    found = ctypes.CDLL(str(build.build([*build.HERE.glob("*.cpp"), build.HERE / "selftest.cu"], "selftest")))
    found.bevkd_selftest.restype = ctypes.c_char_p
    found.bevkd_selftest.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    return found


@pytest.fixture
def run(library):
    """run(which, input, output, extra) -> what was thrown, or an empty string."""

    def call(which: int, source: torch.Tensor | None, out: torch.Tensor, extra: int = 0) -> str:
        at = None if source is None else source.data_ptr()
        return library.bevkd_selftest(which, at, out.data_ptr(), extra).decode()

    return call


def ints(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.int32) * 7919 % 101


def test_sums_over_blocks_of_warps(run):
    source, out = ints(1000), torch.zeros(16, dtype=torch.int32)
    assert run(0, source, out, 1000) == ""
    padded = torch.cat((source, source.new_zeros(24))).view(16, 64)
    assert out.tolist() == padded.sum(1).tolist()


def test_nothing_to_do_is_no_launch(run):
    assert run(0, None, torch.zeros(0), 0) == ""


def test_votes_and_shuffles(run):
    source, out = ints(32), torch.zeros(128, dtype=torch.int32)
    assert run(1, source, out) == ""
    ballot, below, broadcast, apart = out.view(4, 32)
    odd = sum(1 << lane for lane in range(32) if source[lane] % 2)
    assert {value % 2**32 for value in ballot.tolist()} == {odd}
    expected = [min(source[i], source[i - 1] if i % 16 else source[i]).item() for i in range(32)]
    assert below.tolist() == expected
    assert broadcast.tolist() == [source[i // 8 * 8 + 3].item() for i in range(32)]
    assert apart.tolist() == [source[i ^ 1].item() for i in range(4)] + [1] * 28


def test_dynamic_shared_memory(run):
    source, out = torch.rand(128), torch.zeros(128)
    assert run(2, source, out) == ""
    assert torch.equal(out, source.flip(0))


def test_a_missing_barrier_is_seen(run):
    source, out = torch.rand(128), torch.zeros(128)
    assert run(3, source, out) == ""
    assert out.isnan().any()


def test_shared_memory_starts_poisoned(run):
    for written in (16, 8, 0):  # what an earlier block left is gone
        out = torch.zeros(32)
        assert run(5, None, out, written) == ""
        assert (out[:written] == 1).all()
        assert out[written:].isnan().all()


@pytest.mark.parametrize(
    ("which", "extra", "message"),
    [
        (4, 0, r"\(reverse<true, 1>\): wrote past the 512 bytes"),
        (6, 0, r"half_a_barrier: __syncthreads on line \d+ and on line \d+ are reached by different threads"),
        (7, 0, r"lanes_apart: lane \d+ waits in a warp operation on line \d+"),
        (8, 9, r"bounds: .*selftest.cu:\d+: .*[Ii]ndex 9 out of bounds"),
        (9, 0, r"misaligned: .*misaligned address"),
        (16, 0, r"nowhere: .*null pointer"),
        (10, 2**20, r"overflow: .*[Ss]igned integer overflow"),
        (14, 2000, r"twice<float>: a block has 1 to 1024 threads"),
    ],
)
def test_faults_end_the_launch_with_one_sentence(run, which, extra, message):
    found = run(which, torch.zeros(256), torch.zeros(256), extra)
    assert re.match("emulated CUDA kernel " + message, found), found
    assert run(2, torch.zeros(128), torch.zeros(128)) == ""  # the next launch is well again


def test_order_of_arrival_follows_the_seed(library, run):
    orders = []
    for seed in (1, 1, 2):
        library.bevkd_emulation_seed(seed)
        out = torch.zeros(257, dtype=torch.int32)
        assert run(11, None, out) == ""
        assert out[:256].sort()[0].tolist() == list(range(256))
        orders.append(out[:256].tolist())
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != list(range(256))


def test_writes_out_of_bounds_and_forgotten_outputs_are_seen(library):
    """In a process of its own: from the call on, all its CPU tensors lie between fences."""
    code = f"""if True:
        import ctypes, torch
        library = ctypes.CDLL({library._name!r})
        library.bevkd_selftest.restype = ctypes.c_char_p
        library.bevkd_emulation_guard_memory()
        out = torch.empty(33)
        fill = lambda at, count: library.bevkd_selftest(15, None, ctypes.c_void_p(at), count).decode()
        for count in (32, 33, 34, 33):
            print(fill(out.data_ptr(), count) or out[31:].tolist())
        print(fill(out.data_ptr() - 4, 1))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "[1.0, nan]",
        "[1.0, 1.0]",
        "emulated CUDA kernel fill: wrote past the end of a tensor of 132 bytes",
        "[1.0, 1.0]",
        "emulated CUDA kernel fill: wrote before a tensor of 132 bytes",
    ]


@pytest.mark.parametrize(("which", "dtype"), [(12, torch.half), (13, torch.bfloat16)])
def test_low_precision(run, which, dtype):
    source, out = torch.randn(32).to(dtype), torch.zeros(32, dtype=dtype)
    assert run(which, source, out) == ""
    assert torch.equal(out, source * 2)


@pytest.mark.slow
def test_the_op_tests_pass_on_emulated_cuda_kernels():
    command = [sys.executable, "-m", "pytest", "tests/ops", "--emulated-cuda", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
