"""Silence for what the packages below warn of and no user can change; everything else still shows."""

from __future__ import annotations

import logging
import sys
import warnings

_MM = r"mm(det3d|det|cv|engine)(\.|$)"
# What is silenced: a pattern for the message, the warning's category and the module that it is raised in.
_KNOWN = (
    (r".*deprecated", UserWarning, _MM),
    (r".*deprecated", DeprecationWarning, _MM),
    (r".*will be depressed", UserWarning, _MM),  # mmdet3d's anchor head of its own defaults
    (r"To copy construct from a tensor", UserWarning, _MM),
    (r"torch\.meshgrid: in an upcoming release", UserWarning, r"torch\.functional$"),
    (r"`torch\.cuda\.amp\.custom_(fwd|bwd)", FutureWarning, r"spconv(\.|$)"),
    (r"pkg_resources is deprecated", UserWarning, ""),
    (r"(pkg_resources is deprecated|Deprecated call to `pkg_resources)", DeprecationWarning, ""),
)
# Parts of mmengine's log lines that tell a reader of the console nothing; a log file has them.
_NOISE = (
    "Exp name:",
    '"FileClient" will',
    '"HardDiskBackend" is',
    "The prefix is not set in metric",
    "Checkpoints will be",
    "Resumed iteration number is not divisible",  # AccumulationHook brings the gradients back, or says so
    "is not a meta file, simply parsed as meta information",
)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a log line belongs on the console; a filter for its handler."""
    return not any(noise in record.getMessage() for noise in _NOISE)


def only_warnings() -> None:
    """Keep what data sets log about themselves from the console of a tool, all but warnings."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.setLevel("WARNING")
    for handler in logger.handlers:
        handler.addFilter(is_news)


def quieten() -> None:
    """Add the filters to this process; calling it again changes nothing."""
    for message, category, module in _KNOWN:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)


def stop_without_log(_record: logging.LogRecord) -> None:
    """Called where a log line cannot be written: a full disk has no room for a checkpoint either."""
    if isinstance(sys.exc_info()[1], OSError):
        raise
