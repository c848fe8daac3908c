"""Records and tables in, findings out: pure."""
