"""The landmark network: training pictures and training."""
