"""Sparse weights of mmcv and spconv: recognised by shapes, turned, and the same numbers afterwards."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bevkd.errors import CheckpointError, ConfigError
from bevkd.structures.checkpoint import fill_model, load_weights
from bevkd.structures.sparse_layout import fit_sparse_weights, layout_of

KERNEL = (3, 3, 3)


def make(package: str, *channels: int) -> nn.Module:
    """A chain of layers that call themselves sparse convolutions of a package, with the shapes that it uses."""
    home = {"mmcv": "mmcv.ops.sparse_conv", "spconv": "spconv.pytorch.conv"}[package]

    def init(self, a: int, b: int, kernel=KERNEL) -> None:
        nn.Module.__init__(self)
        self.in_channels, self.out_channels, self.kernel_size = a, b, list(kernel)
        self.weight = nn.Parameter(torch.zeros((*kernel, a, b) if package == "mmcv" else (b, *kernel, a)))

    base = type("SparseConvolution", (nn.Module,), {"__module__": home, "__init__": init})
    kind = type("SubMConv3d", (base,), {})
    return nn.Sequential(*(kind(a, b) for a, b in pairwise(channels)), nn.Linear(2, 2))


def weights(package: str, *channels: int) -> dict[str, torch.Tensor]:
    """The same numbers for both packages: weight [z, y, x, in, out] counts up."""
    last = len(channels) - 1
    state = {f"{last}.weight": torch.ones(2, 2), f"{last}.bias": torch.ones(2)}
    for i, (a, b) in enumerate(pairwise(channels)):
        weight = torch.arange(27.0 * a * b).reshape(*KERNEL, a, b)
        state[f"{i}.weight"] = weight if package == "mmcv" else weight.permute(4, 0, 1, 2, 3)
    return state


def test_by_hand():
    # The weight from input channel 1 to output channel 0 at z = 2, y = 0, x = 1.
    model = make("spconv", 2, 3)
    fill_model(model, weights("mmcv", 2, 3), "a.pth")
    assert model[0].weight[0, 2, 0, 1, 1] == weights("mmcv", 2, 3)["0.weight"][2, 0, 1, 1, 0]
    model = make("mmcv", 2, 3)
    fill_model(model, weights("spconv", 2, 3), "a.pth")
    assert torch.equal(model[0].weight, weights("mmcv", 2, 3)["0.weight"])
    assert model[0].weight.is_contiguous()


@pytest.mark.parametrize("of_file", ["mmcv", "spconv"])
@pytest.mark.parametrize("of_model", ["mmcv", "spconv"])
def test_every_pair_and_layers_of_equal_channels(of_model, of_file):
    """Layers from 16 to 16 channels have different shapes too; only three to three channels look alike."""
    channels = (5, 16, 16, 3, 3, 32)
    model = make(of_model, *channels)
    state = weights(of_file, *channels)
    before = {key: value.clone() for key, value in state.items()}
    fill_model(model, state, "a.pth")
    for key, value in weights(of_model, *channels).items():
        assert torch.equal(model.state_dict()[key], value), key
    assert all(torch.equal(state[key], before[key]) for key in before)


def test_what_no_shape_tells_is_asked_for():
    model = make("spconv", 3, 3)
    with pytest.raises(CheckpointError, match=r"a\.pth has 0\.weight \(3, 3, 3, 3, 3\), which mmcv and"):
        fill_model(model, weights("mmcv", 3, 3), "a.pth")
    assert not model[0].weight.any()
    for told in ("mmcv", "spconv"):
        fill_model(model, weights(told, 3, 3), "a.pth", sparse_layout=told)
        assert torch.equal(model[0].weight, weights("spconv", 3, 3)["0.weight"])


def test_contradictions_are_refused():
    model = make("spconv", 2, 3, 4)
    mixed = weights("mmcv", 2, 3, 4) | {"1.weight": weights("spconv", 2, 3, 4)["1.weight"]}
    with pytest.raises(CheckpointError, match=r"mixes .*0\.weight of mmcv and 1\.weight of spconv"):
        fill_model(model, mixed, "a.pth")
    with pytest.raises(CheckpointError, match=r"0\.weight \(3, 3, 3, 3, 2\), which is spconv's layout, exp"):
        fill_model(model, weights("spconv", 2, 3, 4), "a.pth", sparse_layout="mmcv")
    with pytest.raises(ConfigError, match="sparse_layout is 'mmvc', expected 'mmcv' or 'spconv'; nearest: mmcv"):
        fill_model(model, weights("spconv", 2, 3, 4), "a.pth", sparse_layout="mmvc")
    with pytest.raises(CheckpointError, match=r"another shape than the model \(0\.weight \(2, 2, 2, 2, 3\) against"):
        fill_model(model, weights("spconv", 2, 3, 4) | {"0.weight": torch.zeros(2, 2, 2, 2, 3)}, "a.pth")


def test_other_modules_keep_their_weights():
    model = nn.Sequential(nn.Conv3d(3, 3, 3), nn.Conv2d(2, 2, 2))
    assert [layout_of(layer) for layer in model] == [None, None]
    state = model.state_dict()
    assert all(value is state[key] for key, value in fit_sparse_weights(model, state, "a.pth").items())


def dense(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A dense convolution with a weight in mmcv's layout, on [1, C, D, Y, X]."""
    return F.conv3d(x, weight.permute(4, 3, 0, 1, 2), padding=1)


