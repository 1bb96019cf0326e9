"""Weights: safetensors files, loading them into modules, LoRA."""
