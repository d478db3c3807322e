"""One sentence and exit code 2, wherever the error arose."""

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
