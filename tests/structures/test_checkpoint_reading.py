"""Checkpoints: read without executing anything, checked byte by byte, and fitted key by key."""

import hashlib
import os
import pickle
import zipfile

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OneCycleLR, build_optim_wrapper
from torch import nn

from bevkd.errors import CheckpointError
from bevkd.structures.checkpoint import SAFE_GLOBALS, load_state_dict, load_weights, read_checkpoint
from bevkd.structures.sums import sha256


class Runs:
    """A pickle that runs a command when it is loaded unsafely."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": nn.Linear(3, 2).state_dict(), "meta": {"epoch": 1}}, path)
    return path


def test_a_full_training_checkpoint_of_mmengine_loads(tmp_path):
    model = nn.Linear(2, 1)
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "AdamW", "lr": 0.1}})
    schedule = OneCycleLR(wrapper, eta_max=0.1, total_steps=10)
    hub = MessageHub.get_instance("bevkd-checkpoint-test")
    hub.update_scalar("train/loss", torch.tensor(3.0).item())
    hub.update_scalar("train/loss", 1.0)
    hub.update_info("iter", 2)
    path = tmp_path / "epoch_1.pth"
    content = {"state_dict": model.state_dict(), "message_hub": hub.state_dict(), "optimizer": wrapper.state_dict()}
    torch.save({**content, "param_schedulers": [schedule.state_dict()]}, path)
    read = read_checkpoint(path)
    assert read["message_hub"]["log_scalars"]["train/loss"].mean() == 2.0
    assert read["param_schedulers"][0]["last_step"] == schedule.last_step
    load_weights(model, path)


def test_globals_allowed_by_someone_else_stay_allowed(weights):
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    try:
        read_checkpoint(weights)
        assert HistoryBuffer in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
    read_checkpoint(weights)
    assert torch.serialization.get_safe_globals() == []


def test_plain_state_dicts_and_prefixes(tmp_path, weights):
    model = nn.Linear(3, 2)
    load_weights(model, weights)
    assert torch.equal(model.weight, load_state_dict(weights)["weight"])
    path = tmp_path / "distiller.pth"
    state = {f"student.{k}": v for k, v in load_state_dict(weights).items()}
    torch.save({**state, "methods.unidistill.adapters.low.0.weight": torch.zeros(1)}, path)
    student = nn.Linear(3, 2)
    load_weights(student, path, prefix="student.")
    assert torch.equal(student.weight, model.weight)
    with pytest.raises(CheckpointError, match=r"no key under 'teacher\.'"):
        load_weights(student, path, prefix="teacher.")


def test_every_kind_of_misfit_is_listed_and_nothing_is_loaded(weights):
    model = nn.Module()
    model.weight, model.scale = nn.Parameter(torch.zeros(2, 4)), nn.Parameter(torch.zeros(1))
    message = (
        r"weights.pth does not fit Module: 1 missing \(scale\); 1 unexpected \(bias\); "
        r"1 of another shape than the model \(weight \(2, 3\) against \(2, 4\)\)"
    )
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, weights)
    assert model.weight.abs().sum() == 0


def test_long_lists_are_cut_and_counted(weights):
    model = nn.ModuleList(nn.Linear(1, 1) for _ in range(8))
    with pytest.raises(CheckpointError, match=r"16 missing \(0.bias, .* and 6 more\); 2 unexpected"):
        load_weights(model, weights)


@pytest.mark.parametrize("share", [0, 1e-9, 0.01, 0.25, 0.5, 0.9, 0.999])
def test_truncation(weights, share):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share) + (0 < share < 1e-6)])
    kind = "is empty" if share == 0 else "truncated or corrupt|no checkpoint"
    with pytest.raises(CheckpointError, match=f"weights.pth.*{kind}"):
        read_checkpoint(weights)


def test_one_flipped_bit_in_any_tensor(tmp_path):
    path = tmp_path / "many.pth"
    torch.save({str(i): torch.full((16,), float(i)) for i in range(1, 21)}, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if "/data/" in m.filename and m.file_size == 64]
    assert len(members) == 20
    for member in members:
        name_length = int.from_bytes(content[member.header_offset + 26 : member.header_offset + 28], "little")
        extra_length = int.from_bytes(content[member.header_offset + 28 : member.header_offset + 30], "little")
        position = member.header_offset + 30 + name_length + extra_length + 5
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        torch.load(path, weights_only=True)  # torch itself does not notice
        with pytest.raises(CheckpointError, match=f"many.pth is corrupt: its member {member.filename} fails"):
            read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_files_are_refused(tmp_path, zipped):
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    calls = [
        Runs(os.system, f"touch {marker}"),
        Runs(eval, f"open({str(marker)!r}, 'w')"),
        Runs(getattr, HistoryBuffer, "__init__"),
        Runs(getattr, Runs, "__reduce__"),
    ]
    for call in calls:
        torch.save({"weight": torch.ones(1), "x": call}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match="is unsafe: it holds more than weights"):
            read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"hello world", "corrupt|no checkpoint"), (pickle.dumps({"a": 1}), "no checkpoint"), (b"PKxx", "truncated")],
)
def test_other_files_are_refused(tmp_path, content, found):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"other.pth.*({found})"):
        read_checkpoint(path)


def test_missing_files_and_files_without_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth is missing"):
        read_checkpoint(tmp_path / "absent.pth")
    for content in ({"epoch": 3}, [1, 2], {"state_dict": {}}):
        torch.save(content, tmp_path / "none.pth")
        with pytest.raises(CheckpointError, match=r"none\.pth holds .* expected a 'state_dict'"):
            load_state_dict(tmp_path / "none.pth")


def test_sha256(weights):
    assert sha256(weights) == hashlib.sha256(weights.read_bytes()).hexdigest()
