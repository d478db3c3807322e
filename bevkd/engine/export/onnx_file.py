"""A graph as an ONNX file's bytes, run once against torch before anybody may have them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from bevkd.engine.export.graph import Graph
from bevkd.errors import ConfigError

TOLERANCE = 1e-3  # largest difference of any raw map, in units of the map's largest value where that is above 1
_OPSET = 18


def onnx_bytes(graph: Graph, origin: Mapping[str, str]) -> tuple[bytes, float]:
    """Export a graph and run it with onnxruntime on all its examples.

    Args:
        graph: of :func:`bevkd.engine.export.graphs.make_graph` or :func:`bevkd.engine.export.images.image_graph`.
        origin: further metadata, e.g. where the weights come from.

    Returns:
        The file's bytes, and its largest difference to torch.

    Raises:
        ConfigError: a package is missing, or the difference is not below :data:`TOLERANCE`.
    """
    require_packages()
    content = _export(graph, origin)
    difference = largest_difference(content, graph)
    if not difference <= TOLERANCE:  # a NaN too
        raise ConfigError(
            f"the ONNX graph differs from torch by {difference:.2g} in a map of the head, expected at most {TOLERANCE}"
        )
    return content, difference


def require_packages() -> None:
    """Refuse at once where a package that export needs is missing.

    Raises:
        ConfigError: naming the package and the extra that brings it.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"the format onnx needs {error.name}, which is not installed, expected the extra: pip install 'bevkd[onnx]'"
        ) from error


def _export(graph: Graph, origin: Mapping[str, str]) -> bytes:
    first = graph.examples[0].inputs
    shapes = {name: {axis: torch.export.Dim(title) for axis, title in graph.dynamic.get(name, {}).items()}
              for name in first}  # fmt: skip
    with _quiet():
        program = torch.onnx.export(
            graph.module,
            tuple(first.values()),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(first),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes if graph.dynamic else None,
            verbose=False,
        )
    model = program.model_proto
    for name, value in {**origin, **graph.metadata}.items():
        model.metadata_props.add(key=name, value=value if isinstance(value, str) else json.dumps(value))
    return model.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter prints its progress, and warns of things in torch that a user cannot change."""
    noisy = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in noisy]
    try:
        for logger in noisy:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(noisy, levels):
            logger.setLevel(level)


def largest_difference(content: bytes, graph: Graph) -> float:
    """Run an ONNX model on every example; the largest difference of a map to what the detector answers.

    It is absolute for maps within [-1, 1], and a fraction of the map's largest value for all others: a float32 has
    seven digits, and two runtimes that add in different orders agree in fewer behind seventy layers.

    Args:
        content: the file's bytes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    differences = []
    for example in graph.examples:
        found = session.run(list(graph.outputs), {name: value.numpy() for name, value in example.inputs.items()})
        for maps, expected in zip(found, example.expected):
            difference = (torch.from_numpy(maps) - expected).abs().amax()
            differences.append(difference / expected.abs().amax().clamp(min=1))
    return float(torch.stack(differences).amax())  # amax keeps a NaN