@pytest.mark.parametrize("kept_as", ["mmcv", "spconv"])
def test_a_real_layer_computes_the_same_from_both_layouts(kept_as, tmp_path):
    """spconv on the CPU from a file in either layout, mmcv's own layer from the same file, and a dense convolution."""
    import bevkd.ops.mmcv_ext as provider
    from bevkd.detectors.sparse import run_anywhere  # before spconv, whose deprecations it keeps quiet

    spconv = pytest.importorskip("spconv.pytorch")
    provider.install()
    from mmcv.ops import SubMConv3d

    torch.manual_seed(0)
    weight = torch.randn(*KERNEL, 4, 6)
    state = {"0.weight": weight if kept_as == "mmcv" else weight.permute(4, 0, 1, 2, 3)}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    ours = nn.Sequential(spconv.SubMConv3d(4, 6, 3, padding=1, bias=False))
    theirs = nn.Sequential(SubMConv3d(4, 6, 3, padding=1, bias=False))
    run_anywhere(ours)
    for model in (ours, theirs):
        load_weights(model, tmp_path / "a.pth")
    assert torch.equal(theirs[0].weight, weight)
    assert torch.equal(ours[0].weight, weight.permute(4, 0, 1, 2, 3))

    sites = torch.rand(5, 6, 7).lt(0.4).nonzero()
    features = torch.randn(len(sites), 4)
    x = torch.zeros(1, 4, 5, 6, 7)
    x[0, :, sites[:, 0], sites[:, 1], sites[:, 2]] = features.T
    indices = F.pad(sites, (1, 0)).int()
    found = ours[0](spconv.SparseConvTensor(features, indices, [5, 6, 7], 1))
    expected = dense(theirs[0].weight, x)[0, :, sites[:, 0], sites[:, 1], sites[:, 2]].T
    order = {tuple(site): row for row, site in enumerate(found.indices[:, 1:].tolist())}
    rows = [order[tuple(site)] for site in sites.tolist()]
    torch.testing.assert_close(found.features[rows], expected, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_that_lost_its_versions_loads_into_mmdet3d_s_layers(tmp_path):
    """mmdet3d's loader turns sparse weights round where no version is recorded, as in any file but torch's own."""
    import bevkd.detectors.sparse  # noqa: F401

    pytest.importorskip("spconv")
    from mmdet3d.models.layers import make_sparse_convmodule

    torch.manual_seed(0)
    model = make_sparse_convmodule(5, 16, 3, "a")
    state = {key: value + 1 for key, value in model.state_dict().items()}
    assert not hasattr(state, "_metadata")
    torch.save(state, tmp_path / "a.pth")
    load_weights(model, tmp_path / "a.pth")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert model.state_dict()._metadata[""]["version"] == 2
