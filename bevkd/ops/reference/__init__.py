"""Torch twins of the compiled ops: same names, same results, written to be read. Slow on purpose.

Each twin lives in the file of its op, ``bevkd.ops.reference.<op>``. Torch is all they need.
"""
