"""How often proteins crystallise in each space group: what to take where the reflections measured don't tell.

Rounded shares, per mille, of the crystal structures in the Protein Data Bank; only their order matters, and only among
groups that extinguish the same of the reflections measured.
"""

from __future__ import annotations

PER_MILLE = {
    # number of the space group: share; enantiomorphs have that of both, as nothing but the hand tells them apart
    1: 50, 3: 3, 4: 160, 5: 100,
    16: 0.5, 17: 1, 18: 53, 19: 215, 20: 48, 21: 3, 22: 3, 23: 20, 24: 2,
    75: 0.5, 76: 18, 77: 1, 78: 18, 79: 5, 80: 4,
    89: 0.3, 90: 2, 91: 4, 92: 79, 93: 1, 94: 2, 95: 4, 96: 79, 97: 8, 98: 6,
    143: 2, 144: 17, 145: 17, 146: 19, 149: 0.3, 150: 5, 151: 2, 152: 78, 153: 2, 154: 78, 155: 16,
    168: 1, 169: 23, 170: 23, 171: 4, 172: 4, 173: 9, 177: 1, 178: 38, 179: 38, 180: 9, 181: 9, 182: 4,
    195: 0.5, 196: 1, 197: 5, 198: 7, 199: 5, 207: 0.5, 208: 1, 209: 5, 210: 1, 211: 2, 212: 5, 213: 5, 214: 1,
}  # fmt: skip


def share(number: int) -> float:
    """Per mille; 0 for groups that no chiral molecule can have."""
    return float(PER_MILLE.get(number, 0.0))
