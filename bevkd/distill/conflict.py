"""Does a method pull the student where its own losses pull it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

import torch
from torch import Tensor, nn

from bevkd.errors import ConfigError, nearest


class GradientConflict:
    """Cosine between the gradient of the student's own losses and that of each method, at chosen parameters.

    Costs: on each step that reads it, one more backward pass for the own losses and one for each method, from the
    losses down to the chosen parameters; a step with three methods takes about four backward passes more when they
    lie near the input, and as much memory as the chosen parameters once for each. Nothing on other steps. Choose few,
    late parameters and a long interval. In a distributed run a process reads the gradients of its own batch. Under
    float16 without scaled losses small gradients round to zero; bfloat16 does not have this trouble.

    Args:
        parameters: patterns of parameter names in the student, such as ``"bev_encoder.backbone.blocks.0.*"``.
        interval: read every that many iterations.

    Raises:
        ConfigError: an interval below 1; on :meth:`attach` a pattern that fits no trainable parameter.
    """

    def __init__(self, parameters: Sequence[str], interval: int = 50) -> None:
        if interval < 1 or not parameters or isinstance(parameters, str):
            raise ConfigError(
                f"gradient_conflict has parameters {parameters!r} and interval {interval}, expected a list of patterns "
                "and at least 1"
            )
        self.patterns, self.interval = list(parameters), interval

    def due(self, iteration: int) -> bool:
        """Whether this iteration reads, which it does where gradients are recorded."""
        return iteration % self.interval == 0 and torch.is_grad_enabled()

    def attach(self, student: nn.Module) -> list[nn.Parameter]:
        """The student's parameters that the patterns choose."""
        named = {name: p for name, p in student.named_parameters() if p.requires_grad}
        for pattern in self.patterns:
            if not any(fnmatch(name, pattern) for name in named):
                raise ConfigError(
                    f"gradient_conflict's pattern {pattern!r} fits no trainable parameter{nearest(pattern, named)}"
                )
        return [p for name, p in named.items() if any(fnmatch(name, pattern) for pattern in self.patterns)]

    def __call__(self, student: nn.Module, own: Tensor, methods: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``<method>/cosine``, and ``<method>/ratio``: the norm of its gradient over that of the own losses.

        Args:
            own: the student's own losses, summed.
            methods: the sum of each method's weighted parts.

        Returns:
            Scalars. Both are 0 where a gradient vanishes.
        """
        chosen = self.attach(student)
        reference, found = _gradient(own, chosen), {}
        for name, loss in methods.items():
            gradient = _gradient(loss, chosen)
            norm, other = gradient.norm(), reference.norm()
            tiny = torch.finfo(norm.dtype).tiny
            found[f"{name}/cosine"] = gradient @ reference / (norm * other).clamp(min=tiny)
            found[f"{name}/ratio"] = torch.where(other > 0, norm / other.clamp(min=tiny), 0.0)
        return found


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """All of a loss's gradients in one float32 vector; zeros where it does not depend on a parameter."""
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), device=loss.device)
    with torch.autocast(loss.device.type, enabled=False):
        slopes = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(slopes, parameters)
    return torch.cat([(torch.zeros_like(p) if slope is None else slope).flatten().float() for slope, p in pairs])
