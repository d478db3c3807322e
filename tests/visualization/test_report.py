"""The report says what was measured, whichever way it fell."""

import json

import pytest

from bevkd.errors import DataError
from bevkd.visualization import report

TEACHER = {"name": "teacher", "mAP": 0.4, "NDS": 0.45, "mATE": 0.3, "step_time": 0.5}
PLAIN = {"name": "plain", "mAP": 0.1, "NDS": 0.15, "mATE": 0.8, "mAVE": float("nan"), "step_time": 0.8}
DISTILLED = {"name": "distilled", "mAP": 0.125, "NDS": 0.16, "mATE": 0.7, "mAVE": 1.0, "step_time": 1.0}


def test_table_text():
    lines = report.results_table([TEACHER, PLAIN, DISTILLED]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    units = ["mATE ↓ (m)", "mASE ↓", "mAOE ↓ (rad)", "mAVE ↓ (m/s)", "mAAE ↓", "step (s)"]
    assert cells[0] == ["model", "mAP ↑", "NDS ↑", *units]
    assert cells[2] == ["teacher", "0.4000", "0.4500", "0.300", "–", "–", "–", "–", "0.500"]
    assert cells[3] == ["plain", "0.1000", "0.1500", "0.800", "–", "–", "–", "–", "0.800"]
    assert cells[4] == ["distilled", "0.1250", "0.1600", "0.700", "–", "–", "1.000", "–", "1.000"]
    assert cells[5] == ["*difference*", "*+0.0250*", "*+0.0100*", "*−0.100*", *["*–*"] * 4, "*+0.200*"]
    assert len({len(line) for line in lines}) == 1


def test_several_distilled_rows_are_each_compared_with_the_plain_one():
    rows = [TEACHER, PLAIN, DISTILLED, {"name": "other", "mAP": 0.05}]
    assert [row["name"] for row in report.differences(rows)] == ["distilled − plain", "other − plain"]
    assert report.differences(rows)[1]["mAP"] == pytest.approx(-0.05)
    assert len(report.verdicts(rows)) == 3


@pytest.mark.parametrize(
    ("teacher", "student", "said"),
    [
        (0.4, 0.1, "The teacher is clearly ahead: teacher mAP 0.4000 against 0.1000 of plain."),
        (0.1, 0.2, "**The teacher is weak:** teacher mAP 0.1000 against 0.2000 of plain, so it knows less"),
        (0.11, 0.1, "**The teacher is weak:** teacher mAP 0.1100 against 0.1000 of plain, not clearly ahead"),
        (0.55, 0.5, "**The teacher is weak:**"),
        (0.021, 0.0, "The teacher is clearly ahead"),
        (0.0, 0.0, "**The teacher is weak:**"),
        (float("nan"), 0.1, "**The teacher cannot be judged:**"),
    ],
)
def test_teacher_comes_first_and_a_weak_one_is_called_weak(teacher, student, said):
    rows = [{**TEACHER, "mAP": teacher}, {**PLAIN, "mAP": student}, DISTILLED]
    assert report.verdicts(rows)[0].startswith(said)


@pytest.mark.parametrize(
    ("m_ap", "nds", "said"),
    [(0.2, 0.2, "helped"), (0.05, 0.1, "hurt"), (0.2, 0.1, "gave a mixed result"), (0.1, 0.15, "made no difference")],
)
def test_comparison_is_told_whichever_way_it_fell(m_ap, nds, said):
    sentence = report.verdicts([TEACHER, PLAIN, {**DISTILLED, "mAP": m_ap, "NDS": nds}])[1]
    assert sentence.startswith(f"Distillation {said}: plain → distilled, mAP 0.1000 → {m_ap:.4f}")
    assert "spread between runs was not measured" in sentence


def test_report_folder(tmp_path):
    picture = tmp_path / "elsewhere" / "bev.png"
    picture.parent.mkdir()
    picture.write_bytes(b"png")
    out = tmp_path / "report"
    path = report.write_report(out, [TEACHER, PLAIN, DISTILLED], {"BEV features": picture}, ["seed 0"])
    assert path == out / "report.md"
    text = path.read_text()
    assert text.index("clearly ahead") < text.index("Distillation helped") < text.index("| model")
    assert report.results_table([TEACHER, PLAIN, DISTILLED]) in text
    assert "![BEV features](bev.png)" in text
    assert "- seed 0" in text
    assert (out / "bev.png").read_bytes() == b"png"
    record = json.loads((out / "report.json").read_text())
    assert record["rows"][1]["mAVE"] is None
    assert record["differences"][0]["mAP"] == pytest.approx(0.025)
    assert sorted(file.name for file in out.iterdir()) == ["bev.png", "report.json", "report.md"]


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = report.write_report(tmp_path, [TEACHER, PLAIN])
    before = path.read_text()

    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr("bevkd.visualization.files.os.replace", broken)
    with pytest.raises(OSError, match="no space"):
        report.write_report(tmp_path, [TEACHER, PLAIN, DISTILLED])
    assert path.read_text() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_refusals(tmp_path):
    with pytest.raises(DataError, match="row 1 has no name"):
        report.write_report(tmp_path / "a", [TEACHER, {"mAP": 0.1}])
    with pytest.raises(DataError, match=r"missing\.png is not there"):
        report.write_report(tmp_path / "b", [TEACHER, PLAIN], {"x": tmp_path / "missing.png"})
    assert not (tmp_path / "b" / "report.md").exists()


def test_console_table_fits_eighty_columns_and_colours_gains():
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115
    console.print(report.rich_table([TEACHER, PLAIN, DISTILLED]))
    text = console.export_text(clear=False)
    assert "+0.0250" in text
    assert "+0.200" in text  # the last column is there
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b[32m+0.0250" in console.export_text(styles=True)
