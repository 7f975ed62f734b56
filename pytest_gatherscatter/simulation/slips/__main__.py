"""Play slips in virtual time, many seeds or one with its story."""

from pytest_gatherscatter.simulation.command import command
from pytest_gatherscatter.simulation.slips.play import play

main = command(play, "processors")

if __name__ == "__main__":
    main()
