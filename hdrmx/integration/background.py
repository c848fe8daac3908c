"""Which estimate of the background stands for which name of the setting `integrate.background`."""

from __future__ import annotations

from hdrmx.kernels.integrate_background import MEAN, ROBUST, TUKEY

KINDS = {"glm": ROBUST, "tukey": TUKEY, "mean": MEAN}
