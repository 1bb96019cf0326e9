"""Published audio-driven video models of the Wan 2.1 family, behind ``pipeline.interface``.

    pipeline.py, stream.py  the model and its live streams
    config.py      sizes of a checkpoint, read from its tensors
    model_cards.py what is published, under which licence, and how it is run
    run_options.py choices of the user; accelerate.py, warmup.py: fast paths
    loading.py, identify.py, calibrate.py  loading, inspection, calibration
    checkpoint/    files, parameter names, checksums, memory
    encoders/      speech (wav2vec2), prompt (umT5), image (CLIP)
    network/       the transformer in both audio layouts, key-value ring, CUDA graphs
    generation/    from chunk to chunk, by each published recipe; batching of streams
    vae/           the causal 3D autoencoder, streaming; small and ONNX decoders

The weights are the user's to bring; none is in this repository.
"""
