"""The training and testing run: mmengine's Runner with safe files, exact resume and a short console."""

from __future__ import annotations

import copy
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, get_world_size, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, set_random_seed
from mmengine.utils import apply_to
from torch.utils.data import DataLoader

from bevkd.engine import checkpoint as files
from bevkd.engine.accumulation import KEY, pending
from bevkd.engine.checked_runner import CheckedRunner
from bevkd.engine.errors import config_errors
from bevkd.engine.evaluators import prepare_metrics
from bevkd.engine.freeze import freeze_configured
from bevkd.engine.hooks import TerminationHook
from bevkd.engine.lock import WorkDirLock
from bevkd.engine.loops import ResumableEpochLoop, ResumableIterLoop
from bevkd.engine.outputs import checkpoint_folders, require_outputs
from bevkd.engine.progress import ProgressHook
from bevkd.engine.randomness import random_state, restore_random_state
from bevkd.engine.resume_checks import require_same_run
from bevkd.engine.sampling import seeded_loader
from bevkd.engine.workers import guard_workers, worker_errors
from bevkd.errors import ConfigError
from bevkd.structures.checkpoint import fill_model
from bevkd.structures.config_types import type_name
from bevkd.structures.files import named
from bevkd.structures.parts import start_from
from bevkd.structures.pretrained import strictly_pretrained
from bevkd.structures.quiet import is_news, stop_without_log


