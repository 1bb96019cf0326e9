"""The ``continuum`` command: what operators do from a shell, with the server's own settings."""
