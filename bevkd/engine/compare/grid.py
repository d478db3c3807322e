"""What is compared: worlds, teachers, students and arms, read from one config file."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from bevkd.engine.compare.job import Job
from bevkd.engine.config import load_config
from bevkd.errors import ConfigError, nearest

SPLITS = {"seen": "validation scenes", "unseen": "unseen scenes"}


@dataclass(frozen=True)
class World:
    """Where the data is, and how to make what is not there yet.

    Attributes:
        root: the folder.
        synthetic: arguments of a synthetic driving world's folder.
        maker: for any other folder, the dotted name of a function that writes it, called with ``root``.
    """

    root: str
    synthetic: Mapping[str, Any] | None = None
    maker: str | None = None


@dataclass(frozen=True)
class Model:
    """A teacher, or a student without one.

    Attributes:
        config: recipe. options: changes of it.
        title: its name in tables.
        seed: of a teacher.
        checkpoint: of a teacher that is trained already; None trains one.
    """

    config: str
    options: Mapping[str, Any]
    title: str
    seed: int = 0
    checkpoint: str | None = None


@dataclass(frozen=True)
class Arm:
    """A student with a teacher.

    Attributes:
        path: which sensors teach which, for tables. method: likewise.
        config: recipe of the distiller. options: changes of it.
        teacher, student: names of the grid's.
        goal: the gain in points that is aimed at, for tables; None for none.
    """

    path: str
    method: str
    config: str
    options: Mapping[str, Any]
    teacher: str
    student: str
    goal: float | None = None
    teacher_key: str = "model.teacher.checkpoint"


@dataclass(frozen=True)
class Grid:
    """One comparison.

    Attributes:
        name: of its folder and tables.
        seeds: each arm and each student is trained once with each.
        teachers, students, arms: by name.
        world, unseen: the data that is trained and validated on, and data that is scored alone.
        options: changes of every recipe.
        metrics: names of scores from 0 to 1; the first decides the order of sentences.
        splits: what both data are called in tables, ``seen`` and ``unseen``; one without ``unseen`` has no column of
            it.
    """

    name: str
    seeds: tuple[int, ...]
    teachers: Mapping[str, Model]
    students: Mapping[str, Model]
    arms: Mapping[str, Arm]
    world: World | None = None
    unseen: World | None = None
    options: Mapping[str, Any] = None
    metrics: tuple[str, ...] = ("mAP", "NDS")
    splits: Mapping[str, str] = field(default_factory=lambda: dict(SPLITS))

    def only(self, patterns: Iterable[str] = (), seeds: Sequence[int] | None = None) -> Grid:
        """The arms whose names fit one of the patterns (all without any), the models that they need, these seeds.

        Raises:
            ConfigError: a pattern that fits no arm, or no seed.
        """
        patterns = list(patterns)
        for pattern in patterns:
            if not fnmatch.filter(self.arms, pattern):
                raise ConfigError(f"no arm of {self.name} is called {pattern!r}{nearest(pattern, self.arms)}")
        arms = {
            name: arm
            for name, arm in self.arms.items()
            if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }
        seeds = self.seeds if seeds is None else _seeds(seeds)
        teachers = {name: self.teachers[name] for name in dict.fromkeys(arm.teacher for arm in arms.values())}
        students = {name: self.students[name] for name in dict.fromkeys(arm.student for arm in arms.values())}
        return Grid(**{**vars(self), "arms": arms, "seeds": seeds, "teachers": teachers, "students": students})

    def jobs(self, out: str | Path) -> list[Job]:
        """Every training below ``out``: teachers, then seed by seed the students and their arms."""
        jobs = [self.teacher_job(name, out) for name in self.teachers]
        for seed in self.seeds:
            jobs += [self.student_job(name, seed, out) for name in self.students]
            jobs += [self.arm_job(name, seed, out) for name in self.arms]
        return jobs

    def teacher_job(self, name: str, out: str | Path) -> Job:
        """The training of a teacher."""
        model = self.teachers[name]
        return self._job(f"teachers/{name}", out, model.config, model.options, model.seed, checkpoint=model.checkpoint)

    def student_job(self, name: str, seed: int, out: str | Path) -> Job:
        """The training of a student without a teacher."""
        model = self.students[name]
        return self._job(f"students/{name}/seed{seed}", out, model.config, model.options, seed)

    def arm_job(self, name: str, seed: int, out: str | Path) -> Job:
        """The training of a student with a teacher."""
        arm = self.arms[name]
        teacher = self.teacher_job(arm.teacher, out).work_dir
        return self._job(
            f"arms/{name}/seed{seed}", out, arm.config, arm.options, seed, teacher=teacher, teacher_key=arm.teacher_key
        )

    def _job(self, name: str, out: str | Path, config: str, options: Mapping, seed: int, **weights: Any) -> Job:
        return Job(
            name,
            str(Path(out, name)),
            config,
            seed,
            {**(self.options or {}), **options},
            self.world and self.world.root,
            self.unseen and self.unseen.root,
            **weights,
        )


def read_grid(path: str | Path, options: Mapping[str, Any] | None = None) -> Grid:
    """Read a comparison: a config file with the attributes of :class:`Grid`, its parts as dicts.

    Teachers and students that no arm names are left out.

    Raises:
        ConfigError: no such file, an unknown or missing key, or a teacher or student that is not there.
    """
    cfg = load_config(path, options)
    content = {key: value for key, value in cfg.to_dict().items() if not key.startswith("_")}
    content.setdefault("name", Path(path).stem)
    _require_keys(content, Grid, str(path))
    for key in ("world", "unseen"):
        content[key] = _part(World, content[key], f"{path}: {key}") if content.get(key) else None
    for key, kind in (("teachers", Model), ("students", Model), ("arms", Arm)):
        content[key] = {
            name: _part(
                kind, {"options": {}, **({"title": name} if kind is Model else {}), **part}, f"{path}: {key}.{name}"
            )
            for name, part in content[key].items()
        }
    content["seeds"] = _seeds(content["seeds"])
    content["metrics"] = tuple(content.get("metrics") or Grid.metrics)
    splits = content.setdefault("splits", dict(SPLITS))
    if "seen" not in splits or not set(splits) <= set(SPLITS):
        raise ConfigError(f"{path}: splits are {splits!r}, expected dict(seen='name', unseen='name') or seen alone")
    if content["unseen"] and "unseen" not in splits:
        raise ConfigError(f"{path}: unseen is given and splits have no name for it, expected splits.unseen='name'")
    grid = Grid(**content)
    for name, arm in grid.arms.items():
        for role, known in ((arm.teacher, grid.teachers), (arm.student, grid.students)):
            if role not in known:
                raise ConfigError(f"{path}: arm {name!r} names {role!r}, which is not there{nearest(role, known)}")
    for name, student in grid.students.items():
        if student.checkpoint is not None:
            raise ConfigError(f"{path}: student {name!r} has a checkpoint, expected none: every seed trains its own")
    if not grid.arms:
        raise ConfigError(f"{path}: arms are empty, expected arms=dict(name=dict(...))")
    return grid.only()


def _part(kind: type, content: Mapping[str, Any], where: str) -> Any:
    _require_keys(content, kind, where)
    return kind(**content)


def _require_keys(content: Mapping[str, Any], kind: type, where: str) -> None:
    known = {part.name: part.default is MISSING and part.default_factory is MISSING for part in fields(kind)}
    for key in content:
        if key not in known:
            raise ConfigError(f"{where} has the unknown key {key!r}{nearest(key, known)}")
    missing = [key for key, needed in known.items() if needed and key not in content]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")


def _seeds(seeds: Any) -> tuple[int, ...]:
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) != len(seeds) or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"seeds are {list(seeds)}, expected different whole numbers from 0 up")
    return seeds
