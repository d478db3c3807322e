"""Settings of two configs compared, and the first that differs named."""

import pytest
from torch import nn

from bevkd.structures.settings import first_difference, plain_settings


def test_one_form_for_every_way_to_write_a_config():
    one = {
        "type": nn.Linear,
        "size": (1, 2.0),
        "none": None,
        "empty": {"init_cfg": 1},
        "parts": [{"type": "mmdet.ResNet"}],
    }
    other = {"parts": ({"type": "ResNet", "init_cfg": {"a": 1}},), "size": [1, 2], "type": "Linear", "loss_cls": 3}
    without = ("init_cfg", "loss*")
    assert plain_settings(one, without) == plain_settings(other, without)


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ("a.b.1", "2", "3")),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 3]}}, ("a.b", "[1]", "[1, 3]")),
        ({"a": 1}, {}, ("a", "1", "unset")),
        ({}, {"z": True}, ("z", "unset", "True")),
        ({"a": 1}, {"a": 1}, None),
        ({"a": "x" * 500}, {"a": "y"}, ("a", "x" * 120 + " ...", "y")),
    ],
)
def test_the_first_difference_is_named(ours, theirs, found):
    assert first_difference(ours, theirs) == found
