"""Results as JSON files and as markdown: ratios first, goals judged, losses beside wins."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.harness import OURS
from benchmarks.run import Report
from bevkd.visualization.files import renew_section

_GOALS = Path(__file__).with_name("goals.json")
_HEADER = ("op", "case", "threads", "ours ms", "% of copy rate", "times faster than (goal)", "same bits", "peak MB")


def write_results(report: Report, folder: Path) -> list[Path]:
    """One file per family, see :func:`write_result`."""
    return [
        write_result(
            family,
            {
                "machine": report.machine,
                "results": [result.as_dict() for result in results],
                "repeatable": report.repeatable[family],
            },
            folder,
        )
        for family, results in report.results.items()
    ]


def write_result(name: str, content: dict, folder: Path) -> Path:
    """A file named by ``name``, bevkd's version and the hardware of ``content["machine"]``, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    hardware = re.sub(r"[^A-Za-z0-9]+", "-", content["machine"]["hardware"]).strip("-")
    path = folder / f"{name}_{content['machine']['bevkd']}_{hardware}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
    return path


def to_markdown(report: Report) -> str:
    """The table of one run."""
    rows = [
        (result.as_dict(), report.repeatable[family][f"{result.op}, {result.case}"])
        for family, results in report.results.items()
        for result in results
    ]
    return _table(rows)


def renew_readme(readme: Path, folder: Path) -> None:
    """Write the table of every result file in ``folder`` between the two marker lines of ``readme``.

    Raises:
        DataError: the markers are missing.
    """
    parts, machines = [], set()
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        machine = content["machine"]
        machines.add(f"{machine['hardware']}, {machine['date'][:10]}")
        parts += [(row, content["repeatable"][f"{row['op']}, {row['case']}"]) for row in content["results"]]
    renew_section(readme, "benchmark_ops", f"{_table(parts)}\n\nMeasured on: {'; '.join(sorted(machines))}.")


def _table(rows: list[tuple[dict, bool]]) -> str:
    lines = ["| " + " | ".join(_HEADER) + " |", "|" + "---|" * len(_HEADER)]
    return "\n".join([*lines, *("| " + " | ".join(_cells(row, same)) + " |" for row, same in rows)])


def _cells(row: dict, same: bool) -> list[str]:
    ours = row["timings"].get(OURS)
    ratios = [
        f"{name} {ratio:.1f}x{_mark(row, name, ratio)}" for name, ratio in sorted(row["ratio_of_medians"].items())
    ]
    ratios += [f"{name}: {reason}" for name, reason in row["failures"].items()]
    threads = str(row["threads"]) if row["device"] == "cpu" else row["device"]
    if ours is None:
        return [row["op"], row["case"], threads, "-", "-", "; ".join(ratios), "-", "-"]
    share = row["floor_ms"] / ours["wall"]
    return [
        row["op"],
        row["case"],
        threads,
        f"{ours['wall']:.3g}{_own_mark(row, ours['wall'], share)}",
        f"{share:.0%}",
        "; ".join(ratios),
        "yes" if same else "NO",
        "-" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}",
    ]


def _goals(row: dict) -> list[dict]:
    return [
        goal
        for goal in json.loads(_GOALS.read_text())
        if goal["op"] == row["op"]
        and goal["case"] in row["case"]
        and goal.get("device", "cpu") == row["device"]
        and goal.get("threads", row["threads"]) == row["threads"]
    ]


def _mark(row: dict, peer: str, ratio: float) -> str:
    goals = [goal["at_least"] for goal in _goals(row) if goal.get("peer") == peer]
    return "".join(f" (>= {goal:g}: {'reached' if ratio >= goal else 'MISSED'})" for goal in goals)


def _own_mark(row: dict, wall_ms: float, share: float) -> str:
    marks = ""
    for goal in _goals(row):
        if "at_most_us" in goal:
            reached = wall_ms * 1e3 <= goal["at_most_us"]
            marks += f" (<= {goal['at_most_us']} us: {'reached' if reached else 'MISSED'})"
        if "copy_share" in goal:
            marks += f" (>= {goal['copy_share']:.0%} of copy: {'reached' if share >= goal['copy_share'] else 'MISSED'})"
    return marks
