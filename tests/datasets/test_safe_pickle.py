import os
import pickle

import numpy as np
import pytest

from bevkd.datasets import safe_pickle
from bevkd.errors import DataError


def dump(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, 6))
def test_builtins_and_numpy_come_back(tmp_path, protocol):
    content = {
        "list": [1, 2.5, True, None, "é", b"\x00\xff"], "tuple": (1,), "set": {1, 2},
        "array": np.arange(6, dtype=np.float32).reshape(2, 3), "scalar": np.float64(1.5), "bool": np.bool_(True),
        "int": np.int64(3), "strings": np.array(["a", "bc"]), "objects": np.array([{"a": 1}, None], dtype=object),
    }  # fmt: skip
    loaded = safe_pickle.load(dump(tmp_path / "a.pkl", content, protocol))
    assert loaded["list"] == content["list"]
    assert loaded["set"] == {1, 2}
    np.testing.assert_array_equal(loaded["array"], content["array"])
    assert loaded["array"].dtype == np.float32
    assert (loaded["scalar"], loaded["bool"], loaded["int"]) == (1.5, True, 3)
    assert loaded["objects"][0] == {"a": 1}


def test_numpy_2_module_paths_are_known(tmp_path):
    raw = pickle.dumps({"a": np.float64(2.0), "b": np.zeros(3)}, protocol=2).replace(b"numpy.core", b"numpy._core")
    (tmp_path / "a.pkl").write_bytes(raw)
    assert safe_pickle.load(tmp_path / "a.pkl")["a"] == 2.0


class Malicious:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(("function", "name"), [(os.system, "posix.system"), (eval, "builtins.eval"),
                                                (getattr, "builtins.getattr"), (np.load, "numpy.load")])  # fmt: skip
def test_code_is_refused_by_name_and_not_run(tmp_path, function, name):
    marker = tmp_path / "marker"
    path = dump(tmp_path / "a.pkl", {"data_list": [Malicious(function, f"open({str(marker)!r}, 'w')")]})
    with pytest.raises(DataError, match=name):
        safe_pickle.load(path)
    assert not marker.exists()


def test_codec_call_is_limited_to_latin1(tmp_path):
    import _codecs

    with pytest.raises(DataError, match="rot13"):
        safe_pickle.load(dump(tmp_path / "a.pkl", Malicious(_codecs.encode, "abc", "rot13")))


@pytest.mark.parametrize("part", [0.0, 0.001, 0.25, 0.5, 0.9, 0.999])
def test_truncated_file_is_named(tmp_path, part):
    whole = pickle.dumps({"data_list": [{"token": str(i), "x": [1.0] * 9} for i in range(200)]})
    path = tmp_path / "cut.pkl"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DataError, match=r"cut\.pkl: truncated"):
        safe_pickle.load(path)


def test_missing_file_and_no_pickle(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        safe_pickle.load(tmp_path / "none.pkl")
    (tmp_path / "text.pkl").write_text("hello, this is text")
    with pytest.raises(DataError, match="not a pickle"):
        safe_pickle.load(tmp_path / "text.pkl")
