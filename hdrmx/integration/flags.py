"""What is known of an integrated reflection, as bits; the values are those of DIALS's column `flags`."""

from __future__ import annotations

PREDICTED = 1 << 0
INDEXED = 1 << 2
STRONG = 1 << 5
REFERENCE = 1 << 6  # the profile fit learned from it
DONT_INTEGRATE = 1 << 7
INTEGRATED_SUM = 1 << 8
INTEGRATED_PRF = 1 << 9
OVERLOADED = 1 << 10
OVERLAPPED_BACKGROUND = 1 << 11
OVERLAPPED_FOREGROUND = 1 << 12
BAD_FOREGROUND = 1 << 14
BAD_BACKGROUND = 1 << 15
FAILED_BACKGROUND = 1 << 18
FAILED_SUMMATION = 1 << 19
FAILED_PROFILE = 1 << 20

REASONS = {
    "failed_background": FAILED_BACKGROUND,
    "failed_summation": FAILED_SUMMATION,
    "failed_profile": FAILED_PROFILE,
    "overlapped_foreground": OVERLAPPED_FOREGROUND,
    "bad_foreground": BAD_FOREGROUND,
    "overloaded": OVERLOADED,
}
