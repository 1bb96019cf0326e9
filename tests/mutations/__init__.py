"""Breaks of the code, each of which a named test must notice: ``python -m tests.mutations``."""
