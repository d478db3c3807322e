"""Image classifiers as graphs: normalised images to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bevkd.engine.export.graph import Example, Graph
from bevkd.tasks.classification import ImageClassifier


class ClassifierGraph(nn.Module):
    """A classifier without its data preprocessor."""

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """[B, C, H, W] normalised images to logits [B, K]."""
        return (self.model(images),)


@torch.no_grad()
def image_graph(model: ImageClassifier, shape: Sequence[int]) -> Graph:
    """The graph of a classifier, for any number of images of one size.

    Args:
        model: in eval mode, on the CPU.
        shape: (C, H, W) of an image behind the data preprocessor.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(count, *shape, generator=generator) for count in (2, 5)]
    examples = tuple(Example({"images": batch}, (model(batch),)) for batch in batches)
    numbers = {
        key: value.flatten().tolist()
        for key in ("mean", "std")
        if (value := getattr(model.data_preprocessor, key, None)) is not None
    }
    metadata = {"classes": list(model.class_names), "image_shape": list(shape), **numbers}
    return Graph(ClassifierGraph(model), ("logits",), examples, {"images": {0: "batch"}}, metadata)
