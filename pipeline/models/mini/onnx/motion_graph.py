"""The small networks beside the transformer as ONNX graphs: audio encoder and motion decoder.

Both work on one stream at a time, on as many latents as there are.
"""

from __future__ import annotations

from typing import Final, cast

from torch import Tensor, nn

from pipeline.models.mini.audio import AudioEncoder, CausalConv, Residual
from pipeline.models.mini.onnx.builder import Graph, Session
from pipeline.models.mini.rig.state import PARTS, SLICES, STATE_DIM
from pipeline.models.mini.vae import PART_COUNT, MotionVae, PartCoder

END: Final = 2**31 - 1  # of a slice that goes to the end


def hearing_graph(encoder: AudioEncoder, threads: int = 1) -> Session:
    """features (1, 8 T, F), memory0, memory1, ... -> embeddings (1, T, D), and the memories that
    follow as ``next0``, ``next1``, ..."""
    g = Graph()
    width = encoder.inputs.in_features
    features = g.input("features", 1, "frames", width)
    x = g.linear(g.reshape(features, -1, width), encoder.inputs)
    layers = cast(list[Residual | CausalConv], [*encoder.down, *encoder.long])
    kept: list[str] = []
    for i, layer in enumerate(layers):
        if i == len(encoder.down):
            x = g.linear(x, encoder.widen)
        past = g.input(f"memory{i}", 1, layer.memory, layer.channels)
        if isinstance(layer, Residual):
            mixed, following = _convolve(g, _layer_norm(g, x, layer.norm), past, layer.mix)
            x = g.op("Add", x, g.linear(g.op("Gelu", mixed), layer.out))
        else:
            x, following = _convolve(g, x, past, layer)
        kept.append(following)
    heard = g.reshape(_layer_norm(g, x, encoder.norm), 1, -1, encoder.dim)
    g.output("embeddings", heard, 1, "latents", encoder.dim)
    for i, (value, layer) in enumerate(zip(kept, layers, strict=True)):
        g.output(f"next{i}", value, 1, layer.memory, layer.channels)
    return g.session(threads)


def _convolve(g: Graph, rows: str, past: str, conv: CausalConv) -> tuple[str, str]:
    """Rows (T, C) after ``past`` (1, memory, C) -> rows (T / stride, C'), the next past."""
    joined = g.op("Concat", past, g.reshape(rows, 1, -1, conv.channels), axis=1)
    span = (conv.kernel - 1) * conv.dilation
    taps = [
        g.op("Slice", joined, *map(g.constant, ([i], [i - span or END], [1], [conv.stride])))
        for i in conv.starts
    ]
    wide = g.reshape(g.op("Concat", *taps, axis=2), -1, conv.mix.in_features)
    kept = g.op("Slice", joined, *map(g.constant, ([-conv.memory], [END], [1])))
    return g.linear(wide, conv.mix), kept


def _layer_norm(g: Graph, x: str, norm: nn.LayerNorm) -> str:
    return g.norm(x, g.constant(norm.weight), g.constant(norm.bias), norm.eps)


def decoding_graph(vae: MotionVae, threads: int = 1) -> Session:
    """latents (1, C, history + T, 1, 5) -> states (1, stride T, 88)."""
    g = Graph()
    latents = g.input("latents", 1, vae.channels, "latents", 1, PART_COUNT)
    columns = g.op("Transpose", latents, perm=[4, 2, 1, 0, 3])
    columns = g.reshape(columns, PART_COUNT, -1, vae.channels)
    parts = [
        _decode_part(g, vae, part, column)
        for part, column in enumerate(g.ops("Split", PART_COUNT, columns, axis=0,
                                            num_outputs=PART_COUNT))
    ]  # fmt: skip
    in_room = g.op("Concat", *parts, axis=1)
    states = g.reshape(g.op("MatMul", in_room, g.constant(vae.from_room)), 1, -1, STATE_DIM)
    g.output("states", states, 1, "frames", STATE_DIM)
    return g.session(threads)


def _decode_part(g: Graph, vae: MotionVae, part: int, column: str) -> str:
    """Latents (1, history + T, C) of one part -> states (stride T, its names)."""
    coder = cast(PartCoder, vae.decoders[part])
    window, names = coder.window, SLICES[list(PARTS)[part]]
    taps = [
        g.op("Slice", column, *map(g.constant, ([w], [w - window + 1 or END], [1])))
        for w in range(window)
    ]
    mean, std = (x[:, 0, 0, part] for x in (vae.latent_mean, vae.latent_std))
    first, _, second, _, third = coder.net
    hidden = _silu(g, _scaled(g, taps, cast(nn.Linear, first), mean, std))
    out = g.linear(_silu(g, g.linear(hidden, cast(nn.Linear, second))), cast(nn.Linear, third))
    whole = g.op("Add", _scaled(g, taps[-1:], coder.skip, mean, std), out)
    frames = g.reshape(whole, -1, names.stop - names.start)
    spread = g.op("Mul", frames, g.constant(vae.state_std[names]))
    return g.op("Add", spread, g.constant(vae.state_mean[names]))


def _scaled(g: Graph, taps: list[str], layer: nn.Linear, mean: Tensor, std: Tensor) -> str:
    """A layer over raw latents, from normalised ones: their mean and spread go into its weights.

    Its inputs are channels of one window each, here they come as one tap after the other.
    """
    weight = layer.weight.unflatten(1, (-1, len(taps)))  # (O, C, window)
    bias = layer.bias + (weight * mean[:, None]).sum((1, 2))
    matrix = (weight * std[:, None]).permute(2, 1, 0).flatten(0, 1)
    rows = g.op("Concat", *taps, axis=2) if len(taps) > 1 else taps[0]
    return g.product(g.reshape(rows, -1, len(matrix)), matrix, bias)


def _silu(g: Graph, x: str) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))
