"""Make a virtual environment with pip in it, on any python3 >= 3.11.

Debian's and Ubuntu's plain `python3` comes without `ensurepip`, so that `python3 -m venv` stops half-way.
There, pip itself is fetched from the package index, checked against its SHA-256, and installed by itself.

    python3 tools/make_venv.py .venv
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

NEEDED = (3, 11)


def main(folder: str) -> int:
    if sys.version_info < NEEDED:
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"hdrmx needs Python {NEEDED[0]}.{NEEDED[1]} or later and this is {version}; try: make PYTHON=python3.12")
        return 3
    has_pip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_pip, clear=False, symlinks=os.name != "nt")
    if not has_pip:
        _install_pip(Path(folder) / "bin" / "python")
    return 0


def _install_pip(python: Path) -> None:
    """Fetch pip's wheel and let it install itself into the environment of `python`."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    ask = urllib.request.Request(f"{index}/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(ask, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheels = [f for f in files if f["filename"].endswith("-py3-none-any.whl") and not f.get("yanked")]
    wheel = max(wheels, key=lambda f: [int(n) for n in f["filename"].split("-")[1].split(".") if n.isdigit()])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / wheel["filename"]
        with urllib.request.urlopen(urllib.parse.urljoin(f"{index}/pip/", wheel["url"]), timeout=120) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != wheel["hashes"]["sha256"]:
            raise SystemExit(f"{wheel['filename']}: the download is damaged; try again")
        path.write_bytes(content)
        subprocess.run([str(python), f"{path}/pip", "install", "--no-index", str(path)], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
