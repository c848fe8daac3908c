"""Programs of others, measured from outside: commands, Python functions, DIALS, XDS, fast_dp."""
