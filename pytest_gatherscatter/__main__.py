"""``python -m pytest_gatherscatter``: the command line, where no script is on the path."""

from pytest_gatherscatter.cli.main import run

if __name__ == "__main__":
    run()
