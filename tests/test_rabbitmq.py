"""The test brokers themselves: a run without one says so, and no run leaves one behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rabbitmq

HERE = Path(__file__).parent


def run(*, require: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run one test that needs RabbitMQ where there is none."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GS_")}
    test = HERE / "broker" / "test_link.py"
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("--basetemp", str(tmp_path / "base"), "-k", "operator", str(test)),
        ],
        env=environ | {"GS_RABBITMQ_SERVER": "/no/such/server", "GS_REQUIRE_RABBITMQ": require},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_broker_tests_are_skipped_aloud(tmp_path: Path) -> None:
    """The reason names both ways to get one."""
    done = run(require="", tmp_path=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "no RabbitMQ: set GS_TEST_AMQP_URL, or install rabbitmq-server" in done.stdout


def test_where_a_broker_is_required_they_fail(tmp_path: Path) -> None:
    """CI cannot pass by having none."""
    done = run(require="1", tmp_path=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "GS_REQUIRE_RABBITMQ=1" in done.stdout


@pytest.mark.skipif(rabbitmq.server() is None, reason="no rabbitmq-server is installed")
def test_a_run_that_is_killed_leaves_no_node(tmp_path: Path) -> None:
    """Node and epmd end with the process that they were started for, however that ends."""
    with subprocess.Popen(["sleep", "100"]) as owner:
        rabbitmq.start(tmp_path, owner.pid)
        node = rabbitmq.wait(tmp_path)
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        assert len(children) == 2
        owner.kill()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < end
        time.sleep(0.05)
    rabbitmq.stop()
