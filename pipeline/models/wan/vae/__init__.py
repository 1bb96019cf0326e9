"""The causal 3D autoencoder, its decoders and kernels."""
