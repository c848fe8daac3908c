"""Equivalent observations brought together: means, and figures of how well they agree."""
