"""Data sets with known truth."""
