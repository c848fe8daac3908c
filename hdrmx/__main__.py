"""`python -m hdrmx` is `hdrmx`."""

from hdrmx.cli import main

main()
