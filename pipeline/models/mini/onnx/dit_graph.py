"""The diffusion transformer of ``dit.py`` as ONNX graphs for one chunk length.

The *condition* graph runs once a chunk and gives the keys and values that the noisy tokens attend
to; the *step* graph runs once a noise level, over the noisy tokens alone. The modulation of a level
is an input of the step graph, so that one set of packed weights serves all levels. Letters as in
``dit.py``; S condition tokens, N = L P noisy ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import torch
from torch import Tensor

from pipeline.attention import rotary_table
from pipeline.models.mini.dit import REFERENCE_TOKENS, Block, DiT
from pipeline.models.mini.onnx.builder import Array, Graph, Session

HIDDEN: Final = -1e9  # added to the scores of keys that are not known
VECTORS: Final = 6  # of modulation per block: scale, shift, gate for attention, then for the MLP
Table = tuple[str, str]


def modulation(dit: DiT, level: float) -> Array:
    """What a noise level says to blocks and head: float32 (6 blocks + 2, D), the 1 of each scale
    already added."""
    with torch.inference_mode():
        shared, embedded = (x[0, 0] for x in dit.timestep(torch.tensor([[level]])))
        rows: list[Tensor] = []
        for block in dit.stack:
            shift1, scale1, gate1, shift2, scale2, gate2 = shared + block.modulation
            rows += [1 + scale1, shift1, gate1, 1 + scale2, shift2, gate2]
        shift, scale = embedded + dit.head_modulation
        return torch.stack([*rows, 1 + scale, shift]).numpy()


class DitGraphs:
    """Writes the graphs of a transformer for chunks of ``length`` latents after ``past`` ones."""

    def __init__(
        self, dit: DiT, past: int, length: int, prompt_tokens: int, precision: str = "float32"
    ) -> None:
        self._dit, self._past, self._length, self._precision = dit, past, length, precision
        self._prompt_tokens, self._fixed = prompt_tokens, REFERENCE_TOKENS + prompt_tokens
        self._blocks = dit.stack
        self._told = self._fixed + past + length + past * dit.parts  # S
        self._noisy = length * dit.parts  # N

    def condition(self, threads: int = 1) -> Session:
        """reference (B, R), prompt (B, tokens, D), context (B, C, M, 1, P), valid (B, M), audio
        (B, M + L, A), known (B, M + L) -> ``kv0``, ``kv1``, ...: keys and values (B, S, D) of one
        block after the other; ``under`` (B, N, D); ``hidden`` (B, 1, 1, S)."""
        dit, g, dim = self._dit, Graph(self._precision), self._dit.dim
        audio, hidden = self._audio(g), self._hidden(g)
        mask = g.op("Expand", hidden, g.constant([1, 1, self._told, 1]))
        places = (self._fixed, self._past, self._length, dit.parts, torch.empty(0))
        table = self._table(g, dit.condition_positions(*places))
        x, told = self._condition_tokens(g, audio), list(map(g.constant, modulation(dit, 0.0)))
        kept: list[str] = []
        for i, block in enumerate(self._blocks):
            mod = told[VECTORS * i : VECTORS * (i + 1)]
            if i == len(self._blocks) - 1:  # nobody reads what the last block makes of them
                kept += self._keys(g, block, x, mod, table)
                break
            q, k, v = self._project(g, block, x, mod, table, self._told)
            kept += [k, v]
            x = self._mlp(g, block, x, mod, self._attend(g, block, q, k, v, mask))
        for i, value in enumerate(kept):
            g.output(f"kv{i}", value, "B", self._told, dim)
        g.output("under", self._under(g, audio), "B", self._noisy, dim)
        g.output("hidden", hidden, "B", 1, 1, self._told)
        return g.session(threads)

    def step(self, reuse: Collection[int] = (), keep: bool = False, threads: int = 1) -> Session:
        """x (B, C, L, 1, P), level (6 blocks + 2, D), what ``condition`` gave, by name, and
        ``attended<i>`` (B N, D) of every block i in ``reuse`` -> ``velocity`` like x and, if
        ``keep``, ``attended<i>`` of every other block."""
        dit, g, depth = self._dit, Graph(self._precision), len(self._blocks)
        mask, fresh = self._step_mask(g), dict[int, str]()
        table = self._table(g, torch.arange(self._length).repeat_interleave(dit.parts))
        x, told = self._noisy_tokens(g), self._level(g)
        for i, block in enumerate(self._blocks):
            mod = told[VECTORS * i : VECTORS * (i + 1)]
            if i in reuse:
                attended = g.input(f"attended{i}", "rows", dit.dim)
            else:
                past = [g.input(f"kv{2 * i + j}", "B", self._told, dit.dim) for j in range(2)]
                q, *own = self._project(g, block, x, mod, table, self._noisy)
                k, v = (g.op("Concat", *pair, axis=1) for pair in zip(past, own, strict=True))
                fresh[i] = attended = self._attend(g, block, q, k, v, mask)
            x = self._mlp(g, block, x, mod, attended)
        scale, shift = told[VECTORS * depth :]
        self._velocity(g, g.norm(x, scale, shift))
        for i, attended in fresh.items() if keep else ():
            g.output(f"attended{i}", attended, "rows", dit.dim)
        return g.session(threads)

    # -- inputs ------------------------------------------------------------------------------

    def _audio(self, g: Graph) -> str:
        """Embeddings (B, M + L, A), the learned one where nothing is known."""
        heard, dim = self._past + self._length, self._dit.audio_unknown.shape[0]
        known = g.op("Unsqueeze", g.input("known", "B", heard, boolean=True), g.constant([2]))
        unknown = g.constant(self._dit.audio_unknown)
        return g.op("Where", known, g.input("audio", "B", heard, dim), unknown)

    def _hidden(self, g: Graph) -> str:
        """What is added to the scores of each condition token: (B, 1, 1, S)."""
        valid = g.input("valid", "B", self._past, boolean=True)
        numbers = [torch.tensor(x) for x in (0.0, HIDDEN)]
        context = g.op("Where", valid, *map(g.constant, numbers))
        always = self._told - self._past * self._dit.parts
        # Every latent of context is P tokens in a row; a product with ones repeats and pads.
        spread = torch.eye(self._past).repeat_interleave(self._dit.parts, dim=1)
        spread = torch.cat([torch.zeros(self._past, always), spread], dim=1)
        return g.reshape(g.op("MatMul", context, g.constant(spread)), -1, 1, 1, self._told)

    def _condition_tokens(self, g: Graph, audio: str) -> str:
        dit, dim, heard = self._dit, self._dit.dim, self._past + self._length
        reference = g.linear(
            g.input("reference", "B", dit.reference_in.in_features), dit.reference_in, exact=True
        )
        sound = g.linear(g.reshape(audio, -1, dit.audio_token.in_features), dit.audio_token)
        context = self._latents(g, "context", self._past)
        place = (dit.latent_in.bias + dit.part + dit.clean).repeat(self._past, 1)
        tokens = [
            g.reshape(reference, -1, REFERENCE_TOKENS, dim),
            g.input("prompt", "B", self._prompt_tokens, dim),
            g.reshape(sound, -1, heard, dim),
            g.op("Add", context, g.constant(place)),
        ]
        return g.reshape(g.op("Concat", *tokens, axis=1), -1, dim)

    def _latents(self, g: Graph, name: str, count: int) -> str:
        """(B, C, count, 1, P) -> (B, count P, D), without the bias."""
        dit, channels = self._dit, self._dit.latent_in.in_features
        x = g.reshape(
            g.input(name, "B", channels, count, 1, dit.parts), -1, channels, count * dit.parts
        )
        return g.op(
            "MatMul", g.op("Transpose", x, perm=[0, 2, 1]), g.constant(dit.latent_in.weight.T)
        )

    def _noisy_tokens(self, g: Graph) -> str:
        dit = self._dit
        heard = g.op(
            "Add", self._latents(g, "x", self._length), g.input("under", "B", self._noisy, dit.dim)
        )
        place = (dit.latent_in.bias + dit.part).repeat(self._length, 1)
        return g.reshape(g.op("Add", heard, g.constant(place)), -1, dit.dim)

    def _step_mask(self, g: Graph) -> str:
        """(B, 1, N, S + N): noisy tokens see each other and the condition that is known."""
        hidden = g.input("hidden", "B", 1, 1, self._told)
        padding = g.constant([0, 0, 0, 0, 0, 0, 0, self._noisy])
        shape = g.constant([1, 1, self._noisy, 1])
        return g.op("Expand", g.op("Pad", hidden, padding), shape)

    def _level(self, g: Graph) -> list[str]:
        count = VECTORS * len(self._blocks) + 2
        rows = g.input("level", count, self._dit.dim)
        split = g.ops("Split", count, rows, axis=0, num_outputs=count)
        return [g.reshape(row, self._dit.dim) for row in split]

    def _table(self, g: Graph, positions: Tensor) -> Table:
        cos, sin = rotary_table(positions, self._dit.dim // self._heads, self._dit.config.theta)
        return g.constant(cos), g.constant(sin)

    @property
    def _heads(self) -> int:
        return self._dit.config.heads

    # -- a block -----------------------------------------------------------------------------

    def _project(
        self, g: Graph, block: Block, x: str, mod: Sequence[str], table: Table, tokens: int
    ) -> tuple[str, str, str]:
        """Rows (B tokens, D) -> queries, keys and values (B, tokens, D), placed in time."""
        packed = g.linear(g.norm(x, mod[0], mod[1]), block.qkv)
        q, k, v = g.ops("Split", 3, packed, axis=-1, num_outputs=3)
        return (
            self._placed(g, q, block.q_norm.weight, table, tokens),
            self._placed(g, k, block.k_norm.weight, table, tokens),
            g.reshape(v, -1, tokens, self._dit.dim),
        )

    def _keys(
        self, g: Graph, block: Block, x: str, mod: Sequence[str], table: Table
    ) -> tuple[str, str]:
        """Keys and values of the condition tokens alone."""
        dim = self._dit.dim
        packed = g.linear(g.norm(x, mod[0], mod[1]), block.qkv, slice(dim, None))
        k, v = g.ops("Split", 2, packed, axis=-1, num_outputs=2)
        keys = self._placed(g, k, block.k_norm.weight, table, self._told)
        return keys, g.reshape(v, -1, self._told, dim)

    def _placed(self, g: Graph, x: str, scale: Tensor, table: Table, tokens: int) -> str:
        heads = g.reshape(x, -1, tokens, self._heads, self._dit.dim // self._heads)
        normed = g.op(
            "SimplifiedLayerNormalization", heads, g.constant(scale), axis=-1, epsilon=1e-6
        )
        rows = g.reshape(normed, -1, tokens, self._dit.dim)
        return g.op("RotaryEmbedding", rows, g.constant([0]), *table)

    def _attend(self, g: Graph, block: Block, q: str, k: str, v: str, mask: str) -> str:
        """Rows (B tokens, D) of what attention gives."""
        out = g.op("MultiHeadAttention", q, k, v, "", "", mask, num_heads=self._heads)
        return g.linear(g.reshape(out, -1, self._dit.dim), block.out)

    def _mlp(self, g: Graph, block: Block, x: str, mod: Sequence[str], attended: str) -> str:
        x = g.op("Add", x, g.op("Mul", attended, mod[2]))
        wide = g.op("FastGelu", g.linear(g.norm(x, mod[3], mod[4]), block.up))
        return g.op("Add", x, g.op("Mul", g.linear(wide, block.down), mod[5]))

    # -- outputs -----------------------------------------------------------------------------

    def _under(self, g: Graph, audio: str) -> str:
        """What each noisy token hears: (B, N, D)."""
        dit, heard = self._dit, self._past + self._length
        chunk = g.op("Slice", audio, *(g.constant([i]) for i in (self._past, heard, 1)))
        rows = g.linear(g.reshape(chunk, -1, dit.audio_under.in_features), dit.audio_under)
        return g.reshape(rows, -1, self._noisy, dit.dim)

    def _velocity(self, g: Graph, rows: str) -> None:
        channels, parts = self._dit.head.out_features, self._dit.parts
        out = g.reshape(g.linear(rows, self._dit.head, exact=True), -1, self._noisy, channels)
        field = g.op("Transpose", out, perm=[0, 2, 1])
        shape = (channels, self._length, 1, parts)
        g.output("velocity", g.reshape(field, -1, *shape), "B", *shape)
