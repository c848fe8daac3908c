"""The stages of data processing: pure functions from frames, tables and models to new ones."""
