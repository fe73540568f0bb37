"""`python -m mirrord.demo` is `mirrord demo`."""

from mirrord.demo import main

if __name__ == "__main__":
    main()
