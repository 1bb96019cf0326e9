"""The server's side of the consent registry."""
