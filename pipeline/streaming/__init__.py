"""What every live stream has: speech that waits, and errors that stay its own."""
