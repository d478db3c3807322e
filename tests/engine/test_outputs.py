"""Folders that cannot be written are found before the first step, by writing to them."""

import pytest

from bevkd.engine import build_runner
from bevkd.errors import ConfigError
from tests.engine.toy import METRICS, ToyMetric, toy_config


@METRICS.register_module()
class WritingMetric(ToyMetric):
    """Takes what mmdet3d's metrics call the places that they write to."""

    def __init__(self, output_dir=None, jsonfile_prefix=None, pklfile_prefix=None):
        super().__init__()


def saver(**options):
    return {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, **options}}}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("default_hooks.checkpoint.out_dir", lambda at: saver(out_dir=at)),
        ("val_evaluator.output_dir", lambda at: {"val_evaluator": {"type": "WritingMetric", "output_dir": at}}),
        (
            "val_evaluator.1.jsonfile_prefix",
            lambda at: {"val_evaluator": [{"type": "ToyMetric"}, {"type": "WritingMetric", "jsonfile_prefix": at}]},
        ),
        (
            "val_evaluator.metrics.0.pklfile_prefix",
            lambda at: {
                "val_evaluator": {
                    "type": "Evaluator",
                    "metrics": [{"type": "WritingMetric", "pklfile_prefix": f"{at}/a"}],
                }
            },
        ),
        ("visualizer.save_dir", lambda at: {"visualizer": {"type": "Visualizer", "save_dir": at}}),
        (
            "visualizer.vis_backends.0.save_dir",
            lambda at: {
                "visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend", "save_dir": at}]}
            },
        ),
    ],
)
def test_a_file_in_the_place_of_a_folder(tmp_path, field, changes):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"^{field} {tmp_path}/file\S* cannot be written: .*; expected a writable"):
        build_runner(toy_config(tmp_path / "run", **changes(str(tmp_path / "file")))).train()
    assert not list((tmp_path / "run").rglob("*.pth"))
    assert not (tmp_path / "run" / "losses.txt").exists()


def test_the_test_s_folder_is_tried_by_a_test_only(tmp_path):
    (tmp_path / "file").write_text("")
    changes = {"test_evaluator": {"type": "WritingMetric", "output_dir": str(tmp_path / "file")}}
    build_runner(toy_config(tmp_path / "run", **changes)).train()
    with pytest.raises(ConfigError, match=r"test_evaluator.output_dir \S+ cannot be written: "):
        build_runner(toy_config(tmp_path / "test", **changes)).test()


def test_checkpoints_elsewhere_are_written_and_found_there(tmp_path):
    changes = saver(out_dir=str(tmp_path / "big"))
    build_runner(toy_config(tmp_path / "run", **changes)).train()
    assert (tmp_path / "big" / "run" / "epoch_4.pth").is_file()
    (tmp_path / "run" / "last_checkpoint").unlink()
    (tmp_path / "big" / "run" / ".epoch_5.pth.1.partial").write_bytes(b"half")
    runner = build_runner(toy_config(tmp_path / "run", resume=True, **changes))
    runner.train()
    assert runner.epoch == 4
    assert not list((tmp_path / "big" / "run").glob(".*.partial"))
    assert len((tmp_path / "run" / "losses.txt").read_text().splitlines()) == 16  # nothing was trained again
