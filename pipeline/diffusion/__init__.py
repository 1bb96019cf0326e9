"""Diffusion sampling: noise levels, steps, guidance, chunks, latent context, Neural Continuum
Sync."""