@RUNNERS.register_module()
class BEVRunner(CheckedRunner):
    """mmengine's Runner, whose configs it takes, with five differences.

    Checkpoints are written whole or not at all and hold the random generators of every process; resuming verifies
    them, loads them with ``weights_only=True`` and goes on from the very step; weights that do not fit the model are
    an error, as ``load_from`` too; one run holds the work folder; and the console shows progress, not the set-up
    (which the log file has).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._resumed: tuple[str, dict] | None = None
        self._saved = False
        self.training_randomness: dict | None = None  # the generators as training left them, while validation runs
        super().__init__(*args, **kwargs)
        self._console_level(logging.INFO)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As in mmengine, with a console that stays quiet until the run starts."""
        self.logger = super().build_logger(*args, **kwargs)
        self._console_level(logging.WARNING)
        for handler in self._console():
            handler.addFilter(is_news)
        for handler in self.logger.handlers:
            handler.handleError = stop_without_log
        return self.logger

    def _console(self) -> list[logging.Handler]:
        return [h for h in self.logger.handlers if type(h) is logging.StreamHandler]

    def _console_level(self, level: int) -> None:
        for handler in self._console():
            if get_rank() == 0:
                handler.setLevel(max(level, self.logger.level))

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """As in mmengine, except that running statistics are rank 0's everywhere, and that a GPU is not needed.

        Rank 0's statistics are what a checkpoint holds: with those of its own, a rank would go on from a checkpoint
        otherwise than it stood, and validate another model than the one that is saved.
        """
        if not self.distributed or model_wrapper_cfg:
            return super().wrap_model(model_wrapper_cfg, model)
        options = {"broadcast_buffers": True, "find_unused_parameters": self.cfg.get("find_unused_parameters", False)}
        if torch.cuda.is_available():
            return super().wrap_model({"type": MMDistributedDataParallel.__name__, **options}, model)
        if self.cfg.get("sync_bn"):
            raise ConfigError("sync_bn joins the batch statistics of GPUs, and torch sees none; leave it out")
        return MMDistributedDataParallel(module=model, **options)

    def build_model(self, model: torch.nn.Module | dict) -> torch.nn.Module:
        """As in mmengine, frozen parts frozen; sparse convolutions, of mmdet3d's detectors too, then run where their
        input is."""
        model = super().build_model(model)
        if frozen := freeze_configured(model, self.cfg.get("custom_hooks") or [], self.cfg.get("optim_wrapper")):
            self.logger.info(f"frozen: {', '.join(frozen)}")
        if "spconv" in sys.modules:  # else it has none, and importing the room of detectors would take seconds
            from bevkd.detectors.sparse import run_anywhere

            run_anywhere(model)
        return model

    def _init_model_weights(self) -> None:
        strictly_pretrained(self.model)
        super()._init_model_weights()

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, with the resumable loops in the place of its own."""
        kind = type_name(loop.get("type")) if isinstance(loop, dict) else None
        if kind in ("", "EpochBasedTrainLoop", "IterBasedTrainLoop"):
            loop = copy.deepcopy(loop)
            by_epoch = loop.pop("by_epoch", kind != "IterBasedTrainLoop")
            loop["type"] = ResumableEpochLoop if by_epoch else ResumableIterLoop
            self._train_dataloader = seeded_loader(self._train_dataloader)
        return super().build_train_loop(loop)

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """As in mmengine; metrics that write result files learn what the model uses."""
        evaluator = super().build_evaluator(evaluator)
        prepare_metrics(evaluator.metrics, self.model)
        return evaluator

    def dump_config(self) -> None:
        """As in mmengine, except over the very file that the config was read from."""
        file = self.cfg.filename and Path(self.cfg.filename).resolve()
        if not file or file.parent != Path(self.work_dir).resolve():
            super().dump_config()

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """As in mmengine, with guarded workers; what data sets log about themselves goes to the log file only."""
        consoles = [h for h in MMLogger.get_current_instance().handlers if type(h) is logging.StreamHandler]
        levels = [handler.level for handler in consoles]
        try:
            for handler in consoles:
                handler.setLevel(max(handler.level, logging.WARNING))
            return guard_workers(CheckedRunner.build_dataloader(*args, **kwargs))
        finally:
            for handler, level in zip(consoles, levels):
                handler.setLevel(level)

    def train(self) -> torch.nn.Module:
        """Train, holding the work folder against a second run."""
        lock = WorkDirLock(self.work_dir)
        if is_main_process():
            lock.acquire()
            for folder in (self.work_dir, *(folder for _, folder in checkpoint_folders(self.cfg))):
                files.remove_partials(folder)
        try:
            require_outputs(self.cfg, "val_evaluator", training=True)
            self._before_training()
            with config_errors(self._config_name), worker_errors(), named(self.work_dir):
                files.require_room(self.work_dir, self.model)
                return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, TerminationHook | ProgressHook):
                    hook.close(self)
            if is_main_process():
                lock.release()

    def test(self) -> dict:
        """Test as in mmengine, wrong keys in one sentence."""
        require_outputs(self.cfg, "test_evaluator")
        with config_errors(self._config_name), worker_errors(), named(self.work_dir):
            return super().test()

    @property
    def _config_name(self) -> str:
        return str(self.cfg.filename or self.experiment_name)

    def _before_training(self) -> None:
        """Read the checkpoint to go on from before anything is built: its seed decides the order of the samples."""
        if not self._resume:
            return
        named = self._resume != "auto" and isinstance(self._load_from, str | Path)
        path = self._load_from if named else self._find_latest()
        if path is None:
            self.logger.warning(f"{self.work_dir} holds no valid checkpoint to resume from: training starts anew")
            self._resume = False
            return
        found = files.load_checkpoint(path)
        meta = require_same_run(path, found, self.cfg, self._teacher_info(), self.logger.warning)
        if meta.get("seed") is not None and self._randomness_cfg.get("seed") is None:
            self._randomness_cfg["seed"] = meta["seed"]
            self.set_randomness(**self._randomness_cfg)
        self._resumed = (str(path), found)
        self._load_from = str(path)

    def _find_latest(self) -> Path | None:
        """What rank 0 finds, so that all processes go on from one checkpoint."""
        outside = [folder for _, folder in checkpoint_folders(self.cfg)]
        found = [files.find_latest(self.work_dir, self.logger.warning, outside) if is_main_process() else None]
        broadcast_object_list(found)
        return found[0]

    def _teacher_info(self) -> dict | None:
        model = getattr(self.model, "module", self.model)
        info = getattr(model, "teacher_info", None)
        return info() if callable(info) else None

    def load_or_resume(self) -> None:
        """As in mmengine, with other random numbers in every process from here on: dropout must not repeat itself.

        The weights were drawn with one seed everywhere, and a resumed run takes back the generators of each process.
        """
        if get_rank() and self.seed is not None:
            set_random_seed(self.seed + get_rank())
        super().load_or_resume()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint, generators included."""
        super().resume(filename, *args, **kwargs)
        states = (self._resumed or (None, {}))[1].get("random_state")
        self._resumed = None
        if states:
            restore_random_state(states[get_rank()])

    def load_checkpoint(
        self,
        filename: Any,
        map_location: Any = "cpu",
        strict: bool = True,
        revise_keys: list = [(r"^module.", "")],  # noqa: B006
    ) -> dict:
        """Load weights strictly, see :func:`bevkd.structures.parts.start_from`; the other parameters have no effect.

        Returns what the checkpoint to go on from holds, and nothing where a run starts from weights.
        """
        found = self._resumed[1] if self._resumed is not None and self._resumed[0] == str(filename) else {}
        self._load_state(filename, found)
        if found:
            self._prepare_meta(found["meta"])
        self._has_loaded = True
        self.logger.info(f"weights loaded from {filename}")
        return found

    def _load_state(self, filename: Any, found: dict) -> None:
        model = getattr(self.model, "module", self.model)
        if not found:
            start_from(model, filename)
            return
        fill_model(model, found["state_dict"], filename)
        self.call_hook("after_load_checkpoint", checkpoint=found)  # an EMA hook changes places with the weights
        fill_model(model, found["state_dict"], filename)

    def _state(self, save_optimizer: bool) -> dict[str, Any]:
        """What a checkpoint holds of model and optimizer; every process calls it."""
        state = {"state_dict": getattr(self.model, "module", self.model).state_dict()}
        return {**state, "optimizer": self.optim_wrapper.state_dict()} if save_optimizer else state

    def _prepare_meta(self, meta: dict) -> None:
        meta.pop("config", None)  # mmengine would run it as Python; no file of ours has it
        current = getattr(self.train_dataloader.dataset, "metainfo", None)
        if files.plain(current) == meta.get("dataset_meta"):
            meta["dataset_meta"] = current  # mmengine compares pickles, which differ between equal dicts

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write what mmengine writes, and the generators of every process, whole or not at all."""
        state = self.training_randomness or random_state()
        states = all_gather_object(state) if get_world_size() > 1 else [state]
        content = self._state(save_optimizer)
        gradients = pending(getattr(self.model, "module", self.model), self.optim_wrapper) if save_optimizer else None
        if not is_main_process():
            return
        meta = {"epoch": self.epoch + (1 if by_epoch else 0), **(meta or {})}
        meta.setdefault("iter", self.iter + (0 if by_epoch else 1))
        meta.update(
            cfg=self.cfg.pretty_text, seed=self.seed, experiment_name=self.experiment_name, world_size=get_world_size()
        )
        meta["dataset_meta"] = getattr(self.train_dataloader.dataset, "metainfo", None)
        if teacher := self._teacher_info():
            meta["teacher"] = teacher
        content.update(meta=meta, message_hub=self.message_hub.state_dict(), random_state=states)
        if gradients is not None:
            content[KEY] = gradients
        if save_param_scheduler and self.param_schedulers is not None:
            content["param_schedulers"] = files.scheduler_states(self.param_schedulers)
        self.call_hook("before_save_checkpoint", checkpoint=content)
        for part in ("meta", "message_hub"):
            content[part] = files.plain(content[part])
        path = Path(out_dir, filename)
        files.save_checkpoint(apply_to(content, torch.is_tensor, lambda t: t.detach().cpu()), path)
        if not self._saved:
            files.load_checkpoint(path)  # a state that cannot be read must show now, not at the resume
            self._saved = True
