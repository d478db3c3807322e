"""How voxelizers are called: bad input, a workspace, torch's own checks, compilation."""

import subprocess
import sys

import pytest
import torch
from op_checks import assert_opcheck
from voxel_checks import NAN, RANGE, SIZE

from bevkd.errors import ConfigError
from bevkd.ops import VoxelWorkspace, voxelize, voxelize_dynamic, voxelize_mean, voxelize_segments

INF = float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [[0.0, 0.0, 0.0]]}, "points is a list"),
        ({"points": torch.zeros(4, 4).double()}, "points is float64, expected float32"),
        ({"points": torch.zeros(4)}, r"points has shape \(4,\)"),
        ({"points": torch.zeros(2, 4, 4)}, r"points has shape \(2, 4, 4\)"),
        ({"points": torch.zeros(4, 2)}, "points have 2 columns"),
        ({"points": torch.zeros(4, 4, requires_grad=True)}, "points require a gradient"),
        ({"points": torch.zeros(1, 4).expand(2**31, 4)}, "there are 2147483648 points, expected fewer"),
        ({"voxel_size": (0.5, 0.0, 4.0)}, "voxel_size y is 0.0"),
        ({"voxel_size": (0.5, 1.0, -4.0)}, "voxel_size z is -4.0"),
        ({"voxel_size": (NAN, 1.0, 4.0)}, "voxel_size x is nan"),
        ({"voxel_size": (INF, 1.0, 4.0)}, "point_range x"),
        ({"voxel_size": 0.5}, "voxel_size is 0.5, expected 3 numbers"),
        ({"voxel_size": ("a", 1.0, 4.0)}, "voxel_size is .* expected 3 numbers"),
        ({"point_range": (0.0, 2.0)}, "expected 6 numbers"),
        ({"voxel_size": (0.3, 1.0, 4.0)}, r"point_range x \[0.0, 2.0\) is 6.6667 voxels"),
        ({"point_range": (2.0, -2.0, -2.0, 0.0, 2.0, 2.0)}, "point_range x"),
        ({"point_range": (0.0, -2.0, -2.0, INF, 2.0, 2.0)}, "point_range x"),
        ({"point_range": (0.0, -2.0, -2.0, 2.0, NAN, 2.0)}, "point_range y"),
        ({"point_range": (0.0,) * 3 + (2.0**24,) * 3, "voxel_size": (1.0,) * 3}, "point_range holds 4.7e\\+21 voxels"),
        ({"max_points": 0}, "max_points is 0"),
        ({"max_voxels": -1}, "max_voxels is -1"),
        ({"max_points": 2.5}, "max_points is 2.5"),
        ({"max_points": "many"}, "max_points is 'many'"),
        ({"max_voxels": NAN}, "max_voxels is nan"),
        ({"max_voxels": None, "workspace": VoxelWorkspace()}, "max_voxels is None, expected a number with a workspace"),
    ],
)
def test_bad_input_gets_one_sentence(change, message):
    arguments = {"points": torch.zeros(4, 4), "voxel_size": SIZE, "point_range": RANGE, "max_points": 2}
    with pytest.raises(ConfigError, match=message) as error:
        voxelize(**(arguments | {"max_voxels": 5} | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {0: torch.zeros(4, 2)},
        {0: torch.zeros(4, 4).double()},
        {1: [0.5, 0.0, 4.0]},
        {1: [0.5]},
        {2: [0.0, -2.0, -2.0, 1.9, 2.0, 2.0]},
        {2: [0.0, -2.0, -2.0, INF, 2.0, 2.0]},
        {2: [0.0, -2.0, -2.0, NAN, 2.0, 2.0]},
        {3: 0},
        {4: 0},
    ],
)
def test_the_kernel_refuses_too(change, device):
    arguments = [torch.zeros(4, 4), list(SIZE), list(RANGE), 2, 5]
    for place, value in change.items():
        arguments[place] = value
    arguments[0] = arguments[0].to(device)
    with pytest.raises((ValueError, TypeError)):
        torch.ops.bevkd.voxelize(*arguments)


@pytest.mark.parametrize(
    ("place", "wrong", "name"),
    [
        (0, torch.zeros(6, 2, 4), "features"),
        (0, torch.zeros(6, 4, 3).transpose(1, 2), "features"),
        (1, torch.zeros(6, 3), "coords"),
        (1, torch.zeros(5, 3, dtype=torch.int32), "coords"),
        (2, torch.zeros(6, 1, dtype=torch.int32), "num_points"),
        (3, torch.zeros(2, dtype=torch.int64), "counts"),
        (4, torch.zeros(100, dtype=torch.uint8), "scratch"),
    ],
)
def test_the_kernel_refuses_outputs_that_do_not_fit(place, wrong, name, device):
    cloud = torch.zeros(40, 4, device=device)
    out = list(VoxelWorkspace().tensors(cloud, (3, 4), 6))
    out[place] = wrong.to(device)
    if name == "features" and wrong.is_contiguous():
        out[0] = wrong[..., :3].contiguous().to(device)  # a row of another width
    with pytest.raises(ValueError, match=f"^{name} "):
        torch.ops.bevkd.voxelize_into(cloud, SIZE, RANGE, *out)


