"""What methods in bird's-eye view share: the ground-truth foreground, regions, proposals, heads and resampling."""
