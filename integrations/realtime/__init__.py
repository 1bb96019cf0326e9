"""OpenAI's Realtime API and servers that speak its protocol: their voice through an avatar."""

from integrations.realtime.bridge import RealtimeAvatar

__all__ = ["RealtimeAvatar"]