def test_workspace_gives_the_same_voxels_and_blank_rows(device):
    """Rows past the voxels are blank after a fuller call too, and the same memory is used."""
    workspace, means = VoxelWorkspace(), VoxelWorkspace()
    memory = set()
    for count in (300, 40, 0, 200):
        cloud = torch.randn(count, 4, device=device)
        plain, static = voxelize(cloud, SIZE, RANGE, 3, 12), voxelize(cloud, SIZE, RANGE, 3, 12, workspace)
        mean, static_mean = voxelize_mean(cloud, SIZE, RANGE, 3, 12), voxelize_mean(cloud, SIZE, RANGE, 3, 12, means)
        memory.add(static.features.data_ptr())
        for expected, found in ((plain, static), (mean, static_mean)):
            voxels = int(found.num_voxels)
            assert voxels == len(expected.coords)
            assert (found.num_dropped, found.num_invalid) == (expected.num_dropped, expected.num_invalid)
            assert all(torch.equal(a, b) for a, b in zip(found.trimmed(), expected[:3], strict=True))
            assert found.features[voxels:].eq(0).all()
            assert found.coords[voxels:].eq(-1).all()
            assert found.num_points[voxels:].eq(0).all()
    assert len(memory) == 1


def test_a_workspace_follows_a_change_of_shape(device):
    """Another cap, another number of points a voxel, another width: fresh memory, right voxels."""
    workspace = VoxelWorkspace()
    for columns, max_points, max_voxels in ((4, 3, 12), (4, 3, 5), (6, 3, 5), (6, 1, 5), (4, 3, 12)):
        cloud = torch.randn(200, columns, device=device)
        static = voxelize(cloud, SIZE, RANGE, max_points, max_voxels, workspace)
        assert static.features.shape == (max_voxels, max_points, columns)
        plain = voxelize(cloud, SIZE, RANGE, max_points, max_voxels)
        assert all(torch.equal(a, b) for a, b in zip(static.trimmed(), plain[:3], strict=True))


def test_a_refused_call_leaves_the_workspace_as_it_was(device):
    workspace = VoxelWorkspace()
    static = voxelize(torch.rand(50, 4, device=device), SIZE, RANGE, 3, 12, workspace)
    before = [t.clone() for t in static]
    with pytest.raises(ConfigError):
        voxelize(torch.rand(50, 2, device=device), SIZE, RANGE, 3, 12, workspace)
    assert all(torch.equal(a, b) for a, b in zip(static, before, strict=True))


@pytest.mark.parametrize("name", ["voxelize", "voxelize_mean"])
def test_opcheck(name, device):
    op = getattr(torch.ops.bevkd, name)
    assert_opcheck(op, torch.randn(40, 4, device=device), list(SIZE), list(RANGE), 3, 6)


def test_opcheck_segments(device):
    cloud = torch.randn(40, 4, device=device)
    assert_opcheck(torch.ops.bevkd.voxelize_segments, cloud, list(SIZE), list(RANGE), 6)


@pytest.mark.parametrize("name", ["voxelize_into", "voxelize_mean_into"])
def test_opcheck_into(name, device):
    cloud, mean = torch.randn(40, 4, device=device), name == "voxelize_mean_into"
    out = VoxelWorkspace().tensors(cloud, (4,) if mean else (3, 4), 6)
    assert_opcheck(getattr(torch.ops.bevkd, name), cloud, list(SIZE), list(RANGE), *[3] * mean, *out)


def test_opcheck_dynamic(device):
    assert_opcheck(torch.ops.bevkd.voxelize_dynamic, torch.randn(40, 4, device=device), list(SIZE), list(RANGE))


def test_a_forked_process_voxelizes_too():
    """As a data worker does, whose parent has used threads for the same op. torch gives a worker one thread, because
    none of its operators finds its team again in a forked process."""
    code = (
        "import os, torch; from bevkd.ops import voxelize_mean\n"
        "cloud, grid = torch.randn(100_000, 4), ((0.1,) * 3, (-3.2,) * 3 + (3.2,) * 3)\n"
        "torch.set_num_threads(3); before = voxelize_mean(cloud, *grid); child = os.fork()\n"
        "torch.set_num_threads(1 if child == 0 else 3)\n"
        "same = all(torch.equal(a, b) for a, b in zip(before, voxelize_mean(cloud, *grid)))\n"
        "os._exit(not same) if child == 0 else print(same, os.waitpid(child, 0)[1])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout == "True 0\n", run.stderr


WORKSPACE = VoxelWorkspace()
CALLS = {
    "voxelize": lambda cloud: voxelize(cloud, SIZE, RANGE, 3, 6),
    "mean": lambda cloud: voxelize_mean(cloud, SIZE, RANGE, 3, 6),
    "dynamic": lambda cloud: (voxelize_dynamic(cloud, SIZE, RANGE),),
    "segments": lambda cloud: voxelize_segments(cloud, SIZE, RANGE, 6),
    "workspace": lambda cloud: voxelize(cloud, SIZE, RANGE, 3, 6, WORKSPACE),
}


@pytest.mark.parametrize("name", CALLS)
def test_torch_compile_makes_one_graph(name, device):
    """Sizes that depend on the data need torch's switch for them; the workspace form and the dynamic one do not."""
    dynamic_sizes = name in ("voxelize", "mean", "segments")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=dynamic_sizes):
        compiled = torch.compile(CALLS[name], fullgraph=True, backend="aot_eager")
        for count in (40, 55, 0, 70):
            cloud = torch.randn(count, 4, device=device)
            found = [t.clone() for t in compiled(cloud)]
            assert all(torch.equal(a, b) for a, b in zip(found, CALLS[name](cloud), strict=True))
