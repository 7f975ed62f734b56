"""Play graders in virtual time, many seeds or one with its story."""

from pytest_gatherscatter.simulation.command import command
from pytest_gatherscatter.simulation.graders.play import play

main = command(play, "examiners")

if __name__ == "__main__":
    main()
