"""Published audio-driven video models of the Wan 2.1 family, behind the same pipeline as `mini`.

    config.py     sizes of a checkpoint, read from its tensors
    layers.py     norms, time embedding, rotary positions without an end
    hearing.py    how speech enters: added to the stream (layout A) or attended to (layout B)
    dit.py        the transformer, both layouts
    ring.py       keys and values that a causal run keeps
    field.py      the guided velocity of a chunk, and what need not be computed for it
    performance.py how chunks go on; rolling.py, merged.py, and recipes.py, which chooses
    ask.py        one forward as a question; together.py answers those of several streams
    accelerate.py what an ``Acceleration`` switches on; graphs.py, warm.py
    vae.py        the causal 3D autoencoder; streaming encode and decode
    strips.py     decoding by rows; norms.py fused
    vae_onnx.py   the decoder on ONNX Runtime; vae_int8.py, and decoders.py: whether it is used
    teach.py      what a checkpoint may leave out, from speech; learn.py
    tiny.py       a small decoder for the same latents
    speech.py     wav2vec2 features; text.py umT5; sight.py CLIP
    names.py      other projects' parameter names, translated
    cards.py      what is published, under which licence, and how it wants to be run
    files.py      where it lies; published.py checksums; budget.py memory; loading.py
    pipeline.py   speech in, frames out

The weights are the user's to bring; none is in this repository.
"""
