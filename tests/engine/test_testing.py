"""Scoring a checkpoint: strict, whole or bare student, with the metrics in a file."""

import json

import pytest
import torch
from mmengine.model import BaseModel

from bevkd.engine.checkpoint import save_checkpoint
from bevkd.engine.testing import load_fitting, score_checkpoint
from bevkd.errors import CheckpointError, ConfigError
from tests.engine.toy import ToyModel, toy_config


class Wrapper(BaseModel):
    """Keys as a distiller has them."""

    def __init__(self):
        super().__init__()
        self.student, self.adapter = ToyModel(), torch.nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return self.student(inputs, data_samples, mode)


@pytest.fixture
def bare(tmp_path):
    model = ToyModel()
    save_checkpoint({"state_dict": model.state_dict()}, tmp_path / "bare.pth")
    return model, tmp_path / "bare.pth"


@pytest.fixture
def whole(tmp_path):
    model = Wrapper()
    save_checkpoint({"state_dict": model.state_dict()}, tmp_path / "whole.pth")
    return model, tmp_path / "whole.pth"


def equal(one, other):
    theirs = other.state_dict()
    return all(torch.equal(v, theirs[k]) for k, v in one.state_dict().items())


def test_metrics_are_printed_and_written(tmp_path, bare, capsys):
    metrics = score_checkpoint(toy_config(tmp_path / "out"), bare[1])
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    assert f"mean  {metrics['mean']:.4f}" in capsys.readouterr().out


def test_a_distillers_checkpoint_fits_its_bare_student(whole):
    student = ToyModel()
    load_fitting(student, whole[1])
    assert equal(student, whole[0].student)


def test_a_bare_checkpoint_fits_the_student_of_a_distiller(bare):
    model = Wrapper()
    load_fitting(model, bare[1])
    assert equal(model.student, bare[0])


def test_a_distillers_checkpoint_fits_the_distiller(whole):
    model = Wrapper()
    load_fitting(model, whole[1])
    assert equal(model, whole[0])


def test_a_checkpoint_of_another_width_is_listed(bare):
    with pytest.raises(CheckpointError, match=r"net\.0\.weight \(8, 4\) against \(16, 4\)"):
        load_fitting(ToyModel(width=16), bare[1])


def test_a_config_without_test_settings(tmp_path, bare):
    cfg = toy_config(tmp_path, test_evaluator=None)
    with pytest.raises(ConfigError, match="lacks test_evaluator, expected settings to test with"):
        score_checkpoint(cfg, bare[1])


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth is missing"):
        score_checkpoint(toy_config(tmp_path), tmp_path / "none.pth")
