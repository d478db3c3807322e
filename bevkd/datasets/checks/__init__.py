"""Checks of what an info file states, each over the whole file at once, so that they cost next to nothing."""
