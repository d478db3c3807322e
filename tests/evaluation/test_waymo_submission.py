"""Submissions for Waymo's evaluation server: their form, their info text, and those whose ground truth nobody has."""

import hashlib
import pickle
import resource
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bevkd.errors import ConfigError, DataError
from bevkd.evaluation.files import write_whole
from bevkd.evaluation.waymo_metrics import submission
from bevkd.evaluation.waymo_metrics.messages import message
from bevkd.evaluation.waymo_metrics.object_files import write_chunks
from bevkd.evaluation.waymo_metrics.objects import FrameKey, Objects
from bevkd.evaluation.waymo_metrics.submission import check_unscored, write_submission
from bevkd.evaluation.waymo_metrics.submission_info import read_info

TOOL = Path(__file__).parents[2] / "tools" / "eval_waymo.py"
START = 1_550_083_467_346_370
KEY = FrameKey("s", 0, START)
INFO = """account_name: "a@b.org"
unique_method_name: "m"
sensor_type: LIDAR_ALL
object_types: TYPE_VEHICLE
object_types: TYPE_PEDESTRIAN
"""


def three(key=KEY, **columns) -> Objects:
    boxes = [(1, 2, 3, 4, 2, 0, 0.5), (2, 2, 3, 4, 2, 1, 0.5), (3, 2, 3, 4, 2, 1, 0.5)]
    columns = {"types": [1, 2, 4], "frames": [0, 0, 0], "scores": [0.9, 0.5, 0.02], **columns}
    return Objects.from_arrays(boxes, keys=[key], source="found", **columns)


@pytest.fixture
def info(tmp_path):
    """``info(text)``: a file with the text of a submission's info."""

    def write(text: str = INFO) -> Path:
        (tmp_path / "info.txtpb").write_text(text)
        return tmp_path / "info.txtpb"

    return write


def test_one_bare_message(tmp_path, info):
    assert write_submission(three(), read_info(info()), tmp_path / "s.bin") == 2
    read = message("Submission").FromString((tmp_path / "s.bin").read_bytes())
    assert (read.account_name, read.unique_method_name, read.task, read.sensor_type) == ("a@b.org", "m", 2, 1)
    assert list(read.object_types) == [1, 2]
    found = read.inference_results.objects
    assert [(o.object.type, round(o.score, 3), o.context_name) for o in found] == [(1, 0.9, "s"), (2, 0.5, "s")]
    assert found[0].object.box.height == pytest.approx(1e-6)


def test_an_archive_of_whole_messages_with_the_same_bytes_each_time(tmp_path, info, monkeypatch):
    monkeypatch.setattr(submission, "_SHARD", 1)
    for name in ("a.tar.gz", "b.tar.gz"):
        assert write_submission(three(), read_info(info()), tmp_path / name) == 2
    assert (tmp_path / "a.tar.gz").read_bytes()[3:8] == bytes(5)  # neither a name nor a time
    with tarfile.open(tmp_path / "a.tar.gz", "r:gz") as archive:
        parts = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
        assert all(member.mtime == 0 for member in archive.getmembers())
    assert list(parts) == ["submission/part0", "submission/part1"]
    for kind, content in zip((1, 2), parts.values()):
        read = message("Submission").FromString(content)
        assert (read.account_name, [o.object.type for o in read.inference_results.objects]) == ("a@b.org", [kind])
    assert len({hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in ("a.tar.gz", "b.tar.gz")}) == 1


