"""From a list of spots to a lattice: reciprocal-space points, candidate vectors, cells, indices."""
