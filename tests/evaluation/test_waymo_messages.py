"""The hand-written protobuf schema against the official descriptors."""

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor

from bevkd.evaluation.waymo_metrics.messages import ENUMS, MESSAGES, PACKAGE, message
from bevkd.evaluation.waymo_metrics.object_files import read_objects, write_chunks
from bevkd.evaluation.waymo_metrics.objects import FrameKey, Objects

OFFICIAL = json.loads((Path(__file__).parent / "waymo_vectors" / "descriptors.json").read_text())


@pytest.mark.parametrize("name", [name for name in MESSAGES if name != "CameraName"])
def test_fields_have_the_official_numbers_and_types(name):
    official = OFFICIAL["messages"][f"{PACKAGE}.{name}"]
    fields = message(name).DESCRIPTOR.fields
    assert len(fields) == len(MESSAGES[name].split())
    for field in fields:
        label = FieldDescriptor.LABEL_REPEATED if field.is_repeated else FieldDescriptor.LABEL_OPTIONAL
        assert [field.number, field.type, label] == official[field.name], field.full_name


@pytest.mark.parametrize("name", ENUMS)
def test_enumerations_have_the_official_values(name):
    assert {value: n for n, value in enumerate(ENUMS[name].split())} == OFFICIAL["enums"][f"{PACKAGE}.{name}"]


def test_one_object_in_bytes_worked_by_hand():
    entry = message("Object")()
    assert entry.score == 1.0  # the official default
    entry.object.type, entry.object.box.heading, entry.score = 4, 1.0, 0.5
    # object (1): box (1): heading (7, double) 1.0; type (3) 4. score (2, float) 0.5
    expected = "0a0d" + "0a09" + "39000000000000f03f" + "1804" + "150000003f"
    assert entry.SerializeToString().hex() == expected


def test_a_number_that_waymo_does_not_define_is_seen():
    entry = message("Object").FromString(bytes.fromhex("0a021809"))
    assert entry.object.type == 9


def two() -> Objects:
    boxes = [(1, 2, 3, 4, 2, 0, 0.5), (2, 2, 3, 4, 2, 1, 0.5), (3, 2, 3, 4, 2, 1, 0.5)]
    return Objects.from_arrays(boxes, [1, 2, 4], [0, 0, 0], scores=[0.9, 0.5, 0.02], keys=[FrameKey("s", 0, 1)])


def test_zones_in_a_file_are_passed_over(tmp_path):
    """No-label zones stand in ground-truth files; scores go by each prediction's own mark."""
    zone = message("Objects")()
    zone.no_label_zone_objects.add().zone.x.extend([0.0, 1.0, 1.0])
    (tmp_path / "o.bin").write_bytes(zone.SerializeToString() + b"".join(write_chunks(two(), ids=["a", "b", "c"])))
    assert np.array_equal(read_objects(tmp_path / "o.bin").boxes, two().boxes)
