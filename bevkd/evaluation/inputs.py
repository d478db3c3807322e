"""What a result file says about the detector that made it: the sensors that it reads, maps, external data."""

from collections.abc import Mapping
from typing import Any

from mmengine.evaluator import BaseMetric

from bevkd.errors import ConfigError, nearest

from .submission import INPUTS

_SENSOR_OF = {"points": "use_lidar", "img": "use_camera", "imgs": "use_camera"}  # key of a batch's inputs


class DeclaredInputs(BaseMetric):
    """Mixin of metrics whose result file says what the detector uses.

    A setting of the config comes first, then what the run knows of the model (:meth:`declare_inputs`), then, for a
    model that the run does not know, which sensors its batches held. What nothing speaks for is False.
    """

    _settings: Mapping[str, bool]
    _model: Mapping[str, bool]
    _batch: frozenset[str]

    def init_inputs(self, settings: Mapping[str, bool] | None) -> None:
        """Take the config's own settings, e.g. ``dict(use_external=True)``.

        Raises:
            ConfigError: an unknown name, or a value that is no bool.
        """
        for name, value in (settings or {}).items():
            if name not in INPUTS:
                raise ConfigError(f"modality of {type(self).__name__} has no {name!r}{nearest(name, INPUTS)}")
            if not isinstance(value, bool):
                raise ConfigError(f"modality.{name} of {type(self).__name__} is {value!r}, expected True or False")
        self._settings, self._model, self._batch = dict(settings or {}), {}, frozenset()

    def declare_inputs(self, found: Mapping[str, bool]) -> None:
        """Take what the model that is scored uses, names as in ``modality``; empty where that is not known.

        Raises:
            ConfigError: the config says that it does not use a sensor which it does.
        """
        for name, used in found.items():
            if used and name != "use_external" and self._settings.get(name) is False:
                raise ConfigError(
                    f"modality of {type(self).__name__} says {name}=False, and the model uses it; expected True, or no "
                    "modality: it then follows the model"
                )
        self._model = dict(found)

    def note_batch(self, data_batch: Any) -> None:
        """Remember which sensors a batch held."""
        inputs = data_batch.get("inputs") if isinstance(data_batch, Mapping) else None
        if isinstance(inputs, Mapping):
            self._batch |= {name for key, name in _SENSOR_OF.items() if inputs.get(key) is not None}

    def inputs(self) -> dict[str, bool]:
        """The five statements."""
        known = (
            self._model
            if any(name in self._model for name in _SENSOR_OF.values())
            else dict.fromkeys(self._batch, True)
        )
        return {**dict.fromkeys(INPUTS, False), **self._model, **known, **self._settings}
