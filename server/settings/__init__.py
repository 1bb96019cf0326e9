"""Settings: what can be configured (``settings``), and where it is read from (``sources``).

The only part of the server that reads flags, environment and settings files.
"""

from server.settings.checks import SettingsError
from server.settings.settings import Settings
from server.settings.sources import load, of_node

__all__ = ["Settings", "SettingsError", "load", "of_node"]
