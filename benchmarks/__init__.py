"""Timings of bevkd's ops against the strongest public peers; run by tools/benchmark_ops.py."""
