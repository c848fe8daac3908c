"""hdrmx: continuous performance improvement for macromolecular-crystallography data processing."""

__version__ = "0.1.0"