@pytest.mark.parametrize("name", ["s.tar", "s.tgz", "s", "s.zip", "tar.gz"])
def test_other_endings_are_refused(tmp_path, info, name):
    with pytest.raises(ConfigError, match=rf"--submission is .*{name}, expected a name that ends in .tar.gz"):
        write_submission(three(), read_info(info()), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["info.txtpb"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("account_name: 3", "expected lines like"),
        ("acount_name: 'a@b.org'", "line 1: unknown field 'acount_name'; nearest: account_name"),
        ("sensor_type: LIDAR_AL", "line 1: unknown value 'LIDAR_AL'; nearest: LIDAR_ALL"),
        ("account_name: 'a@b.org'", "unique_method_name is missing"),
        ("unique_method_name: 'm'", "account_name is missing"),
        ("account_name: 'x'", "account_name is 'x', expected the e-mail address"),
        (
            "account_name: 'your_registered_email@gmail.com'",
            "account_name is 'your_registered_email@gmail.com', expected",
        ),
        ("account_name: 'acc@domain.com'", "account_name is 'acc@domain.com', expected"),
        ("unique_method_name: 'abcdefghijklmnopqrstuvwxyz'", "has 26 characters, expected at most 25"),
        ("unique_method_name: 'Your unique method name.'", "as in Waymo's example, expected the method's own"),
        ("task: TRACKING_2D", "task is TRACKING_2D, expected DETECTION_3D or CAMERA_ONLY_DETECTION_3D"),
        ("sensor_type: INVALID", "sensor_type is missing, expected one of LIDAR_ALL, LIDAR_TOP"),
        ("task: CAMERA_ONLY_DETECTION_3D", "sensor_type LIDAR_ALL, expected CAMERA_ALL or the task DETECTION_3D"),
        ("object_types: TYPE_UNKNOWN", "object_types holds TYPE_UNKNOWN"),
        ("number_past_frames_exclude_current: -1", "number_past_frames_exclude_current is -1, expected 0 or more"),
        ("inference_results {}", "inference_results is set"),
    ],
)
def test_a_wrong_info_is_one_sentence(info, line, sentence):
    field = line.partition(":")[0]
    rest = "" if "missing" in sentence and "sensor" not in sentence else INFO
    if field != "object_types":  # which may be there several times
        rest = "".join(kept for kept in rest.splitlines(keepends=True) if not kept.startswith(field + ":"))
    with pytest.raises(DataError, match=sentence) as refused:
        read_info(info(f"{line}\n{rest}"))
    assert "info.txtpb: " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_info_or_no_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none: cannot be read \(No such file"):
        read_info(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary: cannot be read \(no text in UTF-8"):
        read_info(tmp_path / "binary")


def test_25_characters_and_a_camera_only_task_are_taken(info):
    text = INFO.replace('"m"', '"abcdefghijklmnopqrstuvwxy"').replace("LIDAR_ALL", "CAMERA_ALL")
    assert read_info(info(text + "task: CAMERA_ONLY_DETECTION_3D")).task == 6
    assert read_info(info(text)).task == 2


def test_what_is_left_of_the_example_is_said(info):
    with pytest.warns(UserWarning, match="authors, description: as in Waymo's example"):
        read_info(info(INFO + 'authors: "Author1"\ndescription: "A detailed description of your method."'))
    with pytest.warns(UserWarning, match=r"'a@example.org', an address that nobody can have"):
        read_info(info(INFO.replace("a@b.org", "a@example.org")))


def test_predictions_that_no_server_would_match_are_refused(tmp_path, info):
    """camera_name set: waymo-research/waymo-open-dataset#491; nothing above the tool's least score."""
    with pytest.raises(DataError, match=r"found: camera_name is set in frame s camera 1 at \d+; expected it unset"):
        write_submission(three(FrameKey("s", 1, START)), read_info(info()), tmp_path / "s.tar.gz")
    with pytest.raises(DataError, match=r"found: none of 3 predictions has a score of 0\.03 or more"):
        write_submission(three(scores=[0.01, 0.02, 0.0]), read_info(info()), tmp_path / "s.tar.gz")
    with pytest.raises(DataError, match=r"found: frame s at 1550083467: expected context_name, and .*microseconds"):
        check_unscored(three(FrameKey("s", 0, START // 10**6)))
    with pytest.warns(UserWarning, match="found: holds TYPE_CYCLIST, which object_types of the info lacks"):
        write_submission(three(scores=[0.9, 0.5, 0.5]), read_info(info()), tmp_path / "s.bin")


@pytest.fixture
def split(tmp_path) -> Path:
    """Infos of a testing split of two frames."""
    frames = [{"context_name": "s", "timestamp": START + 100_000 * k} for k in range(2)]
    infos = {"metainfo": {"categories": {"Car": 0, "Pedestrian": 1, "Cyclist": 2}}, "data_list": frames}
    (tmp_path / "waymo_infos_test.pkl").write_bytes(pickle.dumps(infos, protocol=4))
    return tmp_path / "waymo_infos_test.pkl"


@pytest.fixture
def tool(tmp_path, monkeypatch, capsys):
    """``tool(*words, found=...)``: the exit code and the two outputs of the tool with predictions ``found``."""

    def run(*words, found=None):
        predictions = write_whole(tmp_path / "found.bin", write_chunks(found or three()))
        monkeypatch.setattr(sys, "argv", ["eval_waymo.py", "--predictions", str(predictions), *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(TOOL), run_name="__main__")
        return left.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("metric", [(), ("--let",)])
def test_a_submission_without_ground_truth(tool, tmp_path, info, split, metric):
    words = ["--submission", tmp_path / "s.tar.gz", "--submission-info", info(), *metric]
    code, out, said = tool(*words)
    assert (code, out) == (0, "")
    assert "no ground truth: nothing to score by" in said
    assert said.endswith("s.tar.gz: 2 boxes\n")
    whole = (tmp_path / "s.tar.gz").read_bytes()
    code, out, said = tool(*words, "--ground-truth", split)
    assert (code, out) == (0, "")
    assert "found.bin: 1 of 2 frames of the split hold no prediction" in said
    assert (tmp_path / "s.tar.gz").read_bytes() == whole


def test_frames_that_the_split_does_not_have_are_refused(tool, tmp_path, info, split):
    words = ["--submission", tmp_path / "s.bin", "--submission-info", info(), "--ground-truth", split]
    code, _, said = tool(*words, found=three(FrameKey("other", 0, START)))
    assert code == 2
    assert "1 of 1 frames are unknown, the first is frame other at" in said
    assert "such as s" in said
    assert not (tmp_path / "s.bin").exists()


def test_what_needs_ground_truth_says_so(tool, tmp_path, info, split):
    for words, sentence in (
        ([], "--ground-truth is missing; only a --submission"),
        (["--ground-truth", split], "holds no object, as infos of a testing split do; expected ground truth"),
        (["--submission", "s.bin", "--submission-info", info(), "--json", "x"], "--json is for scores"),
        (["--submission", "s.bin"], "--submission and --submission-info belong together"),
        (["--submission", "s.rar", "--submission-info", info()], "expected a name that ends in .tar.gz"),
    ):
        code, out, said = tool(*words)
        assert (code, out) == (2, "")
        assert sentence in said
        assert said.count("\n") == 1


def test_a_full_disk_leaves_nothing_and_one_sentence(tmp_path, info):
    rng = np.random.default_rng(0)
    boxes = np.c_[rng.uniform(-50, 50, (3000, 3)), rng.uniform(1, 4, (3000, 3)), rng.uniform(-3, 3, 3000)]
    found = Objects.from_arrays(boxes, rng.integers(1, 3, 3000), np.zeros(3000), scores=rng.random(3000), keys=[KEY])
    path = write_whole(tmp_path / "found.bin", write_chunks(found))
    for name in ("s.tar.gz", "s.bin"):
        words = ["--predictions", path, "--submission", tmp_path / "out" / name, "--submission-info", info()]
        run = subprocess.run(
            [sys.executable, str(TOOL), *map(str, words)], capture_output=True, text=True, timeout=300,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        )  # fmt: skip
        assert run.returncode == 2, run.stderr
        assert str(tmp_path / "out" / name) in run.stderr.splitlines()[-1]
        assert "Traceback" not in run.stderr
        assert list((tmp_path / "out").iterdir()) == []
