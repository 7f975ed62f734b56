"""``gatherscatter permissions``: what an operator of RabbitMQ must allow, and nothing more."""

import shlex

import click

from pytest_gatherscatter.broker.permission.definition import definitions_of
from pytest_gatherscatter.broker.permission.right import pattern
from pytest_gatherscatter.broker.permission.role import ROLES, rights
from pytest_gatherscatter.cli.option import examples, names
from pytest_gatherscatter.cli.output import say, say_json
from pytest_gatherscatter.errors import SettingsInvalid


@click.command(
    epilog=examples(
        "gatherscatter permissions --role monitor --agent scope --user scope",
        "gatherscatter permissions --role workload --lab rack1 --lab rack2 --user ci",
        "gatherscatter permissions --role gatherer --definitions > gatherer.json",
    )
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(tuple(ROLES)),
    help="What the login is for; again for each one that it is for.",
)
@click.option("--lab", "labs", multiple=True, metavar="NAME", help="A lab (default: default).")
@click.option(
    "--agent",
    "agents",
    multiple=True,
    metavar="NAME",
    help="A monitor's name; without any, the login may be every agent of the lab.",
)
@click.option("--user", metavar="NAME", help="The login (default: the agent's name or the role).")
@click.option("--vhost", metavar="NAME", default="/", show_default=True, help="RabbitMQ's vhost.")
@click.option(
    "--definitions", is_flag=True, help="Print JSON for 'rabbitmqctl import_definitions'."
)
def permissions(  # noqa: PLR0913 - each is an option
    *,
    roles: tuple[str, ...],
    labs: tuple[str, ...],
    agents: tuple[str, ...],
    user: str | None,
    vhost: str,
    definitions: bool,
) -> None:
    """Print the least rights on RabbitMQ of one or more roles.

    As commands for rabbitmqctl, or as definitions, which also hold what all of a lab share: with
    them nobody needs a gatherer to have been there first (RabbitMQ 4 refuses commands for exchanges
    that are not there). The user must exist. RabbitMQ keeps one set of rights for each user and
    vhost, so name all roles and labs of a user at once. Changes nothing and connects to nothing.
    """
    agents = names("agent", agents)
    labs = names("lab", labs) or ("default",)
    if agents and not {"monitor", "processor", "examiner", "recorder"} & set(roles):
        text = "goes with --role monitor, processor, examiner or recorder: nobody else has a name"
        raise SettingsInvalid("--agent", text)
    login = user or (agents[0] if len(agents) == 1 and len(roles) == 1 else roles[0])
    given = rights(roles, labs, agents)
    if definitions:
        say_json(definitions_of(login, vhost, given, labs))
        return
    three = map(pattern, (given.configure, given.write, given.read))
    say(_line("set_permissions", vhost, login, *three))
    for exchange in given.exchanges:
        two = (given.says.get(exchange, ()), given.hears.get(exchange, ()))
        keys = map(pattern, two)
        say(_line("set_topic_permissions", vhost, login, exchange, *keys))


def _line(command: str, vhost: str, *words: str) -> str:
    return shlex.join(["rabbitmqctl", command, "-p", vhost, *words])
