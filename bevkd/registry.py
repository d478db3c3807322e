"""The registries of bevkd's scope, where the ``type`` of a config becomes a class.

They are children of mmengine's, so the core needs no mmdet3d. What bevkd registers is also seen from every other scope,
because configs that name ``mmdet3d`` as their default scope build distillers too. In the other direction, a name that
neither bevkd nor mmengine has is looked up in mmdet3d, where that is installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

SCOPE = "bevkd"


class ScopedRegistry(Registry):
    """A registry of the scope ``bevkd`` whose entries every scope sees.

    >>> MODELS.get("Distiller").__name__
    'Distiller'
    """

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        super()._register_module(module, module_name, force)
        self.root._register_module(module, module_name, force)

    def get(self, key: str) -> Any:
        """The class of a name, None where nobody has it."""
        found = super().get(key)
        if found is None and "." not in key and find_spec("mmdet3d") is not None:
            found = self.root.get(f"mmdet3d.{key}")
        return found


def _child(name: str, *locations: str) -> ScopedRegistry:
    parent = getattr(mmengine_registry, name)
    return ScopedRegistry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


_TASKS = ("bevkd.tasks.classification",)
MODELS = _child("MODELS", "bevkd.distill", "bevkd.methods", *_TASKS)
DATASETS = _child("DATASETS", *_TASKS)
TRANSFORMS = _child("TRANSFORMS", *_TASKS)
METRICS = _child("METRICS", *_TASKS)
# A default scope that lacks one of these makes mmengine warn each time it builds a part of that kind.
for _name in ("DATA_SAMPLERS", "EVALUATOR", "FUNCTIONS", "HOOKS", "LOG_PROCESSORS", "LOOPS", "MODEL_WRAPPERS",
              "OPTIM_WRAPPER_CONSTRUCTORS", "OPTIM_WRAPPERS", "OPTIMIZERS", "PARAM_SCHEDULERS", "RUNNERS",
              "RUNNER_CONSTRUCTORS", "VISBACKENDS", "VISUALIZERS", "WEIGHT_INITIALIZERS"):  # fmt: skip
    _child(_name)
