"""The server: HTTP, WebRTC, sessions. Imports no tensor library."""

__version__ = "0.1.0"
