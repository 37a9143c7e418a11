"""`python -m worker` is `headrace`."""

from worker.cli import main

if __name__ == "__main__":
    main()
