"""Score one checkpoint: strict loading, the config's metrics, a table and a JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from torch import nn

from bevkd.engine.build import build_runner
from bevkd.engine.checkpoint import write_text
from bevkd.errors import ConfigError
from bevkd.structures.checkpoint import fill_model, load_state_dict, under
from bevkd.structures.sums import check_sums

_STUDENT = "student."


def load_fitting(model: nn.Module, checkpoint: str | Path) -> None:
    """Load weights strictly; a distiller's checkpoint also fits its bare student, and a bare one its distiller.

    Raises:
        CheckpointError: an unreadable or altered file, or keys that do not fit, listed.
    """
    state = load_state_dict(checkpoint)
    holds_distiller = any(key.startswith(_STUDENT) for key in state)
    is_distiller = any(key.startswith(_STUDENT) for key in model.state_dict())
    if is_distiller and not holds_distiller:
        model = model.student
    elif holds_distiller and not is_distiller:
        state = under(state, _STUDENT)
    fill_model(model, state, checkpoint)


def score_checkpoint(cfg: Config, checkpoint: str | Path) -> dict[str, float]:
    """Score ``checkpoint`` with ``cfg.test_evaluator``; prints the metrics and writes ``metrics.json``.

    Raises:
        ConfigError: no test settings in the config, or see :func:`bevkd.engine.build_runner`.
        CheckpointError: see :func:`load_fitting`.
    """
    missing = [key for key in ("test_dataloader", "test_evaluator") if cfg.get(key) is None]
    if missing or cfg.get("test_cfg") is None:
        raise ConfigError(
            f"config {cfg.filename} lacks {', '.join(missing) or 'test_cfg'}, expected settings to test with"
        )
    check_sums(checkpoint)
    cfg.load_from, cfg.resume = None, False
    runner = build_runner(cfg)
    load_fitting(getattr(runner.model, "module", runner.model), checkpoint)
    metrics = {name: float(value) for name, value in runner.test().items() if isinstance(value, int | float)}
    if is_main_process():
        write_text(Path(runner.work_dir, "metrics.json"), json.dumps(metrics, indent=1))
        width = max(map(len, metrics), default=0)
        print("\n".join(f"{name:<{width}}  {value:.4f}" for name, value in metrics.items()))
    return metrics
