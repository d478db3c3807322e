"""A model that emits given features, so that any method runs inside the distiller without a real network."""

import torch
from torch import nn

from bevkd.distill.bev.example import bev_example


class Emit(nn.Module):
    """Hands on what it is called with; a tap can be put on it."""

    def forward(self, feature):
        return feature


class TapModel(nn.Module):
    """Features as trained parameters, one module per tap.

    Args:
        features: taps of :meth:`bevkd.distill.method.Method.example`.
        grid: of the features in bird's-eye view, or None.
    """

    def __init__(self, features, grid=None):
        super().__init__()
        self.grid = grid
        self.kept = nn.ParameterList()
        self.features = {name: self._keep(feature) for name, feature in features.items()}
        self.taps = nn.ModuleDict({name: Emit() for name in features})
        self.default_taps = {name: f"taps.{name}" for name in features}

    def _keep(self, feature):
        if isinstance(feature, torch.Tensor):
            self.kept.append(nn.Parameter(feature.detach().clone(), requires_grad=feature.is_floating_point()))
            return len(self.kept) - 1
        items = feature.items() if isinstance(feature, dict) else enumerate(feature)
        kept = {key: self._keep(value) for key, value in items}
        return kept if isinstance(feature, dict) else list(kept.values())

    def _given(self, kept):
        if isinstance(kept, int):
            return self.kept[kept]
        items = kept.items() if isinstance(kept, dict) else enumerate(kept)
        given = {key: self._given(value) for key, value in items}
        return given if isinstance(kept, dict) else list(given.values())

    def forward(self, inputs, data_samples=None, mode="tensor"):
        for name, tap in self.taps.items():
            tap(self._given(self.features[name]))
        return {"loss_own": sum(p.square().mean() for p in self.kept)} if mode == "loss" else None


def same_under_autocast(method):
    """The same features in and out of autocast give the same losses, to float32's digits."""
    student, teacher, targets = bev_example(student=6, teacher=6)
    with torch.no_grad():
        expected = method(student, teacher, targets)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = method(student, teacher, targets)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
