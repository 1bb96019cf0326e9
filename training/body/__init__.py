"""The body asset from CC0 data."""
