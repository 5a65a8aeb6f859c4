"""`python -m harmony_core` is the `harmony` command."""

from harmony_core.cli.main import main

if __name__ == "__main__":
    main()
