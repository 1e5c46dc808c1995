"""Run the command line as ``python -m foretoken``."""

from foretoken.cli import main

if __name__ == "__main__":
    main()
