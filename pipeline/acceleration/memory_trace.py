"""What an operation allocates, found by running it on the meta device: shapes, no arithmetic.

Every tensor is counted while it is referenced, in the sizes that the CUDA allocator hands out. So
the peak of a forward at full size is known in seconds on any machine. Memory that libraries
allocate themselves is not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

SMALL: Final = 512  # bytes that a small allocation is a multiple of
LARGE: Final = 2**20  # from here on it is a multiple of ``STEP``
STEP: Final = 2 * 2**20


def allocated(size: int) -> int:
    """The bytes that a CUDA allocation of ``size`` takes."""
    step = STEP if size > LARGE else SMALL
    return -(-size // step) * step


class Ledger(TorchDispatchMode):
    """Bytes of the meta tensors made within: ``live`` now, ``peak`` so far. Tensors that were there
    before do not count, nor do views of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        tree_map_only(Tensor, self._before, (args, named))
        out = func(*args, **named)
        tree_map_only(Tensor, self._made, out)
        return out

    def _before(self, x: Tensor) -> Tensor:
        self._count(x, 0)
        return x

    def _made(self, x: Tensor) -> Tensor:
        self._count(x, allocated(x.untyped_storage().nbytes()))
        return x

    def _count(self, x: Tensor, size: int) -> None:
        storage = x.untyped_storage()
        key = storage._cdata
        if x.device.type != "meta" or key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


class FlashShapes(TorchFunctionMode):
    """Attention that allocates its output alone, as every fused attention does: what torch does on
    the meta device would make all scores."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def int8_shapes(
    x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, step: float | None
) -> Tensor:
    """What ``linear_kernel.int8_linear`` allocates."""
    small, steps = torch.empty_like(x, dtype=torch.int8), x.new_empty(len(x), dtype=torch.float32)
    out = x.new_empty(len(x), len(weight))
    del small, steps
    return out
