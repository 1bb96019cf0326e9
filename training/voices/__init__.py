"""Training voices: synthetic speech, degraded as calls are."""
