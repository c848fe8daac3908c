"""Crystal, detector and beam fitted to the positions of indexed spots."""
