"""Named features of any module."""

import gc
import weakref

import pytest
import torch
from torch import nn

from bevkd.errors import ConfigError
from bevkd.structures.taps import TapRecorder, record_taps, resolve_taps


class Head(nn.Module):
    """Returns what mmdet3d's CenterHead returns: a tuple over tasks of one-element lists of dicts."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(3, 2, 1) for _ in range(2))

    def forward(self, features):
        return tuple([{"heatmap": m(features[0]), "reg": features[0] * 2}] for m in self.maps)


class Net(nn.Module):
    default_taps = {"low": "body:input", "high": "body", "head": "head"}

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
        self.head = Head()
        self.spare = nn.Linear(1, 1)

    def forward(self, x):
        out = self.head([self.body(x)])
        for task in out:
            task[0]["heatmap"].sigmoid_()
            task[0]["anno_box"] = x
        return out


def test_records_input_output_and_head():
    net, x = Net(), torch.randn(1, 3, 4, 4)
    with record_taps(net) as features:
        out = net(x)
    assert features["low"] is x
    torch.testing.assert_close(features["high"], net.body(x))
    assert [sorted(task) for task in features["head"]] == [["heatmap", "reg"]] * 2
    raw = net.head.maps[0](net.body(x))
    torch.testing.assert_close(features["head"][0]["heatmap"], raw)  # before the sigmoid in place
    torch.testing.assert_close(out[0][0]["heatmap"], raw.sigmoid())


def test_gradient_flows_through_recorded_features():
    net = Net()
    with record_taps(net) as features:
        net(torch.randn(1, 3, 4, 4))
    features["head"][1]["heatmap"].sum().backward()
    assert net.body[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("container", "length"), [(list, 1), (tuple, 1), (list, 2)])
def test_one_tensor_is_unwrapped_and_several_stay_a_list(container, length):
    class Neck(nn.Module):
        def forward(self, x):
            return container([x] * length)

    net = nn.Sequential(Neck())
    x = torch.ones(1, 2)
    with record_taps(net, {"high": "0"}) as features:
        net(x)
    assert features["high"] is x if length == 1 else len(features["high"]) == 2


def test_input_given_by_keyword():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            return self.inner(input=x)

    x = torch.ones(2)
    net = Outer()
    with record_taps(net, {"low": "inner:input"}) as features:
        net(x)
    assert features["low"] is x


@pytest.mark.parametrize(
    ("taps", "found"),
    [
        ({"high": "boddy"}, "names 'boddy'.*nearest: body"),
        ({"low": "body.5:input"}, "body.0"),
        ({"low": "body:output"}, "body"),
        ({"low": ""}, "names ''"),
    ],
)
def test_mistyped_path_lists_the_nearest(taps, found):
    with pytest.raises(ConfigError, match=found):
        resolve_taps(Net(), taps)


def test_a_model_without_default_taps_needs_some():
    with pytest.raises(ConfigError, match="Linear declares no default_taps"):
        resolve_taps(nn.Linear(1, 1), None)


def test_a_tap_that_never_fires_is_named():
    net = Net()
    with pytest.raises(ConfigError, match="tap 'x' at 'spare' did not fire"), record_taps(net, {"x": "spare"}):
        net(torch.randn(1, 3, 4, 4))


def test_a_tap_that_fires_twice_is_named():
    net = Net()
    with pytest.raises(ConfigError, match="'low' at 'body:input' fired twice"), record_taps(net):
        net(net(torch.randn(1, 3, 4, 4))[0][0]["reg"])


def test_a_feature_overwritten_in_place_is_refused():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True))
    with pytest.raises(ConfigError, match="'high' at '0' was overwritten in place"), record_taps(net, {"high": "0"}):
        net(torch.randn(1, 1, 4, 4))


def test_hooks_and_features_are_gone_afterwards():
    net = Net()
    recorder = TapRecorder(net)
    with recorder:
        net(torch.randn(1, 3, 4, 4))
    features = recorder.take()
    ghost = weakref.ref(features["high"])
    del features
    gc.collect()
    assert ghost() is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_an_exception_leaves_nothing_behind():
    net = Net()
    recorder = TapRecorder(net)
    with pytest.raises(RuntimeError), recorder:
        net(torch.randn(1, 7, 4, 4))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ConfigError, match="did not fire"):
        recorder.take()
