"""A resumed run is the run that was stopped, whatever it was doing and whatever it keeps beside its weights."""

import signal

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS, MODELS

from bevkd.engine import build_runner
from bevkd.engine import checkpoint as files
from bevkd.errors import ConfigError
from tests.engine.toy import ToyModel, read_log, toy_config, toy_loader

EMA = {"type": "EMAHook", "momentum": 0.1}
ITERS = {"train_cfg": {"by_epoch": False, "max_iters": 14, "val_interval": 5}}
SAVE_ITERS = {"checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False}}


@HOOKS.register_module()
class SignalAt(Hook):
    """Sends SIGTERM to this process at the ``nth`` time that a hook point is passed."""

    def __init__(self, point, nth=1, priority="NORMAL"):
        self.left, self.priority = nth, priority
        setattr(self, point, self._pass)

    def _pass(self, *args, **kwargs):
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGTERM)


@HOOKS.register_module()
class CountValidations(Hook):
    """Notes the steps after which validation ran."""

    at = []

    def before_val(self, runner):
        self.at.append(runner.iter)


def train(work_dir, hooks=(), load_from=None, resume=False, **changes):
    hooks = [{"type": "LossLog"}, *hooks]
    build_runner(toy_config(work_dir, custom_hooks=hooks, resume=resume, load_from=load_from, **changes)).train()


def final_state(work_dir):
    return files.load_checkpoint(files.find_latest(work_dir))


