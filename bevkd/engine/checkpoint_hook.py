"""mmengine's checkpoint hook with the order turned round: the new file is safe before an old one goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from bevkd.engine.checkpoint import remove_checkpoint, write_pointer


class _Deferred:
    """A file backend whose removals wait until :meth:`flush`."""

    def __init__(self, backend: Any) -> None:
        self.backend, self.waiting = backend, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.waiting.append(path)

    def flush(self, keep: set[str]) -> None:
        for path in self.waiting:
            if path not in keep:
                remove_checkpoint(path)
        self.waiting = []


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Takes the place of ``CheckpointHook``, whose parameters it has.

    Order of one save: the new checkpoint, the pointer ``last_checkpoint``, and only then the removal of what
    ``max_keep_ckpts`` no longer keeps. The list in the checkpoint still names the file to go, so that a run killed
    in between removes it when it goes on.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.kept = list(getattr(self, "keep_ckpt_ids", []))
        self.file_backend = _Deferred(self.file_backend)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        if self.max_keep_ckpts > 0:
            self.kept = [s for s in self.kept if s != step] + [step]
            runner.message_hub.update_info("keep_ckpt_ids", list(self.kept))
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            **self.args,
        )
        if is_main_process():
            write_pointer(runner.work_dir, self.last_ckpt)
            for stopped in Path(runner.work_dir).glob("stopped_iter_*.pth"):
                remove_checkpoint(stopped)  # what a SIGTERM left is behind us now
        while 0 < self.max_keep_ckpts < len(self.kept):
            gone = Path(self.out_dir, self.filename_tmpl.format(self.kept.pop(0)))
            if is_main_process():
                remove_checkpoint(gone)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        best = {getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()}
        self.file_backend.flush(keep=best - {None})
