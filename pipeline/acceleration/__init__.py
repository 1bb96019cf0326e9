"""What makes large models fast on small hardware: profiles, 8-bit linears, block offload."""
