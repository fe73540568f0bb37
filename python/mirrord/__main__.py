"""`python -m mirrord` is the same as `mirrord`."""

from mirrord.cli import main

if __name__ == "__main__":
    main()
