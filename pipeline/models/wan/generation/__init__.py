"""Denoising chunk by chunk, each published recipe of it."""
