"""Learning-rate schedules against the length of the run, and optimizers that move nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bevkd.errors import ConfigError
from bevkd.structures.config_types import type_name

_DOWN = ("CosineAnnealing", "Poly")  # what ends at its lowest value, unless something follows


def check_schedules(schedulers: Any, epochs: int | None, iterations: int) -> list[str]:
    """Sentences on schedules that do not fit the run; it can train on with them.

    Args:
        schedulers: ``param_scheduler`` of the config.
        epochs: of the run, None for one that counts iterations.
        iterations: of the run.

    Raises:
        ConfigError: a schedule by epoch in a run that counts iterations, where it would never move.
    """
    parts = [part for part in _list(schedulers) if isinstance(part, Mapping)]
    said = []
    for index, part in enumerate(parts):
        by_epoch = part.get("by_epoch", True)
        name = f"param_scheduler.{index} ({type_name(part.get('type'))})"
        if by_epoch and epochs is None and not part.get("convert_to_iter_based"):
            raise ConfigError(
                f"{name} counts epochs and train_cfg counts iterations, so that it would never move; expected "
                "by_epoch=False with begin, end and the like in iterations"
            )
        length = (epochs if epochs is not None else 1) if by_epoch else iterations
        unit = "epoch" if by_epoch else "iteration"
        said += [f"{name} {text}" for text in _misfits(part, length, unit)]
        ends = min(part.get("end", length), length)
        last = all(_end(other, epochs, iterations) <= ends / max(length, 1) for other in parts)
        short = type_name(part.get("type")).startswith(_DOWN) and part.get("begin", 0) < ends < length
        if short and last:
            said.append(f"{name} ends at {unit} {ends} and the training at {length}: the rest has its lowest value")
    return said


def _misfits(part: Mapping[str, Any], length: int, unit: str) -> Iterator[str]:
    begin, end = part.get("begin", 0), part.get("end", math.inf)
    if begin >= length:
        yield f"begins at {unit} {begin}, after the training's end at {length}"
    elif math.isfinite(end) and end > length:
        yield f"goes to {unit} {end} and the training ends at {length}: its last values are never reached"
    elif "T_max" in part and part["T_max"] is not None and part["T_max"] != min(end, length) - begin:
        effect = "its last values are never reached" if part["T_max"] > min(end, length) - begin else "it turns round"
        yield f"has T_max {part['T_max']} over {min(end, length) - begin} {unit}s: {effect}"
    late = [m for m in part.get("milestones") or () if m >= length]
    if late:
        yield f"has milestones {late} after the training's end at {unit} {length}"


def _end(part: Mapping[str, Any], epochs: int | None, iterations: int) -> float:
    """Where a schedule ends, as a share of the run."""
    length = (epochs or 1) if part.get("by_epoch", True) else iterations
    return min(part.get("end", length) / max(length, 1), 1.0)


def check_ratios(schedulers: Any, rates: Sequence[float]) -> list[str]:
    """A sentence on each schedule that pulls learning rates to one number, where ``rates`` of groups differ."""
    if len(set(rates)) < 2:
        return []
    return [
        f"param_scheduler.{index}.eta_min is {part['eta_min']}, one number for parameter groups of {min(rates):.3g} to "
        f"{max(rates):.3g}, so that their lr_mult fades away; expected eta_min_ratio"
        for index, part in enumerate(_list(schedulers))
        if isinstance(part, Mapping) and part.get("eta_min") and "Momentum" not in type_name(part.get("type"))
    ]


def require_movement(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an optimizer that would move no parameter.

    Args:
        groups: its parameter groups.

    Raises:
        ConfigError: counting the parameters that are frozen and those whose learning rate is 0.
    """
    frozen = still = 0
    for group in groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                frozen += 1
            elif not group.get("lr", 1.0):
                still += 1
            else:
                return
    raise ConfigError(
        f"no parameter would move: {frozen} are frozen, {still} have the learning rate 0 (optim_wrapper.optimizer.lr, "
        "or lr_mult of optim_wrapper.paramwise_cfg); expected one to train"
    )


def _list(schedulers: Any) -> list[Any]:
    return list(schedulers) if isinstance(schedulers, list | tuple) else [schedulers]
