"""Are an info file's times in the unit that the data set counts in, and its sweeps in order?"""

import numpy as np

from .columns import Column

_LONGEST_LAG = 10.0  # seconds between a key frame and what belongs to it
_EARLIEST_EPOCH = 1e9  # seconds since 1970 (2001), for data sets that count from there
_LATEST = 1e11  # seconds since 1970 (the year 5138); milliseconds of our days are above


def check_times(key: Column, second: float) -> np.ndarray:
    """The key frames' times in seconds, ``[S]``.

    Args:
        key: ``timestamp`` of every sample.
        second: what the file counts in a second, 1 or 1e6.

    Raises:
        DataError: a time is no number, negative, or in another unit.
    """
    seconds = key.numbers().values / second
    earliest, unit = (0.0, "seconds") if second == 1 else (_EARLIEST_EPOCH, "whole microseconds")
    text = " is {time}, expected " + unit + " since 1970"
    key.refuse((seconds < earliest) | (seconds > _LATEST), text, time=key.values)
    return seconds


def check_lags(times: Column, key: Column, second: float) -> np.ndarray:
    """By how many seconds each time is older than its key frame's, ``[M]``.

    Raises:
        DataError: a time is no number or more than ten seconds off, which shows another unit.
    """
    stamps = times.numbers().values
    lags = (key.values[times.samples] - stamps) / second
    unit = "seconds" if second == 1 else "microseconds"
    text = " is {time}, {lag:.6g} s from its key frame's {key}; expected " + unit + ", at most 10 s apart"
    times.refuse(np.abs(lags) > _LONGEST_LAG, text, time=stamps, lag=lags, key=key.values[times.samples])
    return lags


def check_order(times: Column, key: Column, lags: np.ndarray) -> None:
    """Refuse sweeps that are newer than their key frame or than the sweep listed before them.

    Raises:
        DataError: naming the first.
    """
    if not len(times):
        return
    first = np.r_[True, np.diff(times.samples) != 0]
    before = np.where(first, 0.0, np.r_[0.0, lags[:-1]])
    previous = np.where(first, key.values[times.samples], np.r_[0.0, times.values[:-1]])
    text = " {time} is after {previous}; expected newest first"
    times.refuse(lags < before, text, time=times.values, previous=previous)
