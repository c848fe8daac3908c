"""The defects import each other by bare name, as the files that they are measured as."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