def same(ours, theirs):
    """Whether two states are equal bit for bit."""
    if isinstance(theirs, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], value) for key, value in theirs.items())
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def assert_same_run(broken, whole):
    assert read_log(broken) == read_log(whole)
    ours, theirs = final_state(broken), final_state(whole)
    assert ours.keys() == theirs.keys()
    for part in ours.keys() - {"meta", "message_hub"}:
        assert same(ours[part], theirs[part]), part
    infos = [state["message_hub"]["runtime_info"] for state in (ours, theirs)]
    assert infos[0].get("best_score") == infos[1].get("best_score")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing stops, each trained once."""
    runs = {}

    def trained(hooks, **changes):
        key = repr((hooks, changes))
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("whole")
            train(runs[key], hooks, **changes)
        return runs[key]

    return trained


@pytest.fixture
def stopped_and_resumed(tmp_path, in_child, whole):
    """Train with a SIGTERM, resume and compare with the whole run; the exit code of the stopped one."""

    def run(at, hooks, **changes):
        def broken():
            train(tmp_path, [*hooks, at], **changes)

        code = in_child(broken)
        train(tmp_path, hooks, resume=True, **changes)
        assert_same_run(tmp_path, whole(hooks, **changes))
        return code

    return run


VALIDATION = ("before_val", "before_val_epoch", "before_val_iter", "after_val_iter", "after_val_epoch", "after_val")


@pytest.mark.parametrize("point", VALIDATION)
def test_a_sigterm_at_any_moment_of_validation_changes_nothing(stopped_and_resumed, tmp_path, point):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "mean", "rule": "less"}}
    at = {"type": "SignalAt", "point": point, "priority": "VERY_LOW" if point == "after_val_iter" else "NORMAL"}
    assert stopped_and_resumed(at, hooks=[EMA], default_hooks=hooks) == 143
    assert len(list(tmp_path.glob("best_*.pth"))) == 1


@pytest.mark.parametrize("point", ["before_val_epoch", "after_val_iter", "after_val_epoch"])
def test_a_sigterm_during_the_validation_of_an_iteration_run(stopped_and_resumed, point):
    at = {"type": "SignalAt", "point": point}
    assert stopped_and_resumed(at, hooks=[EMA], default_hooks=SAVE_ITERS, **ITERS) == 143


@pytest.mark.parametrize("point", ["before_save_checkpoint", "after_train_epoch", "before_train_epoch"])
def test_a_sigterm_while_saving_and_between_epochs(stopped_and_resumed, point):
    at = {"type": "SignalAt", "point": point, "nth": 2}
    assert stopped_and_resumed(at, hooks=[EMA]) == 143


def test_a_validation_that_was_cut_off_is_done_in_an_iteration_run_too(tmp_path):
    at = CountValidations.at
    at.clear()
    count = {"type": "CountValidations"}
    saving = {"checkpoint": {"type": "CheckpointHook", "interval": 5, "by_epoch": False}}
    train(tmp_path, [count], default_hooks=saving, **ITERS)
    assert at == [5, 10, 14]
    at.clear()
    train(tmp_path, [count], resume=True, load_from=str(tmp_path / "iter_5.pth"), default_hooks=saving, **ITERS)
    assert at == [5, 10, 14]  # iter_5.pth was written before the validation of step 5


def accumulating(count):
    return {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": count}


@pytest.mark.parametrize("nth", [1, 2, 3, 5])
def test_gradients_that_wait_for_a_step_resume(stopped_and_resumed, nth):
    at = {"type": "SignalAt", "point": "after_train_iter", "nth": nth}
    changes = {"optim_wrapper": accumulating(3), "train_dataloader": toy_loader(shuffle=True)}
    assert stopped_and_resumed(at, hooks=[EMA], **changes) == 143


@pytest.mark.parametrize("by_epoch", [True, False])
def test_checkpoints_in_the_middle_of_an_accumulation(tmp_path, by_epoch, capsys):
    changes = {"optim_wrapper": accumulating(5)}
    changes |= {} if by_epoch else {"default_hooks": SAVE_ITERS, **ITERS}
    train(tmp_path, **changes)
    whole, log = final_state(tmp_path), read_log(tmp_path)
    first = tmp_path / ("epoch_1.pth" if by_epoch else "iter_3.pth")
    found = files.load_checkpoint(first)["accumulation"]
    assert found["counts"] == {"optimizer": (4 if by_epoch else 3, 5)}
    assert len(found["gradients"][0]) == 6
    capsys.readouterr()
    train(tmp_path, resume=True, load_from=str(first), **changes)
    assert same(final_state(tmp_path)["state_dict"], whole["state_dict"])
    assert read_log(tmp_path) == log
    assert "gradient of some iterations is lost" not in capsys.readouterr().out


def test_without_accumulation_a_checkpoint_holds_no_gradients(tmp_path):
    train(tmp_path)
    assert "accumulation" not in final_state(tmp_path)


def test_another_accumulation_is_refused_and_lost_gradients_are_said(tmp_path, capsys):
    train(tmp_path, optim_wrapper=accumulating(3))
    first = tmp_path / "epoch_1.pth"
    with pytest.raises(ConfigError, match=r"an accumulation of 3 steps and the config has accumulative_counts=2, exp"):
        train(tmp_path, resume=True, load_from=str(first), optim_wrapper=accumulating(2))
    found = files.load_checkpoint(first)
    del found["accumulation"]
    files.save_checkpoint(found, first)
    capsys.readouterr()
    train(tmp_path, resume=True, load_from=str(first), optim_wrapper=accumulating(3))
    assert "holds no gradients: those of its last steps are lost" in capsys.readouterr().out


@MODELS.register_module()
class TwoOptimizers(ToyModel):
    """Its layers have optimizers of their own, the second of which is called twice a step."""

    def train_step(self, data, optim_wrapper: OptimWrapperDict):
        data = self.data_preprocessor(data, True)
        for name in ("first", "last", "last"):
            with optim_wrapper[name].optim_context(self):
                losses = self(**data, mode="loss")
            optim_wrapper[name].update_params(losses["loss"])
        return losses


def two_wrappers(model):
    from mmengine.optim import OptimWrapper

    def wrap(module, count):
        return OptimWrapper(torch.optim.Adam(module.parameters(), lr=0.01), accumulative_counts=count)

    return OptimWrapperDict(first=wrap(model.net[0], 3), last=wrap(model.net[3], 5))


def test_several_optimizers_with_accumulations_of_their_own(tmp_path):
    def run(**changes):
        quiet = {"default_hooks": {"logger": None, "checkpoint": {"type": "CheckpointHook", "interval": 1}}}
        cfg = toy_config(
            tmp_path, model={"type": "TwoOptimizers"}, custom_hooks=[], param_scheduler=None, **quiet, **changes
        )
        runner = build_runner(cfg)
        runner.optim_wrapper = two_wrappers(runner.model)
        runner.train()

    run()
    whole = final_state(tmp_path)
    assert files.load_checkpoint(tmp_path / "epoch_1.pth")["accumulation"]["counts"] == {
        "first": (4, 3),
        "last": (8, 5),
    }
    run(resume=True, load_from=str(tmp_path / "epoch_1.pth"))
    for part in ("state_dict", "accumulation"):
        assert same(final_state(tmp_path)[part], whole[part])


def test_early_stopping_keeps_its_patience(tmp_path):
    stopper = {"type": "EarlyStoppingHook", "monitor": "mean", "rule": "less", "min_delta": 1e6, "patience": 3}
    cfg = {"train_cfg": {"by_epoch": True, "max_epochs": 8, "val_interval": 1}}
    train(tmp_path, [stopper], **cfg)
    last = max(read_log(tmp_path))
    assert 4 < last < 32
    train(tmp_path, [stopper], resume=True, load_from=str(tmp_path / "epoch_3.pth"), **cfg)
    assert max(read_log(tmp_path)) == last
