#!/usr/bin/env bash
# Run a command with a container engine and an image that holds RabbitMQ.
#
# Usage: tests/container/engine.sh COMMAND [ARGUMENT…]
#
# An engine that answers already is taken, with the image that GS_TEST_IMAGE names (by default
# rabbitmq:4-management, which the engine pulls). Where there is none, but Debian's packages
# docker.io and debootstrap, and where this is root, a private engine is started on a socket of its
# own and ended afterwards; it needs no registry: image.sh makes the image out of the packages of
# Debian GS_TEST_RELEASE (trixie, with RabbitMQ 4.0). What both have is kept in GS_TEST_ENGINE
# (/var/tmp/gatherscatter-engine, about 1 GB), so that the second run is quicker than the first.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export GS_TEST_DOCKER=1

if docker version >/dev/null 2>&1; then
    exec "$@"
fi

for program in dockerd docker debootstrap; do
    if ! PATH=$PATH:/usr/sbin command -v $program >/dev/null; then
        echo "engine.sh: no container engine answers, and there is no $program to start one with" >&2
        exit 69
    fi
done
if [ "$(id -u)" -ne 0 ]; then
    echo "engine.sh: no container engine answers, and only root can start one" >&2
    exit 77
fi
PATH=$PATH:/usr/sbin:/sbin

place=${GS_TEST_ENGINE:-/var/tmp/gatherscatter-engine}
release=${GS_TEST_RELEASE:-trixie}
mkdir -p "$place"
exec 9>"$place/lock"
flock -n 9 || { echo "engine.sh: another run uses the engine in $place" >&2; exit 75; }

export DOCKER_HOST="unix://$place/engine.sock"
# vfs: it copies, but needs nothing of the kernel, and so works inside of containers too.
dockerd --storage-driver=vfs --ip=127.0.0.1 --host="$DOCKER_HOST" --pidfile="$place/pid" \
    --data-root="$place/data" --exec-root="$place/exec" 9>&- >"$place/log" 2>&1 &
engine=$!
trap 'kill $engine; wait $engine || true' EXIT
for _ in $(seq 60); do
    docker version >/dev/null 2>&1 && break
    kill -0 $engine 2>/dev/null || break
    sleep 0.5
done
docker version >/dev/null 2>&1 || { tail -n 5 "$place/log" >&2; exit 69; }

# No reaper, whose image would have to be pulled; and what this engine publishes is on loopback,
# which testcontainers does not expect where it finds itself inside of a container.
export TESTCONTAINERS_RYUK_DISABLED=true TESTCONTAINERS_CONNECTION_MODE=docker_host
export GS_TEST_IMAGE=gatherscatter-rabbitmq:$release
docker image inspect "$GS_TEST_IMAGE" >/dev/null 2>&1 ||
    "$here/image.sh" "$release" "$GS_TEST_IMAGE" 9>&-
"$@" 9>&-
