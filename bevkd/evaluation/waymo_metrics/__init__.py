"""The parts of :mod:`bevkd.evaluation.waymo`: messages, columns of objects, breakdowns, average precision."""
