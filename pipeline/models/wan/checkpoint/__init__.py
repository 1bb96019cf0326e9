"""Published checkpoints on disk: files, parameter names, checksums, memory."""
