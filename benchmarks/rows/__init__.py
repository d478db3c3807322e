"""What is timed: each module yields rows (op, case, floor, candidates) for a device."""
