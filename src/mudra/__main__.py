"""`python -m mudra` is the same program as `mudra`."""

from mudra.cli import main

if __name__ == "__main__":
    main()
