"""`python -m mtlgrad.compare`: the command `mtlgrad`, where its script is not on the path."""

from mtlgrad.compare.command import main

if __name__ == "__main__":
    raise SystemExit(main())
