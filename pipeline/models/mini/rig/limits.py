"""How far the joints of an arm go, radians (fingers: curl and spread), in the order of ``ARM``."""

from __future__ import annotations

from typing import Final

import numpy as np

ARM_LOW: Final = np.array([-0.5, -0.05, -0.4, 0.0, -1.4, -0.9, -0.35] + [0.0] * 6 + [-1.0])
ARM_HIGH: Final = np.array([1.2, 0.75, 1.15, 2.35, 1.4, 0.9, 0.35] + [1.0] * 6 + [1.0])
