"""Agents with a body, measured at the peer: interrupts, positions, first syllables, lip-sync."""
