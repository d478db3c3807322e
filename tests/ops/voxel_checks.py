"""A small grid, clouds on it and a comparison, for the tests of voxelization."""

import torch

SIZE, RANGE = (0.5, 1.0, 4.0), (0.0, -2.0, -2.0, 2.0, 2.0, 2.0)  # 4 x 4 x 1 voxels
NAN = float("nan")


def points(*rows) -> torch.Tensor:
    """Rows of x, y and optionally z and one feature, padded with z = 0 and feature = row number."""
    full = [(*row, *(0.0, float(i))[len(row) - 2 :]) for i, row in enumerate(rows)]
    return torch.tensor(full, dtype=torch.float32).reshape(len(rows), 4)


def assert_equal(found, expected) -> None:
    """The same bits and types, wherever they lie."""
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert torch.equal(a.cpu(), b.cpu()), f"{name}: {a} against {b}"
        assert a.dtype == b.dtype, name
