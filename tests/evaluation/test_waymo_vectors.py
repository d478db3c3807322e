"""bevkd's Waymo scores on scenes whose official scores are kept beside (tools/waymo_agreement.py wrote them)."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bevkd.evaluation.waymo_agreement import KINDS
from bevkd.evaluation.waymo_agreement.compare import RULES, SCORE_KEYS, TOLERANCE, compare_scene, measure
from bevkd.evaluation.waymo_metrics import messages
from bevkd.evaluation.waymo_metrics.messages import LEVELS
from bevkd.evaluation.waymo_metrics.rules import SCORE_CUTOFFS

VECTORS = Path(__file__).parent / "waymo_vectors"
OFFICIAL = json.loads((VECTORS / "official.json").read_text())
SCENES = list(OFFICIAL["detection"]["scenes"])


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    zipfile.ZipFile(VECTORS / "scenes.zip").extractall(folder)
    return folder


@pytest.fixture(scope="module")
def curves() -> dict[str, np.ndarray]:
    return dict(np.load(VECTORS / "official_counts.npz"))


def expected(metric: str, name: str, curves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    row = SCENES.index(name)
    numbers = {k: np.array(v) for k, v in OFFICIAL[metric]["scenes"][name].items()}
    return numbers | {k.partition(".")[2]: v[row] for k, v in curves.items() if k.startswith(f"{metric}.")}


def test_every_kind_of_scene_is_there():
    assert {name.rpartition("-")[0] for name in SCENES} == set(KINDS)


@pytest.mark.parametrize("metric", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_the_official_one(metric, kind, files, curves):
    for name in (s for s in SCENES if s.rpartition("-")[0] == kind):
        pair = files / f"{name}.pd.bin", files / f"{name}.gt.bin"
        official = expected(metric, name, curves)
        results = list(compare_scene(name, metric, *pair, official))
        assert {r.number for r in results} == {
            *SCORE_KEYS[metric],
            "counts",
            "precision_heading",
            "precision_longitudinal",
        }
        assert max(results, key=lambda r: r.difference).difference <= TOLERANCE


def test_a_wrong_number_would_be_noticed(files, curves):
    official = expected("let", "monocular-0", curves)
    official["apl"] = official["apl"] + 2e-5
    pair = files / "monocular-0.pd.bin", files / "monocular-0.gt.bin"
    differing = [r.number for r in compare_scene("monocular-0", "let", *pair, official) if r.difference > TOLERANCE]
    assert differing == ["apl"]


@pytest.mark.parametrize("metric", RULES)
def test_the_breakdowns_have_the_official_names_and_order(metric, files):
    rules = RULES[metric]
    names = [f"{name}_{LEVELS[level - 1]}" for name in rules.names() for level in rules.levels]
    assert names == OFFICIAL[metric]["breakdowns"]
    assert len(measure(metric, files / "ordinary-0.pd.bin", files / "ordinary-0.gt.bin")["ap"]) == len(names)


@pytest.mark.parametrize("metric", RULES)
def test_the_settings_are_those_of_the_official_config(metric):
    text = (VECTORS / f"{metric}_config.txtpb").read_text()

    def values(field: str) -> list[float]:
        return [float(v) for v in re.findall(rf"^\s*{field}: (\S+)$", text, re.MULTILINE)]

    rules = RULES[metric]
    assert np.array_equal(np.float32(values("score_cutoffs")), np.float32(SCORE_CUTOFFS))
    assert values("iou_thresholds")[1:] == pytest.approx(rules.iou_thresholds[1:])
    if metric == "let":
        sensor, share, least = rules.longitudinal
        assert [values(axis)[0] for axis in "xyz"] == pytest.approx(sensor)
        assert values("longitudinal_tolerance_percentage") == pytest.approx([share])
        assert values("min_longitudinal_tolerance_meter") == pytest.approx([least])


def test_messages_have_the_official_field_numbers():
    official = json.loads((VECTORS / "descriptors.json").read_text())
    for name in messages.MESSAGES:
        message = messages.message(name).DESCRIPTOR
        # An empty message is only the scope of its enumeration.
        fields = {f.name: [f.number, f.type, int(f.is_repeated)] for f in message.fields}
        known = official["messages"].get(message.full_name, {})
        assert fields.items() <= {k: [n, t, int(label == 3)] for k, (n, t, label) in known.items()}.items(), name


def test_enumerations_have_the_official_numbers():
    official = json.loads((VECTORS / "descriptors.json").read_text())["enums"]
    for name, values in messages.ENUMS.items():
        ours = {value: number for number, value in enumerate(values.split())}
        assert ours.items() <= official[f"{messages.PACKAGE}.{name}"].items(), name
