"""Named features of any model, recorded while it runs, by forward hooks on dotted module paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from bevkd.errors import ConfigError, nearest

_INPUT = ":input"


def resolve_taps(model: nn.Module, taps: Mapping[str, str] | None) -> dict[str, str]:
    """The taps to use on a model: the given ones, or the model's own ``default_taps``, each checked to exist.

    Args:
        taps: name -> dotted module path, for what the module returns, or ``path:input`` for what enters it.

    Raises:
        ConfigError: no taps at all, or a path that names no module (the nearest real ones are listed).
    """
    taps = taps or getattr(model, "default_taps", None)
    if not taps:
        who = type(model).__name__
        raise ConfigError(f"{who} declares no default_taps, expected taps=dict(name='module.path', ...)")
    modules = {name for name, _ in model.named_modules() if name}
    for name, path in taps.items():
        if path.removesuffix(_INPUT) not in modules:
            paths = nearest(path.removesuffix(_INPUT), sorted(modules))
            raise ConfigError(f"tap {name!r} names {path!r}, which {type(model).__name__} does not have{paths}")
    return dict(taps)


class TapRecorder:
    """Records each tap once while the ``with`` block runs; :meth:`take` then hands the features over.

    A list or tuple around one tensor is unwrapped. What mmdet3d's CenterHead returns, a tuple over tasks of
    one-element lists of dicts, becomes a list over tasks of dicts of RAW maps, whose heat maps are cloned:
    the detection loss applies its sigmoid to them in place. Nothing else is copied or detached, and nothing is
    kept after :meth:`take` or after an exception.

    Args:
        model: any module.
        taps: name -> path, see :func:`resolve_taps`.

    Raises:
        ConfigError: a mistyped path; on leaving the block, a tap that did not fire, one that fired more than once,
            or a feature that later layers overwrote in place.
    """

    def __init__(self, model: nn.Module, taps: Mapping[str, str] | None = None) -> None:
        self.model, self.taps = model, resolve_taps(model, taps)
        self._features: dict[str, Any] = {}
        self._versions: dict[str, list[int]] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> TapRecorder:
        self._features, self._versions = {}, {}
        modules = dict(self.model.named_modules())
        for name, path in self.taps.items():
            module = modules[path.removesuffix(_INPUT)]
            if path.endswith(_INPUT):
                hook = module.register_forward_pre_hook(self._on_input(name), with_kwargs=True)
            else:
                hook = module.register_forward_hook(self._on_output(name))
            self._handles.append(hook)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if kind is not None:
            self._features, self._versions = {}, {}

    def take(self) -> dict[str, Any]:
        """Hand over the recorded features and keep none."""
        features, versions = self._features, self._versions
        self._features, self._versions = {}, {}
        for name, path in self.taps.items():
            if name not in features:
                raise ConfigError(f"tap {name!r} at {path!r} did not fire in this forward, expected exactly one call")
            if versions[name] != _versions(features[name]):
                raise ConfigError(f"tap {name!r} at {path!r} was overwritten in place later, expected a kept feature")
        return features

    def _on_input(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            values = (*args, *kwargs.values())
            self._keep(name, values[0] if values else None)

        return hook

    def _on_output(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            self._keep(name, output)

        return hook

    def _keep(self, name: str, value: Any) -> None:
        if name in self._features:
            raise ConfigError(f"tap {name!r} at {self.taps[name]!r} fired twice in one forward, expected one call")
        self._features[name] = feature = normalise_feature(value)
        self._versions[name] = _versions(feature)


@contextmanager
def record_taps(model: nn.Module, taps: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Record taps during a ``with`` block into the yielded dict, which fills when the block ends without error.

    >>> import torch
    >>> layer = nn.Sequential(nn.Identity(), nn.Flatten())
    >>> with record_taps(layer, {"low": "1:input"}) as features:
    ...     _ = layer(torch.ones(1, 2, 3))
    >>> features["low"].shape
    torch.Size([1, 2, 3])
    """
    recorder = TapRecorder(model, taps)
    features: dict[str, Any] = {}
    with recorder:
        yield features
    features.update(recorder.take())


def normalise_feature(value: Any) -> Any:
    """One tensor out of its wrapping, or a head's output as a list over tasks of dicts of raw maps."""
    if isinstance(value, dict):
        return _raw_maps(value)
    if not isinstance(value, list | tuple) or not value:
        return value
    items = [item[0] if isinstance(item, list | tuple) and len(item) == 1 else item for item in value]
    if all(isinstance(item, dict) for item in items):
        return [_raw_maps(item) for item in items]
    return items[0] if len(items) == 1 else items


def _raw_maps(maps: dict[str, Any]) -> dict[str, Any]:
    return {key: m.clone() if key == "heatmap" and isinstance(m, Tensor) else m for key, m in maps.items()}


def _versions(feature: Any) -> list[int]:
    """The in-place counters of every tensor in a feature; a change means that it was overwritten."""
    if isinstance(feature, Tensor):
        return [] if feature.is_inference() else [feature._version]
    if isinstance(feature, dict):
        feature = list(feature.values())
    return [v for item in feature for v in _versions(item)] if isinstance(feature, list) else []
