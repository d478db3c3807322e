"""The shape of the house: imports flow one way, tools start light, and nothing pulls in torchvision."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# A room may import itself and rooms of a lower floor.
FLOORS = {
    "errors": 0, "registry": 0, "structures": 1, "ops": 2, "datasets": 2, "detectors": 3, "evaluation": 3, "tasks": 3,
    "distill": 4, "methods": 5, "engine": 6, "visualization": 7,
}  # fmt: skip
# Names that scripts import a paper by, from before it moved one floor up.
ALIASES = {f"distill/{paper}.py" for paper in ("unidistill", "distillbev", "rdd")}
TOOLS = sorted(p.name for p in (ROOT / "tools").glob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {n.split(".")[1] for n in names if n.startswith("bevkd.")} & set(FLOORS)


def test_imports_flow_one_way():
    # register_all() names the rooms above the engine by string, on purpose: it only fills registries.
    wrong = []
    for path in (ROOT / "bevkd").rglob("*.py"):
        room = path.relative_to(ROOT / "bevkd").parts[0].removesuffix(".py")
        if room == "__init__" or path.relative_to(ROOT / "bevkd").as_posix() in ALIASES:
            continue
        for other in imported_rooms(path):
            if other != room and FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def module_imports(path: Path) -> set[Path]:
    """Files of bevkd that a module imports when it is loaded, or would for its type hints."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.If) else [node]  # if TYPE_CHECKING
        for part in inner:
            if isinstance(part, ast.ImportFrom):
                base = path.parents[part.level - 1] if part.level else ROOT
                base = base.joinpath(*(part.module or "").split("."))
                found |= {base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in part.names)}
    return {other for other in found if other.is_file() and other != path}


@pytest.mark.parametrize("room", ["evaluation", "datasets"])
def test_no_two_modules_import_each_other(room):
    imports = {path: module_imports(path) for path in (ROOT / "bevkd" / room).rglob("*.py")}

    def reaches(start: Path, goal: Path) -> bool:
        seen, waiting = set(), [start]
        while waiting:
            for other in imports.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        return goal in seen

    assert not [str(path.relative_to(ROOT)) for path in imports if reaches(path, path)]


def test_every_room_is_on_a_floor():
    rooms = {p.name.removesuffix(".py") for p in (ROOT / "bevkd").iterdir() if not p.name.startswith(("_", "."))}
    assert {r for r in rooms if r.isidentifier()} <= set(FLOORS)


def closure(name: str) -> set[str]:
    """Every installed distribution that installing ``name`` brings, extras aside."""
    seen, waiting = set(), [name]
    while waiting:
        current = waiting.pop()
        key = re.sub(r"[-_.]+", "-", current).lower()
        if key in seen:
            continue
        try:
            requires = importlib.metadata.requires(current) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        seen.add(key)
        parsed = map(Requirement, requires)
        waiting += [r.name for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return seen


def test_no_torchvision_in_the_dependency_closure():
    names = closure("bevkd")
    assert {"torch", "mmdet3d", "nuscenes-devkit"} <= names
    for extra in re.findall(r'"([\w-]+)[=>]=', (ROOT / "pyproject.toml").read_text()):  # extras that are installed too
        names |= closure(extra)
    assert not names & {"torchvision", "timm", "open-clip-torch"}


@pytest.mark.parametrize("tool", TOOLS)
def test_help_is_light_and_has_an_example(tool):
    code = (
        f"import runpy, sys; sys.argv = ['{tool}', '--help']\n"
        f"try: runpy.run_path('tools/{tool}', run_name='__main__')\n"
        "except SystemExit as e: print('EXIT', e.code)\nprint('HEAVY', 'mmdet3d' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "EXIT 0" in run.stdout, run.stderr
    assert "HEAVY False" in run.stdout
    assert f"python tools/{tool}" in run.stdout or f"tools/{tool} " in run.stdout.split("example", 1)[-1]


@pytest.mark.parametrize("tool", TOOLS)
def test_help_names_only_files_that_exist(tool):
    """Files that a user is told to give; work folders and data folders are the user's own."""
    text = (ROOT / "tools" / tool).read_text()
    paths = set(
        re.findall(r"(?<![\w/.])((?:bevkd|configs|tools|csrc|tests|docs|benchmarks)/[\w/.-]+\.(?:py|sh|md))", text)
    )
    assert not sorted(p for p in paths if not (ROOT / p).exists())


def test_readme_names_only_files_that_exist():
    text = (ROOT / "README.md").read_text()
    rooms, suffixes = "bevkd|configs|tools|csrc|tests|docs", "py|cpp|h|png|md|json"
    paths = set(re.findall(rf"(?<![\w/.])((?:{rooms})/[\w/.-]+\.(?:{suffixes}))", text))
    assert paths, "the README names no file"
    assert not sorted(p for p in paths if not (ROOT / p).exists())


def test_changelog_has_this_version():
    import bevkd

    assert f"## {bevkd.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f'version = "{bevkd.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_core_of_distillation_needs_no_detection_framework():
    code = "import sys, bevkd.distill, bevkd.methods; print(sorted({'mmdet3d', 'mmdet', 'mmcv'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


@pytest.mark.parametrize("paper", ["unidistill", "distillbev", "rdd"])
def test_papers_keep_their_first_import_path(paper):
    import importlib

    old, new = (importlib.import_module(f"bevkd.{room}.{paper}") for room in ("distill", "methods"))
    assert old is new
