"""The run report: a folder with the table, the pictures and one plain sentence on what they say."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bevkd.errors import DataError
from bevkd.structures.files import whole_file

# key -> (label, unit, decimals, +1 when more is better, -1 when less is, 0 when it is no score)
COLUMNS: Mapping[str, tuple[str, str, int, int]] = {
    "mAP": ("mAP", "", 4, 1),
    "NDS": ("NDS", "", 4, 1),
    "mATE": ("mATE", "m", 3, -1),
    "mASE": ("mASE", "", 3, -1),
    "mAOE": ("mAOE", "rad", 3, -1),
    "mAVE": ("mAVE", "m/s", 3, -1),
    "mAAE": ("mAAE", "", 3, -1),
    "step_time": ("step", "s", 3, 0),
}
_ARROWS = {1: " ↑", -1: " ↓", 0: ""}
# A teacher is clearly ahead when it leads by this much mAP and by this share of the student's mAP.
CLEAR_LEAD, CLEAR_SHARE = 0.02, 0.2
Row = Mapping[str, Any]


def differences(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Distilled minus plain for every distilled row (the third and later ones), column by column."""
    _check(rows)
    found = []
    for row in rows[2:]:
        name = "difference" if len(rows) == 3 else f"{row['name']} − {rows[1]['name']}"
        known = [key for key in COLUMNS if _known(row, key) and _known(rows[1], key)]
        found.append({"name": name, **{key: row[key] - rows[1][key] for key in known}})
    return found


