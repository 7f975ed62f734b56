"""The round robin: a balancer that gives a service's tasks to workers with free slots."""
