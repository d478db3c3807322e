"""What an ONNX file is made from, whatever the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Example:
    """Inputs of the graph by name, and what the model itself answers to them."""

    inputs: dict[str, Tensor]
    expected: tuple[Tensor, ...]


@dataclass(frozen=True)
class Graph:
    """What is exported.

    Attributes:
        module: takes the inputs by position and returns a tuple, a detector's raw maps [1, c, Y, X] or a classifier's
            logits [B, K].
        outputs: their names, such as ``task0_heatmap`` (logits).
        examples: samples to trace with (the first) and to check with (all).
        dynamic: input name -> axis -> name, for axes that vary.
        metadata: what a user must know to prepare the inputs and to decode the outputs, in JSON's types.
    """

    module: nn.Module
    outputs: tuple[str, ...]
    examples: tuple[Example, ...]
    dynamic: Mapping[str, Mapping[int, str]]
    metadata: Mapping[str, Any]
