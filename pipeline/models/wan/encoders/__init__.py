"""Speech, prompt and image encoders of published checkpoints."""
