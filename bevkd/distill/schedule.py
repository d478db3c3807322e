"""Weights that change while a run goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mmengine.logging import MessageHub

from bevkd.errors import ConfigError, nearest


class Schedule:
    """A factor by iteration: linear between the given points, constant before the first and after the last.

    A constant is ``[(0, 0.5)]``, a ramp ``[(0, 0.0), (500, 1.0)]``, a decay ``[(10000, 1.0), (20000, 0.1)]``.

    >>> Schedule([(100, 0.0), (500, 1.0)])(200)
    0.25

    Args:
        points: (iteration, factor), iterations growing.
        name: of the config field, for the error sentence.

    Raises:
        ConfigError: no points, something else than pairs of numbers, iterations that do not grow, a negative factor.
    """

    def __init__(self, points: Sequence[Sequence[float]], name: str = "schedule") -> None:
        try:
            self.points = [(int(at), float(factor)) for at, factor in points]
        except (TypeError, ValueError):
            self.points = []
        if not self.points:
            raise ConfigError(f"{name} is {points!r}, expected [(iteration, factor), ...]")
        if any(after[0] <= before[0] for before, after in pairwise(self.points)):
            raise ConfigError(f"{name} has the iterations {[at for at, _ in self.points]}, expected them to grow")
        if not all(0 <= factor < float("inf") for _, factor in self.points):
            raise ConfigError(
                f"{name} has the factors {[f for _, f in self.points]}, expected none negative, all finite"
            )

    def __call__(self, iteration: int) -> float:
        """The factor of an iteration, counted from 0."""
        if iteration <= self.points[0][0]:
            return self.points[0][1]
        for (start, first), (end, last) in pairwise(self.points):
            if iteration < end:
                return first + (last - first) * (iteration - start) / (end - start)
        return self.points[-1][1]


class WeightSchedules:
    """The schedules of a distiller: factors on methods and on single parts of them, which multiply.

    Args:
        points: ``method`` or ``method/part`` -> points of a :class:`Schedule`.
        methods: the distiller's methods by name. Where one declares its ``parts``, a wrong part is refused here.

    Raises:
        ConfigError: a method or part that is not there, or bad points.
    """

    def __init__(self, points: Mapping[str, Any] | None, methods: Mapping[str, Any]) -> None:
        for name in points or {}:
            owner, _, part = name.partition("/")
            if owner not in methods:
                hint = nearest(owner, methods)
                raise ConfigError(f"schedules name {name!r}, expected 'method' or 'method/part'{hint}")
            if part and (parts := getattr(methods[owner], "parts", None)) is not None:
                _require_part(name, parts)
        self.schedules = {name: Schedule(given, f"schedules[{name!r}]") for name, given in (points or {}).items()}

    def values(self, iteration: int) -> dict[str, float]:
        """The factor of every schedule by its name."""
        return {name: schedule(iteration) for name, schedule in self.schedules.items()}

    def factors(self, method: str, parts: Iterable[str], iteration: int) -> dict[str, float]:
        """The factor of every scheduled part of a method.

        Raises:
            ConfigError: a schedule for a part that the method does not return.
        """
        parts = list(parts)
        whole = self.schedules.get(method)
        factors = {part: whole(iteration) for part in parts} if whole else {}
        for name, schedule in self.schedules.items():
            owner, _, part = name.partition("/")
            if owner == method and part:
                _require_part(name, parts)
                factors[part] = factors.get(part, 1.0) * schedule(iteration)
        return factors


def _require_part(name: str, parts: Iterable[str]) -> None:
    method, _, part = name.partition("/")
    if part not in parts:
        raise ConfigError(f"schedules name {name!r}, which {method!r} does not return{nearest(part, parts)}")


def current_iteration(counted: int) -> int:
    """The iteration of the run that mmengine's runner leads, which a resumed run takes up again; ``counted`` under any
    other training loop."""
    known = MessageHub.get_current_instance().get_info("iter")
    return counted if known is None else int(known)
