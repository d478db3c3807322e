"""Head maps as the methods read them: all tasks side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bevkd.errors import ConfigError

Head = Sequence[Mapping[str, Tensor]]


def join_head(head: Head, who: str) -> tuple[Tensor, Tensor, list[dict[str, int]]]:
    """The maps of all tasks, in float32 or wider.

    Args:
        head: list over tasks of dicts of RAW maps [B, c, Y, X], ``heatmap`` among them.
        who: ``"student"`` or ``"teacher"``, for the error sentence.

    Returns:
        Heat maps [B, classes, Y, X], regression maps [B, c, Y, X] (keys sorted within a task), and the channels by key
        of every task.

    Raises:
        ConfigError: another structure.
    """
    try:
        tasks = [{key: maps[key].shape[1] for key in sorted(maps)} for maps in head]
        heat = torch.cat([maps["heatmap"] for maps in head], 1)
        regression = torch.cat([maps[key] for maps in head for key in sorted(maps) if key != "heatmap"], 1)
    except (TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise ConfigError(
            f"the {who}'s head is {type(head).__name__}, expected a list over tasks of dicts with 'heatmap' and "
            f"regression maps [B, c, Y, X]: {error}"
        ) from error
    dtype = torch.promote_types(heat.dtype, torch.float32)
    return heat.to(dtype), regression.to(dtype), tasks
