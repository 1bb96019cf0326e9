"""Audio in, audio and video out, on one media clock."""
