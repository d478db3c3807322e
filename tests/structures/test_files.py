"""Whole files: the old one stays until the new one is complete, and an error tells its name."""

import errno
import os

import pytest

from bevkd.structures.files import named, whole_file


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "made" / "a.bin"
    for content in (b"one", b"two"):
        with whole_file(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]
    (tmp_path / "plain").write_bytes(b"")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_an_error_names_the_file_and_leaves_the_old_one_alone(tmp_path, number):
    def fail():
        with whole_file(path) as file:
            file.write(b"ne")
            raise OSError(number, os.strerror(number))

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=r"a\.bin'$") as caught:
        fail()
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_named_by_itself(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError) as caught, whole_file(tmp_path / "file" / "a.bin"):
        pass
    assert str(caught.value.filename).startswith(str(tmp_path / "file"))
    assert not caught.value.filename.endswith(".partial")


def test_an_error_that_has_a_name_keeps_it():
    with pytest.raises(OSError) as caught, named("folder"):
        raise OSError(errno.ENOSPC, "full", "file")
    assert caught.value.filename == "file"
