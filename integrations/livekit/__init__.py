"""LiveKit Agents: a session for the agent, and a worker that joins its room as the avatar."""

from integrations.livekit.session import ContinuumAvatarSession

__all__ = ["ContinuumAvatarSession"]
