"""Pipecat: a video service that speaks what the TTS service before it makes."""

from integrations.pipecat.service import ContinuumRemoteVideoService, ContinuumVideoService

__all__ = ["ContinuumRemoteVideoService", "ContinuumVideoService"]
