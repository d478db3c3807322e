"""What a distillation method is: losses on named features, with its paper and its parts declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from bevkd.errors import ConfigError
from bevkd.structures.targets import Targets

Role = Literal["task", "distill"]
INFO = "info/"  # parts that are logged and enter no loss


@dataclass(frozen=True)
class Paper:
    """Where a method was published.

    Attributes:
        title: as printed.
        authors: family names, in order.
        venue: conference or journal, or ``"arXiv"``.
        year: of the venue.
        arxiv: identifier, such as ``"2303.15083"``; None if there is none.
    """

    title: str
    authors: str
    venue: str
    year: int
    arxiv: str | None = None

    def __str__(self) -> str:
        """``First et al., Title, Venue Year, arXiv N``, or the one author's name."""
        names = self.authors.split(", ")
        who = names[0] if len(names) == 1 else f"{names[0]} et al."
        number = f", arXiv {self.arxiv}" if self.arxiv else ""
        return f"{who}, {self.title}, {self.venue} {self.year}{number}"


class Example(NamedTuple):
    """A method and the smallest inputs that use all of it.

    Attributes:
        method: with everything switched on.
        student: taps, maps that require gradients.
        teacher: taps.
        targets: ground truth for both.
    """

    method: Method
    student: dict[str, Any]
    teacher: dict[str, Any]
    targets: Any

    def losses(self) -> dict[str, Tensor]:
        """What the method returns for these inputs."""
        found: dict[str, Tensor] = self.method(self.student, self.teacher, self.targets)
        return found


class Method(nn.Module):
    """Base of all distillation methods. A subclass declares what it is and writes :meth:`losses`.

    A method gets features, never models: it imports no detector and no other method. Parameters of its own, such as
    adapters, train with the student and are left out of an exported student. It may use the ground truth in
    ``targets``. Losses are sums over objects, cells or samples, divided by their number in the batch of all ranks, see
    :mod:`bevkd.structures.ranks`. Weights are the method's own arguments; the distiller's ``schedules`` scale them over
    time.

    Attributes:
        paper: where it was published.
        family: the kind of problem, such as ``"bev"`` or ``"classification"``.
        reads_boxes: whether it reads boxes of :class:`~bevkd.structures.targets.Targets`. They are then checked before
            :meth:`losses`, and boxes on a GPU that are unusable make every part NaN.
        foreground_only: whether it reads the teacher's maps at the boxes alone, so that a cached foreground serves it.
    """

    paper: ClassVar[Paper]
    family: ClassVar[str]
    reads_boxes: ClassVar[bool] = False
    foreground_only: ClassVar[bool] = False

    @property
    def taps(self) -> tuple[str, ...]:
        """The names of the features that it reads of both student and teacher."""
        raise NotImplementedError

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The names of the features that it reads of the teacher alone."""
        return ()

    @property
    def parts(self) -> dict[str, Role]:
        """The names of the losses that it returns, each with its role.

        ``distill`` is what the teacher says; ``task`` is what the ground truth says, where a method replaces or adds to
        the student's own losses. Optimizer wrappers read the role. Without a subclass's own: the names in
        ``self.weights``, all to distill, without those of weight 0.
        """
        weights: Mapping[str, float] = self.weights  # type: ignore[assignment]  # which modules take for a submodule
        return {part: "distill" for part, weight in weights.items() if weight}

    @classmethod
    def example(cls) -> Example:
        """Tiny inputs on which every parameter of the method receives a gradient; the tests run every method on it."""
        raise NotImplementedError

    def losses(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Any) -> dict[str, Tensor]:
        """Weighted scalars by part; names that begin with ``info/`` are logged only.

        Args:
            student: its taps by name.
            teacher: its taps by name; no gradient may reach them.
            targets: :class:`~bevkd.structures.targets.Targets` in bird's-eye view,
                :class:`~bevkd.structures.labels.LabelTargets` (labels, sample ids and weights) for samples of one class
                each, else what the student's own ``targets(data_samples, device)`` gives.
        """
        raise NotImplementedError

    def forward(self, student: Mapping[str, Any], teacher: Mapping[str, Any], targets: Any) -> dict[str, Tensor]:
        """:meth:`losses` between the checks that all methods share.

        Raises:
            DataError: unusable boxes in CPU memory, for a method that reads boxes.
            ConfigError: other parts than :attr:`parts` declares.
        """
        invalid: Tensor | float = 0.0
        if self.reads_boxes and isinstance(targets, Targets):
            invalid = targets.check()
            device = next((tensor.device for tensor in tensors_of(student)), None)
            targets = targets if device is None else targets.on(device)
        losses = self.losses(student, teacher, targets)
        found = {name for name in losses if not name.startswith(INFO)}
        if found != set(self.parts):
            raise ConfigError(
                f"{type(self).__name__} returned the parts {sorted(found)}, expected those that it declares: "
                f"{sorted(self.parts)}"
            )
        return {name: value if name.startswith(INFO) else value + invalid for name, value in losses.items()}


def tensors_of(feature: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples.

    >>> [t.numel() for t in tensors_of({"a": [torch.zeros(2), {"b": torch.zeros(3)}]})]
    [2, 3]
    """
    if isinstance(feature, Tensor):
        yield feature
    elif isinstance(feature, Mapping | list | tuple):
        for item in feature.values() if isinstance(feature, Mapping) else feature:
            yield from tensors_of(item)
