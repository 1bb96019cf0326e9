"""``mini``, the bundled model: motion latents drive a body fitted to the picture."""

from pathlib import Path

from pipeline.models.mini import kernel_cache

kernel_cache.prepare(Path(__file__).parent)  # before the first of its kernels is met
