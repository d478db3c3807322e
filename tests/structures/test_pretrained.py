"""init_cfg of type Pretrained: every format, strictly, with one sentence for what does not fit."""

import http.server
import threading

import pytest
import torch
from mmengine.model import BaseModel, BaseModule, PretrainedInit, Sequential
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file
from torch import nn

from bevkd.errors import CheckpointError
from bevkd.structures.pretrained import Pretrained, strictly_pretrained
from bevkd.structures.sums import sha256


class Encoder(BaseModule):
    def __init__(self, width=4, init_cfg=None):
        super().__init__(init_cfg)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))
        self.out = nn.Conv2d(width, 2, 1)


def equal(module, state):
    return all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@pytest.fixture
def state():
    torch.manual_seed(3)
    return Encoder().state_dict()


def start(path, width=4, **options):
    encoder = Encoder(width, {"type": "Pretrained", "checkpoint": str(path), **options})
    encoder.init_weights()
    return encoder


def under(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize("kind", ["plain", "state_dict", "legacy", "safetensors", "wrapped"])
def test_every_format_starts_a_module(tmp_path, state, kind):
    path = tmp_path / "a.pth"
    if kind == "safetensors":
        save_file(state, path := tmp_path / "a.safetensors")
    elif kind == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(
            {"plain": state, "state_dict": {"state_dict": state}, "wrapped": under("module.", state)}[kind], path
        )
    assert equal(start(path), state)


@pytest.mark.parametrize("prefix", ["student.lidar_encoder.", "student.lidar_encoder"])
def test_a_prefix_takes_one_part(tmp_path, state, prefix):
    torch.save({**under("student.lidar_encoder.", state), "student.head.weight": torch.ones(1)}, tmp_path / "a.pth")
    assert equal(start(tmp_path / "a.pth", prefix=prefix), state)


def test_it_has_the_last_word_after_other_initialisers(tmp_path, state):
    torch.save(state, tmp_path / "a.pth")
    other = {"type": "Constant", "layer": "Conv2d", "val": 7.0}
    encoder = Encoder(init_cfg=[{"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}, other])
    model = Sequential(encoder)
    model.init_weights()
    assert equal(encoder, state)


def test_a_classifier_s_file_starts_an_image_backbone(tmp_path, state):
    extra = {"fc.weight": torch.ones(9, 2), "fc.bias": torch.ones(9)}
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save({**old, **extra}, tmp_path / "resnet.pth")
    assert equal(start(tmp_path / "resnet.pth"), state)


def broken(state, kind):
    if kind == "missing":
        return {key: value for key, value in state.items() if key != "out.bias"}
    if kind == "unexpected":
        return {**state, "out.scale": torch.ones(1)}
    return {**state, "out.bias": torch.ones(5)}


@pytest.mark.parametrize("prefix", [None, "lidar_encoder."])
@pytest.mark.parametrize(
    ("kind", "listed"),
    [
        ("missing", r"1 missing \(out.bias\)"),
        ("unexpected", r"1 unexpected \(out.scale\)"),
        ("shape", r"1 of another shape than the model \(out.bias \(5,\) against \(2,\)\)"),
    ],
)
def test_keys_that_do_not_fit_are_listed(tmp_path, state, kind, listed, prefix):
    torch.save(under(prefix or "", broken(state, kind)), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"a\.pth does not fit Encoder: {listed}$"):
        start(tmp_path / "a.pth", **({"prefix": prefix} if prefix else {}))


def test_a_whole_model_takes_no_further_parts(tmp_path, state):
    class Model(BaseModel):
        def __init__(self, init_cfg):
            super().__init__(init_cfg=init_cfg)
            self.encoder = Encoder()

        def forward(self, *args, **kwargs): ...

    torch.save({**under("encoder.", state), "head.weight": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"does not fit Model: 1 unexpected \(head.weight\)"):
        Model({"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}).init_weights()


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        ("pts_encoder.", r"has no key under 'pts_encoder.'; the keys of Encoder lie under 'student.lidar_encoder.'$"),
        (None, r"has no key of Encoder; the keys of Encoder lie under 'student.lidar_encoder.'$"),
    ],
)
def test_the_right_prefix_is_named(tmp_path, state, prefix, sentence):
    torch.save({**under("student.lidar_encoder.", state), "student.head.w": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=sentence):
        start(tmp_path / "a.pth", prefix=prefix)


def test_without_a_right_prefix_the_nearest_are_named(tmp_path):
    torch.save(under("student.camera.", {"a": torch.ones(1), "b": torch.ones(1)}), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"no key under 'student.camra.'; nearest: student.camera."):
        start(tmp_path / "a.pth", prefix="student.camra.")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.pth", "checkpoint none.pth is missing, expected a file"),
        ("s4://bucket/a.pth", "has the scheme s4://, which is not known; download it and give its path"),
        ("open-mmlab://detectron2/resnet5_caffe", "is none of open-mmlab://; nearest: detectron2/resnet50_caffe"),
        ("http://127.0.0.1:9/a.pth", r"cannot be fetched \(.*\), download it and give its path"),
        ("torchvision://resnet5", "is none of torchvision://|needs torchvision, which is not installed; download it"),
    ],
)
def test_what_cannot_be_reached(name, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match=sentence):
        start(name)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_url_is_fetched_once_and_read_safely(tmp_path, state, monkeypatch):
    (tmp_path / "web").mkdir()
    torch.save(state, tmp_path / "web" / "a.pth")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=tmp_path / "web", **kwargs)

        def log_message(self, *args): ...

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.pth"
        assert equal(start(url), state)
        server.shutdown()
    assert equal(start(url), state)  # from the cache


def test_an_altered_file_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "a.pth")
    (tmp_path / "a.pth.sha256").write_text("0" * 64 + "  a.pth\n")
    with pytest.raises(CheckpointError, match="has sha256"):
        start(tmp_path / "a.pth")


def test_backbones_that_call_mmengine_s_loader_read_safely_too(tmp_path, state):
    torch.save(state, tmp_path / "a.pth")
    (tmp_path / "a.pth.sha256").write_text(sha256(tmp_path / "a.pth"))
    assert CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth")).keys() == state.keys()
    with pytest.raises(CheckpointError, match="is missing"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "none.pth"))


def test_configs_that_name_the_class_are_strict_as_well(tmp_path, state):
    torch.save(broken(state, "missing"), tmp_path / "a.pth")
    encoder = Encoder(init_cfg={"type": PretrainedInit, "checkpoint": str(tmp_path / "a.pth")})
    strictly_pretrained(encoder)
    assert encoder.init_cfg["type"] == Pretrained.__name__
    with pytest.raises(CheckpointError, match="missing"):
        encoder.init_weights()
