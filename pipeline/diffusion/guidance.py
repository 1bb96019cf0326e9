"""Classifier-free guidance: combining two branches, and reusing one of them.

The unconditional branch changes little from step to step. ``CfgCache`` keeps its contribution to
the conditional prediction, and reuses it while the conditional prediction has changed by less than
the step's threshold since the branch last ran. Thresholds 0 (always run) and infinity (never run)
need no measurement; any other threshold reads one number from the device each step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float, rescale: float) -> Tensor:
    """Guided field (Ho & Salimans 2022), pulled to the conditional spread by ``rescale`` in [0, 1]
    (Lin et al. 2023). Shapes (B, C, L, H, W); scale 1 needs no unconditional branch at all.
    """
    guided = unconditional + scale * (conditional - unconditional)
    return rescaled(guided, conditional, rescale)


def rescaled(guided: Tensor, conditional: Tensor, rescale: float) -> Tensor:
    """``guided`` (B, ...) with the spread of each row pulled to the conditional field's."""
    if not rescale:
        return guided
    dims = tuple(range(1, guided.ndim))
    ratio = conditional.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return guided * (1 + rescale * (ratio - 1))


def change(now: Tensor, before: Tensor) -> float:
    """Relative change of a field: norm of the difference over the norm before."""
    return float((now.float() - before.float()).norm() / before.float().norm())


class CfgCache:
    """Memory of one chunk: what the other branches add to the conditional field.

    ``thresholds``, one a step, the first one 0: there is nothing to reuse yet. ``reused`` counts.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        if not thresholds or thresholds[0] != 0 or min(thresholds) < 0:
            raise ValueError(f"thresholds {tuple(thresholds)} must be >= 0 and begin with 0")
        self._thresholds = tuple(thresholds)
        self._conditional: Tensor | None = None
        self._added: list[Tensor] = []
        self.reused = 0

    def decided(self, step: int) -> bool | None:
        """Whether the branches are reused at ``step``; None: ``unchanged`` has to look."""
        if not 0 <= step < len(self._thresholds):
            raise ValueError(f"step {step} of {len(self._thresholds)} thresholds")
        threshold = self._thresholds[step]
        if threshold == 0:
            return False
        return True if math.isinf(threshold) else None

    def unchanged(self, step: int, conditional: Tensor) -> bool:
        """Whether ``conditional`` is near enough to the field that the branches were run beside."""
        if self._conditional is None:
            return False
        return change(conditional, self._conditional) < self._thresholds[step]

    def keep(self, conditional: Tensor, others: Sequence[Tensor]) -> None:
        """The branches were run: remember what each adds."""
        self._conditional = conditional
        self._added = [other - conditional for other in others]

    def reuse(self, conditional: Tensor) -> list[Tensor]:
        """The other branches' fields as far as they are known, beside this conditional one."""
        if self._conditional is None:
            raise ValueError("nothing to reuse: no branch was run in this chunk")
        self.reused += 1
        return [conditional + added for added in self._added]


@dataclass(frozen=True, slots=True)
class Trial:
    """One step of one sample, run in full: how far the conditional field had moved, and what the
    guided field would have lost if the other branches had been reused."""

    change: float
    error: float


def learn_thresholds(samples: Sequence[Sequence[Trial]], saved: float) -> tuple[float, ...]:
    """Thresholds that skip at least the share ``saved`` in [0, 1) of all unconditional passes of
    the ``samples``, at the least error.

    ``samples[s][i]`` is step i + 1 of sample s; step 0 always runs. Steps raise their thresholds
    one sample at a time, the one that costs the least error next, until enough is saved.
    """
    steps = len(samples[0])
    if any(len(sample) != steps for sample in samples) or not 0 <= saved < 1:
        raise ValueError(f"samples of {sorted({len(s) for s in samples})} steps, saved {saved}")
    wanted = math.ceil(saved * len(samples) * (steps + 1) - 1e-9)
    if wanted > len(samples) * steps:
        raise ValueError(
            f"{saved} of {steps + 1} passes cannot be saved: the first one always runs"
        )
    by_change = [sorted((s[i] for s in samples), key=lambda t: t.change) for i in range(steps)]
    taken = [0] * steps
    for _ in range(wanted):
        open_steps = [i for i in range(steps) if taken[i] < len(samples)]
        taken[min(open_steps, key=lambda i: by_change[i][taken[i]].error)] += 1
    return (0.0, *(_between(trials, count) for trials, count in zip(by_change, taken, strict=True)))


def _between(trials: Sequence[Trial], count: int) -> float:
    """A threshold above the first ``count`` changes and below the next."""
    if count == 0:
        return 0.0
    if count == len(trials):
        return math.inf
    return (trials[count - 1].change + trials[count].change) / 2
