"""``python -m flowedge``."""

from flowedge.cli import main

if __name__ == "__main__":
    main()
