"""One sentence and exit code 2, wherever the error arose."""

import errno
import os

import pytest
from torch.utils.data import DataLoader, Dataset

from bevkd.errors import ConfigError, DataError, nearest, run_tool


def test_nearest_names_the_close_ones_or_all():
    assert nearest("lo", ["low", "high", "head"]) == "; nearest: low"
    assert nearest("zzz", ["low", "high"]) == "; there is: low, high"
    assert nearest("low", []) == ""


def test_a_tool_leaves_with_its_code(capsys):
    def refuse():
        raise ConfigError("field x is 1, expected 2")

    for main, code in ((lambda: None, 0), (lambda: 3, 3), (refuse, 2)):
        with pytest.raises(SystemExit) as left:
            run_tool(main)
        assert left.value.code == code
    assert capsys.readouterr().err == "error: field x is 1, expected 2\n"


class Broken(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise DataError("sweep a.bin: has 7 bytes, expected a multiple of 20")


def test_a_data_workers_error_is_still_one_sentence(capsys):
    with pytest.raises(SystemExit) as left:
        run_tool(lambda: next(iter(DataLoader(Broken(), num_workers=1))))
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines() == ["error: sweep a.bin: has 7 bytes, expected a multiple of 20"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence_with_the_file_and_the_room(capsys, tmp_path, number):
    def main():
        raise OSError(number, os.strerror(number), str(tmp_path / "not" / "there.json"))

    with pytest.raises(SystemExit) as left:
        run_tool(main)
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path}/not/there.json cannot be written: {os.strerror(number)} (")
    assert err.endswith(" bytes free); expected room for it on its disk\n")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR])
def test_a_place_that_cannot_be_written_is_one_sentence(capsys, number):
    def main():
        raise OSError(number, os.strerror(number), "folder/file")

    with pytest.raises(SystemExit) as left:
        run_tool(main)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: folder/file cannot be written or read: {os.strerror(number)}; ")


def test_any_other_os_error_keeps_its_traceback():
    def main():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with pytest.raises(ConnectionRefusedError):
        run_tool(main)