def results_table(rows: Sequence[Row]) -> str:
    """The results as a markdown table, with a difference row below.

    Args:
        rows: teacher, plain student, then any number of distilled students; each a dict with ``name`` and any of
            mAP, NDS, mATE, mASE, mAOE, mAVE, mAAE, step_time (seconds per training step). Missing or NaN shows as –.

    Raises:
        DataError: a row without a name.
    """
    _check(rows)
    cells = [["model", *_headings(" ")]]
    cells += [_cells(row) for row in rows]
    cells += [[f"*{text}*" for text in _cells(row, signed=True)] for row in differences(rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(_pad(text, widths[i], left=i == 0) for i, text in enumerate(line)) + " |" for line in cells
    ]
    rule = "|" + "|".join(":" + "-" * (w + 1) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def rich_table(rows: Sequence[Row], title: str = "Official nuScenes evaluation"):
    """The same table for a terminal: a ``rich.table.Table``; gains green, losses red."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.HORIZONTALS, collapse_padding=True, pad_edge=False)
    table.add_column("model", justify="left", min_width=10)
    for heading in _headings("\n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(*_cells(row), end_section=index == len(rows) - 1)
    for row in differences(rows):
        name, *values = _cells(row, signed=True)
        table.add_row(name, *(_coloured(text, row.get(key), key) for key, text in zip(COLUMNS, values, strict=True)))
    return table


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Plain sentences: first on the teacher, then one on each distilled student, whichever way it fell."""
    _check(rows)
    sentences = [_teacher_sentence(rows[0], rows[1])] if len(rows) > 1 else []
    sentences += [_comparison_sentence(rows[1], row) for row in rows[2:]]
    return [sentence for sentence in sentences if sentence]


def write_report(
    out_dir: str | os.PathLike,
    rows: Sequence[Row],
    pictures: Mapping[str, str | os.PathLike] | None = None,
    notes: Sequence[str] = (),
    *,
    title: str = "bevkd run report",
) -> Path:
    """Write ``report.md`` and ``report.json``; each appears whole or not at all.

    Args:
        out_dir: the report folder; made when missing. Pictures from elsewhere are copied into it.
        rows: see :func:`results_table`.
        pictures: caption -> image file, in the order they should appear.
        notes: sentences for the end: settings, missing libraries, what was measured how.

    Returns:
        the path of ``report.md``.

    Raises:
        DataError: a row without a name, or a picture that is not there.
    """
    out_dir = Path(out_dir)
    table, sentences = results_table(rows), verdicts(rows)
    out_dir.mkdir(parents=True, exist_ok=True)
    files = {caption: _bring(Path(picture), out_dir) for caption, picture in (pictures or {}).items()}
    parts = [f"# {title}\n", *(f"{sentence}\n" for sentence in sentences), table]
    parts += [f"## {caption}\n\n![{caption}]({file})\n" for caption, file in files.items()]
    if notes:
        parts.append("## Notes\n\n" + "".join(f"- {note}\n" for note in notes))
    record = {
        "title": title,
        "rows": [dict(row) for row in rows],
        "differences": differences(rows),
        "verdicts": sentences,
        "pictures": files,
        "notes": list(notes),
    }
    _write(out_dir / "report.json", json.dumps(_plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return _write(out_dir / "report.md", "\n".join(parts))


def _check(rows: Sequence[Row]) -> None:
    for index, row in enumerate(rows):
        if not row.get("name"):
            raise DataError(f"result row {index} has no name, its keys are {sorted(row)}, expected 'name' and metrics")


def _headings(gap: str) -> list[str]:
    """Column headings with the better direction; ``gap`` stands before the unit."""
    return [
        f"{label}{_ARROWS[sense]}" + (f"{gap}({unit})" if unit else "") for label, unit, _, sense in COLUMNS.values()
    ]


def _known(row: Row, key: str) -> bool:
    return row.get(key) is not None and math.isfinite(row[key])


def _cells(row: Row, signed: bool = False) -> list[str]:
    sign = "+" if signed else ""
    texts = [f"{row[key]:{sign}.{COLUMNS[key][2]}f}" if _known(row, key) else "–" for key in COLUMNS]
    return [str(row["name"]), *(text.replace("-", "−") for text in texts)]


def _pad(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def _coloured(text: str, value: float | None, key: str) -> str:
    gain = (value or 0) * COLUMNS[key][3]
    return f"[{'green' if gain > 0 else 'red'}]{text}[/]" if gain else text


def _teacher_sentence(teacher: Row, student: Row) -> str:
    if not (_known(teacher, "mAP") and _known(student, "mAP")):
        return f"**The teacher cannot be judged:** no mAP is known for {teacher['name']} or {student['name']}."
    high, low = teacher["mAP"], student["mAP"]
    numbers = f"{teacher['name']} mAP {high:.4f} against {low:.4f} of {student['name']}"
    if high < low:
        return f"**The teacher is weak:** {numbers}, so it knows less than the student it should teach."
    if high - low < max(CLEAR_LEAD, CLEAR_SHARE * low):
        return f"**The teacher is weak:** {numbers}, not clearly ahead, so little can be expected of distillation."
    return f"The teacher is clearly ahead: {numbers}."


def _comparison_sentence(student: Row, distilled: Row) -> str:
    known = [key for key in ("mAP", "NDS") if _known(student, key) and _known(distilled, key)]
    moves = {key: distilled[key] - student[key] for key in known}
    if not moves:
        return f"{distilled['name']} cannot be compared with {student['name']}: mAP and NDS are unknown."
    told = " and ".join(f"{key} {student[key]:.4f} → {distilled[key]:.4f} ({move:+.4f})" for key, move in moves.items())
    signs = {round(move, 4) > 0 for move in moves.values() if round(move, 4) != 0}
    if not signs:
        fell = "made no difference"
    elif signs == {True}:
        fell = "helped"
    elif signs == {False}:
        fell = "hurt"
    else:
        fell = "gave a mixed result"
    return (
        f"Distillation {fell}: {student['name']} → {distilled['name']}, {told.replace('-', '−')}. "
        "One run each; the spread between runs was not measured."
    )


def _bring(picture: Path, out_dir: Path) -> str:
    if not picture.is_file():
        raise DataError(f"picture {picture} is not there, expected an image file")
    target = out_dir / picture.name
    if picture.resolve() != target.resolve():
        shutil.copyfile(picture, target)
    return target.name


def _plain(value: Any) -> Any:
    """JSON has no NaN, and numpy scalars are no JSON either."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _write(path: Path, text: str) -> Path:
    with whole_file(path) as file:
        file.write(text.encode())
    return path
