"""Scaling: what varied between equivalent observations, apart from noise, and what noise there really is."""
