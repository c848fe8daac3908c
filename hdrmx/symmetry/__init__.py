"""Symmetry of the crystal, from its lattice and its intensities."""
