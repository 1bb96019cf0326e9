"""WebRTC, clocks, slots, people. Knows nothing of tensors."""

__version__ = "0.1.0"
