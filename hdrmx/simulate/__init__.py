"""Data sets with known truth."""

from hdrmx.simulate.presets import PRESETS
from hdrmx.simulate.run import Simulated, simulate
from hdrmx.simulate.truth import read_truth

__all__ = ["PRESETS", "Simulated", "read_truth", "simulate"]
