"""Loading the compiled library, and what importing bevkd costs."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import bevkd.ops
from bevkd.errors import ConfigError
from bevkd.ops import library, reference

ROOT = Path(__file__).resolve().parents[2]
OPS = (
    *("voxelize", "bev_pool", "box_iou_rotated", "nms", "points_in_boxes"),
    *("rotated_box_mask", "box_keypoints", "sample_keypoints", "masked_feature_loss"),
    "waymo_matching",
)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_import_bevkd_loads_neither_torch_nor_mmcv():
    assert run("import sys, bevkd; print({'torch', 'mmcv', 'mmengine', 'numpy'} & set(sys.modules))") == "set()\n"


def test_importing_an_op_file_first_leaves_the_op_callable():
    code = "import bevkd.ops.voxelize, bevkd.ops.nms, bevkd.ops as o; print(callable(o.voxelize), callable(o.nms))"
    assert run(code) == "True True\n"


def test_every_public_name_resolves():
    for name in bevkd.ops.__all__:
        assert callable(getattr(bevkd.ops, name)), name
    with pytest.raises(AttributeError, match="no_such_op"):
        _ = bevkd.ops.no_such_op


@pytest.mark.parametrize("op", OPS)
def test_one_name_in_every_place(op):
    places = [
        f"csrc/{op}/{op}_cpu.cpp",
        f"bevkd/ops/{op}.py",
        f"bevkd/ops/reference/{op}.py",
        f"tests/ops/test_{op}.py",
    ]
    assert [place for place in places if not (ROOT / place).is_file()] == []


# Forms of an op that only pay on a GPU; on a CPU the op has another form.
GPU_ONLY = {"bevkd::lift_columns", "bevkd::bev_pool_columns", "bevkd::bev_pool_columns_backward"}


def test_every_schema_has_a_cpu_kernel_and_a_fake():
    library.load()
    schemas = [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("bevkd::")]
    names = {schema.name for schema in schemas if schema.arguments}  # one without tensors runs on no device
    assert len(names) >= 10
    for name in names:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU") or name in GPU_ONLY, name
        assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "Meta") or name in _with_python_fake(), name


def _with_python_fake() -> set[str]:
    from torch._library.simple_registry import singleton

    return {name for name in singleton._data if singleton.find(name).fake_impl.kernel is not None}


def test_missing_library_names_the_command(monkeypatch, tmp_path):
    library.load.cache_clear()
    monkeypatch.setattr(library, "PATH", tmp_path / "_C.so")
    with pytest.raises(
        ConfigError, match=r"_C\.so are missing; build it .*pip install -e \. --no-build-isolation"
    ) as error:
        library.load()
    assert "\n" not in str(error.value)


def test_library_of_another_torch_names_the_command(monkeypatch, tmp_path):
    library.load.cache_clear()
    (tmp_path / "_C.so").write_bytes(b"not a library")
    monkeypatch.setattr(library, "PATH", tmp_path / "_C.so")
    with pytest.raises(ConfigError, match="do not load under torch"):
        library.load()


def test_library_of_older_sources_names_the_command(monkeypatch):
    library.load.cache_clear()
    older = SimpleNamespace(load_library=lambda path: None, bevkd=SimpleNamespace())
    monkeypatch.setattr(library, "torch", SimpleNamespace(ops=older))
    with pytest.raises(ConfigError, match=r"_C\.so are older than this bevkd; build it"):
        library.load()


def test_twins_need_no_library():
    assert reference.__doc__
    names = "voxelize, bev_pool, rotated_box_mask, sample_keypoints, masked_feature_loss"
    code = f"import sys; from bevkd.ops.reference import {names}; print('bevkd.ops.library' in sys.modules)"
    assert run(code) == "False\n"
