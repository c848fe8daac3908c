"""The asv suite (`asv run`, `asv continuous`): `bench_*.py`. The other files are scripts, run by hand."""
