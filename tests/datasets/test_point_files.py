"""Point files have no head: their number of columns is what the info file says, or one sentence.

Public reports: open-mmlab/mmdetection3d#225 (x y z reflectance under a nuScenes config), open-mmlab/OpenPCDet#288.
"""

import numpy as np
import pytest

from bevkd.datasets.point_files import count_points, read_points, read_record
from bevkd.errors import DataError

COUNT = 8 * 3 * 5 * 7 * 9  # a size that is whole points of 3 to 9 columns
LOW, HIGH = (5, 5, -2, 0, 0, 0), (40, 40, 2, 255, 31, 1)


def cloud(columns, intensity=255):
    points = np.random.default_rng(0).uniform(LOW, HIGH, (COUNT, 6)).astype(np.float32)
    points[:, 3] *= intensity / 255
    return points[:, :columns]


@pytest.fixture
def write(tmp_path):
    def to_file(points):
        points.tofile(tmp_path / "a.bin")
        return {"lidar_path": str(tmp_path / "a.bin")}

    return to_file


@pytest.mark.parametrize("columns", [4, 5, 6])
def test_a_record_is_read_as_it_says(write, columns):
    record = write(cloud(columns)) | {"num_pts_feats": columns, "num_points": COUNT}
    np.testing.assert_array_equal(read_record(record), cloud(columns))
    assert count_points(record["lidar_path"], columns) == COUNT


@pytest.mark.parametrize("intensity", [255, 1])
@pytest.mark.parametrize(("columns", "stated"), [(4, 5), (5, 4), (6, 5), (5, 6), (4, 6), (6, 4), (4, None)])
def test_another_number_of_columns_is_seen_in_the_heights(write, columns, stated, intensity):
    record = write(cloud(columns, intensity)) | ({} if stated is None else {"num_pts_feats": stated})
    expected = rf"a\.bin: its points look like {columns} numbers each, expected {stated or 5} \(num_pts_feats"
    with pytest.raises(DataError, match=expected):
        read_record(record)


def test_rings_in_firing_order_do_not_hide_it(write):
    """Every 32nd point is of one ring; a step of four or five columns must not meet the same column each time."""
    points = np.tile(cloud(4)[:32], (1000, 1))
    with pytest.raises(DataError, match="look like 4 numbers each"):
        read_points(write(points)["lidar_path"])


def test_a_tower_is_no_fault(write):
    """Heights may vary a lot where no other number of columns explains them."""
    points = cloud(5)
    points[:, 2] = np.random.default_rng(1).uniform(-2, 60, COUNT)
    assert read_record(write(points)).shape == (COUNT, 5)


def test_size_and_count_name_the_columns(write):
    record = write(cloud(4)[:801])
    with pytest.raises(DataError, match=r"12816 bytes is not a multiple of 20 \(num_pts_feats 5\)"):
        read_record(record)
    with pytest.raises(DataError, match=r"801 points, but the info file says 800 \(num_points, 4 numbers each\)"):
        read_record(record | {"num_pts_feats": 4, "num_points": 800})
