"""Loss curves: reading what mmengine wrote, resumed and killed runs, and the picture."""

import json

import numpy as np
import pytest
from PIL import Image

from bevkd.errors import DataError
from bevkd.visualization import curves


def write(folder, records, tail=""):
    file = folder / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return file


def steps(first, last, **more):
    return [{"lr": 0.1, "loss": 10.0 - s, "step": s, **more} for s in range(first, last)]


def test_reads_training_lines_and_skips_the_rest(tmp_path):
    records = [{"loss": 3.0, "step": 2}, {"loss": 4.0, "step": 1, "time": 0.5}, {"NuScenes/mAP": 0.1, "step": 1}]
    file = write(tmp_path, [*records, {"loss": float("nan"), "step": 3}], tail='{"loss": 1')
    found = curves.read_scalars(file)
    assert sorted(found) == ["loss", "time"]
    assert found["loss"][0].tolist() == [1, 2]
    assert found["loss"][1].tolist() == [4, 3]
    assert found["time"][0].tolist() == [1]


def test_a_resumed_run_overrides_what_the_killed_one_wrote_later(tmp_path):
    write(tmp_path / "20260101_000000", steps(0, 8))
    write(tmp_path / "20260101_010000", [{"loss": 99.0, "step": 5}, {"loss": 98.0, "step": 6}])
    found = curves.read_scalars(tmp_path)["loss"]
    assert found[0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert found[1][-2:].tolist() == [99, 98]


@pytest.mark.parametrize("content", [None, "", "not json\n", '{"step": 1}\n', "[1, 2]\n"])
def test_no_scalars_is_one_sentence(tmp_path, content):
    file = tmp_path / "scalars.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=r"scalars\.json"):
        curves.read_scalars(file)
    with pytest.raises(DataError, match="no training scalars"):
        curves.read_scalars(tmp_path)


def test_own_loss_leaves_the_distillation_parts_out():
    step = np.array([1.0, 2.0])
    run = {
        "loss": (step, np.array([10.0, 9.0])),
        "kd/unidistill/feature": (step, np.array([3.0, 2.0])),
        "kd/unidistill/relation": (step[1:], np.array([1.0])),
    }
    assert curves.own_loss(run)[1].tolist() == [7, 6]
    assert sorted(curves.kd_parts(run)) == ["unidistill/feature", "unidistill/relation"]
    assert run["loss"][1].tolist() == [10, 9]


def test_running_median_shrugs_off_a_spike():
    values = np.array([5.0, 4, 100, 3, 2])
    assert curves.running_median(values, 3).tolist() == [4.5, 5, 4, 3, 2.5]


def test_pictures(tmp_path):
    write(tmp_path / "plain", steps(0, 9))
    write(tmp_path / "kd", steps(0, 9, **{"kd/unidistill/feature": 2.0, "kd/unidistill/response": 0.01}))
    one = curves.draw_curves({"plain": tmp_path / "plain"}, tmp_path / "one.png")
    both = curves.draw_curves({"plain": tmp_path / "plain", "kd": tmp_path / "kd"}, tmp_path / "both.png")
    with Image.open(one) as first, Image.open(both) as second:
        assert first.size == (668, 526)
        assert second.size == (3 * 668, 526)
        assert second.convert("L").getextrema()[0] < 80
    with pytest.raises(DataError, match="no run"):
        curves.draw_curves({}, tmp_path / "none.png")


def test_a_run_of_one_step_can_be_drawn(tmp_path):
    path = curves.draw_curves({"short": {"loss": (np.array([1.0]), np.array([2.0]))}}, tmp_path / "short.png")
    assert path.is_file()
