"""``mini``, the bundled model: latents of performance drive a body fitted to the picture."""
