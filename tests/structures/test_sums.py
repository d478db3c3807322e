"""The hash file beside a checkpoint: honoured by every reader, and refused when it is none."""

import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bevkd.errors import CheckpointError
from bevkd.structures.checkpoint import load_weights
from bevkd.structures.sums import check_sums, sha256


def write(path, kind):
    state = nn.Linear(30, 20).state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_any_flipped_bit_is_refused_when_weights_are_loaded(tmp_path, kind):
    path = write(tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth"), kind)
    (tmp_path / f"{path.name}.sha256").write_text(f"{sha256(path)}  {path.name}\n")
    model = nn.Linear(30, 20)
    load_weights(model, path)
    before = [parameter.clone() for parameter in model.parameters()]
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(40):
        broken = bytearray(whole)
        broken[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(
            CheckpointError, match=r"has sha256 \w{12}, expected \w{12} as a\.\w+\.sha256 says; it was "
        ):
            load_weights(model, path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (bytes(range(256)), "holds binary data"),
        (b"\x00" * 64, r"holds '\\x00"),
        (b"d41d8cd98f00b204e9800998ecf8427e  a.pth\n", "holds 'd41d8cd98f00b204e9800998ecf8427e'"),
        (b"g" * 64, "holds 'ggg"),
        (b"SHA256 (a.pth) = " + b"a" * 64, "holds 'SHA256'"),
        (None, r"cannot be read \(Is a directory\)"),
    ],
)
def test_a_hash_file_that_is_none_is_refused(tmp_path, content, found):
    path = write(tmp_path / "a.pth", "zip")
    sums = tmp_path / "a.pth.sha256"
    sums.mkdir() if content is None else sums.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.pth\.sha256 {found}.*expected a line of sha256sum: 64 hexadecimal"):
        load_weights(nn.Linear(30, 20), path)


def test_a_hash_file_that_points_to_nothing_is_refused(tmp_path):
    path = write(tmp_path / "a.pth", "zip")
    (tmp_path / "a.pth.sha256").symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"a\.pth\.sha256 cannot be read \(No such file or directory\)"):
        check_sums(path)


@pytest.mark.parametrize(
    "line", ["{sum}  a.pth\r\n", "{SUM} *a.pth\n", "{sum}", "\ufeff{sum}  a.pth", "{sum}  old.pth"]
)
def test_every_way_to_write_a_hash_file(tmp_path, line):
    path = write(tmp_path / "a.pth", "zip")
    digest = sha256(path)
    (tmp_path / "a.pth.sha256").write_text(line.format(sum=digest, SUM=digest.upper()), "utf-8")
    assert check_sums(path)


def test_in_a_list_of_files_the_own_name_counts(tmp_path):
    path, other = write(tmp_path / "a.pth", "zip"), write(tmp_path / "b.pth", "zip")
    (tmp_path / "a.pth.sha256").write_text(f"{sha256(path)}  b.pth\n{sha256(other)}  a.pth\n")
    with pytest.raises(CheckpointError, match=rf"has sha256 {sha256(path)[:12]}, expected {sha256(other)[:12]}"):
        check_sums(path)
