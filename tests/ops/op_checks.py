"""What every op test needs: torch's own operator checks, and a comparison over thread counts."""

from collections.abc import Callable

import torch

_FOUR = {"test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"}


def assert_opcheck(op, *args) -> None:
    """All four checks of ``torch.library.opcheck`` pass."""
    results = torch.library.opcheck(op, args)
    assert set(results) == _FOUR
    assert set(results.values()) == {"SUCCESS"}, results


def assert_same_on_any_threads(run: Callable[[], tuple]) -> None:
    """``run`` gives the same bits twice on one thread and on two."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first, again = run(), run()
        torch.set_num_threads(2)
        other = run()
    finally:
        torch.set_num_threads(before)
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
