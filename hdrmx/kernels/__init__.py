"""The hot loops, compiled with numba: arrays in, the caller's buffers out."""
