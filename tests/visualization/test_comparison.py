"""The table and the plot of a comparison, from a summary written by hand."""

import json

import pytest
from PIL import Image

from bevkd.errors import DataError
from bevkd.visualization.comparison import comparison_table, draw_comparison, write_comparison
from bevkd.visualization.files import renew_section


def part(teacher, without, gain, interval, gains=None):
    gains = gains or {"0": gain}
    return {
        "teacher": teacher,
        "without": without,
        "with": without + gain,
        "gain": gain,
        "interval": interval,
        "gains": gains,
    }


@pytest.fixture
def summary():
    arm = {"path": "LiDAR → camera", "method": "UniDistill", "teacher": "t", "student": "s"}
    seen = {
        "mAP": part(0.4, 0.1, 0.031, 0.0049, {"0": 0.03, "1": 0.032}),
        "NDS": part(0.45, 0.2, 0.021, 0.002, {"0": 0.02, "1": 0.022}),
    }
    unseen = {
        "mAP": part(0.3, 0.1, -0.0104, 0.02, {"0": -0.02, "1": -0.0008}),
        "NDS": part(0.4, 0.2, 0.05, 0.002, {"0": 0.05, "1": 0.05}),
    }
    arms = {
        "l2c": {**arm, "goal": 2.0, "seeds": [0, 1], "step_ratio": 1.234, "seen": seen, "unseen": unseen},
        "open": {**arm, "method": "RDD", "goal": None, "seeds": [], "step_ratio": None},
    }
    return {
        "name": "drawn",
        "metrics": ["mAP", "NDS"],
        "seeds": [0, 1],
        "jobs": {"done": 4, "all": 9},
        "teachers": {},
        "arms": arms,
    }


def test_the_table_says_what_was_found(summary):
    lines = comparison_table(summary).splitlines()
    assert lines[0].startswith("| path | method | teacher (mAP / NDS) | student | student + KD | gain, validation")
    assert lines[2] == (
        "| LiDAR → camera | UniDistill | 40.0 / 45.0 | 10.0 / 20.0 | 13.1 / 22.1 "
        "| **+3.1 ± 0.5** / **+2.1 ± 0.2** | −1.0 ± 2.0 / **+5.0 ± 0.2** | +2.0 | 2 | 1.23x |"
    )
    assert lines[3] == ""
    assert "4 of 9 trainings are done" in lines[4]
    assert lines[4].endswith("Without any result yet: 1 of 2 arms.")
    assert len({line.count("|") for line in lines[:3]}) == 1


def test_one_seed_has_no_interval_and_a_missing_teacher_no_score(summary):
    summary["arms"]["l2c"]["seen"]["mAP"].update(interval=None, teacher=None)
    line = comparison_table(summary).splitlines()[2]
    assert "| **+3.1** / **+2.1 ± 0.2** |" in line
    assert "| – / 45.0 |" in line


def test_without_goal_or_unseen_scenes_nothing_is_said_of_them(summary):
    arm = summary["arms"]["l2c"]
    arm["goal"] = None
    del arm["unseen"]
    assert comparison_table(summary).splitlines()[2].endswith("| +3.1 ± 0.5 / +2.1 ± 0.2 | – | – | 2 | 1.23x |")


def test_the_plot_shows_every_arm_with_a_result(summary, tmp_path):
    path = draw_comparison(summary, tmp_path / "one.png")
    one = Image.open(path)
    summary["arms"]["open"].update({key: summary["arms"]["l2c"][key] for key in ("seen", "unseen")})
    two = Image.open(draw_comparison(summary, tmp_path / "two.png"))
    assert two.height > one.height
    assert one.getcolors(1 << 20) is not None
    assert len(one.convert("RGB").getcolors(1 << 20)) > 50  # something is drawn
    assert draw_comparison({**summary, "arms": {}}, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_files_of_a_comparison(summary, tmp_path):
    path = write_comparison(summary, tmp_path / "new")
    assert sorted(p.name for p in path.parent.iterdir()) == ["drawn.json", "drawn.md", "drawn.png"]
    assert json.loads((tmp_path / "new/drawn.json").read_text()) == summary
    assert "![gains by arm](drawn.png)" in path.read_text()
    write_comparison({**summary, "arms": {}}, tmp_path / "bare")
    assert sorted(p.name for p in (tmp_path / "bare").iterdir()) == ["drawn.json", "drawn.md"]


def test_a_section_of_a_text_is_renewed(tmp_path):
    file = tmp_path / "README.md"
    file.write_text("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n")
    renew_section(file, "x", "new\n")
    renew_section(file, "x", "newer\n")
    assert file.read_text() == "a\n<!-- x: begin -->\nnewer\n<!-- x: end -->\nb\n"
    with pytest.raises(DataError, match="no pair of markers <!-- y: begin -->"):
        renew_section(file, "y", "")
