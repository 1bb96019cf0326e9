"""Fuzzing of everything that takes a stranger's bytes: ``python -m benchmarks.fuzz``."""
