"""Play the round robin in virtual time, many seeds or one with its story."""

from pytest_gatherscatter.simulation.command import command
from pytest_gatherscatter.simulation.roundrobin.play import play

main = command(play, "balancers and workers")

if __name__ == "__main__":
    main()
