"""`python -m sidestep`: the command of the interpreter at hand, wherever its script is installed or not."""

from sidestep.cli import main

if __name__ == "__main__":
    main()
