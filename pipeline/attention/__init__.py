"""Attention, one function; many backends, each self-checked; a cache across steps.

    exact.py           torch's own scaled_dot_product_attention, the measure of all others
    rotary.py          positions
    backends.py        what else this machine has, with the reason; self-check; selection
    sparse.py          sparse-linear attention, readable
    sparse_kernel.py   the same, fused, in Triton
    cache.py           which blocks attend anew at which step

Only the exact function is imported here, so that nobody pays for what is not used.
"""

from pipeline.attention.exact import attend
from pipeline.attention.rotary import rotary_table, rotate

__all__ = ["attend", "rotary_table", "rotate"]
