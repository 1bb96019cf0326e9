"""Voices that read text: embedded in the package, behind a URL, or the system's espeak-ng."""
