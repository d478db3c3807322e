import numpy as np
import pytest

from bevkd.errors import DataError

transforms = pytest.importorskip("bevkd.datasets.transforms")


def cloud(*rows):
    return np.array([[*row, 7.0, 3.0] for row in rows], dtype=np.float32)  # intensity 7, ring 3


def write(path, points):
    points.tofile(path)
    return {"lidar_path": str(path)}


def load(results, **kwargs):
    return transforms.LoadSweeps(**kwargs).transform(results)["points"].tensor.numpy()


def test_drawn_key_frame_and_sweep(tmp_path):
    # The car drove 2 m forward (LiDAR +y) and turned 90 degrees left since the sweep. A pole 10 m ahead of the sweep
    # is 8 m along the old heading, so 8 m to the right (+x) now.
    key = write(tmp_path / "key.bin", cloud((8, 0, 1)))
    key_to_sweep = np.array([[0.0, -1, 0, 0], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]])
    sweep = write(tmp_path / "sweep.bin", cloud((0, 10, 1))) | {"lidar2sensor": key_to_sweep.tolist()}
    results = {"lidar_points": key, "timestamp": 100.0, "lidar_sweeps": [{"timestamp": 99.95, "lidar_points": sweep}]}
    np.testing.assert_allclose(load(results, sweeps=1), [[8, 0, 1, 7, 0], [8, 0, 1, 7, 0.05]], atol=1e-5)
    np.testing.assert_allclose(load(results, sweeps=0), [[8, 0, 1, 7, 0]])


def test_ego_returns_are_removed_in_the_sensors_frame(tmp_path):
    key = write(tmp_path / "key.bin", cloud((0.5, 0.5, 0), (0.5, 1.5, 0), (-1.0, 0.2, 0)))
    results = {"lidar_points": key, "timestamp": 0.0}
    np.testing.assert_allclose(load(results)[:, :2], [(0.5, 1.5), (-1.0, 0.2)])
    assert len(load(results, remove_close=0)) == 3


def test_no_sweeps_listed_gives_the_key_frame(tmp_path):
    results = {"lidar_points": write(tmp_path / "key.bin", cloud((5, 5, 0))), "timestamp": 0.0, "lidar_sweeps": []}
    assert load(results, sweeps=9).shape == (1, 5)


def test_non_finite_points_are_dropped_and_counted(tmp_path):
    points = np.tile(cloud((5, 5, 0)), (100, 1))
    points[3, 0], points[4, 2], points[5, 3] = np.nan, np.inf, np.nan
    results = {"lidar_points": write(tmp_path / "key.bin", points), "timestamp": 0.0}
    out = transforms.LoadSweeps().transform(results)
    assert out["num_dropped_points"] == 3
    assert len(out["points"]) == 97
    assert np.isfinite(out["points"].tensor.numpy()).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"key\.bin: 0 bytes"),
        (b"x" * 39, r"key\.bin: 39 bytes is not a multiple of 20"),
        (np.random.default_rng(0).normal(size=(100, 5)).astype(np.float64).tobytes(), "expected float32 metres"),
        (np.full((10, 5), np.nan, np.float32).tobytes(), "10 of 10 points are not finite"),
    ],
    ids=["zero bytes", "truncated", "float64", "all NaN"],
)
def test_bad_file_is_named(tmp_path, content, message):
    (tmp_path / "key.bin").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load({"lidar_points": {"lidar_path": str(tmp_path / "key.bin")}, "timestamp": 0.0})


def test_truncation_at_a_whole_point_is_seen_by_the_count(tmp_path):
    record = write(tmp_path / "key.bin", np.tile(cloud((5, 5, 0)), (9, 1))) | {"num_points": 10}
    with pytest.raises(DataError, match="9 points, but the info file says 10"):
        load({"lidar_points": record, "timestamp": 0.0})


def test_missing_sweep_and_sweep_from_the_future(tmp_path):
    key = write(tmp_path / "key.bin", cloud((5, 5, 0)))
    gone = {"lidar_path": str(tmp_path / "gone.bin"), "lidar2sensor": np.eye(4).tolist()}
    results = {"lidar_points": key, "timestamp": 1.0, "lidar_sweeps": [{"timestamp": 0.9, "lidar_points": gone}]}
    with pytest.raises(DataError, match=r"gone\.bin: cannot be read"):
        load(results, sweeps=1)
    results["lidar_sweeps"][0]["timestamp"] = 1.1
    with pytest.raises(DataError, match="newer than its key frame"):
        load(results, sweeps=1)
