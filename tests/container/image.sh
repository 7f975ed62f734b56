#!/usr/bin/env bash
# Make an image with RabbitMQ where no registry can be reached: a Debian of its own, packed up.
#
# Usage, as root, with debootstrap installed and an engine that DOCKER_HOST or the default names:
#
#     tests/container/image.sh RELEASE IMAGE    e.g.  tests/container/image.sh trixie gs-rabbitmq:4.0
#
# RELEASE and MIRROR are those of root.sh. Needs about 1 GB for a while, and two minutes.
set -eu
release=${1:?usage: image.sh RELEASE IMAGE}
image=${2:?usage: image.sh RELEASE IMAGE}

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
"$(dirname "$0")/root.sh" "$release" "$root"

# As the official image: RABBITMQ_DEFAULT_USER and _PASS make the user, which the server itself
# reads; the log goes to the container's, hence no file for it.
tar -C "$root" --one-file-system --numeric-owner -c . | docker import \
    --change 'USER rabbitmq' \
    --change 'ENV HOME=/var/lib/rabbitmq RABBITMQ_LOGS=-' \
    --change 'WORKDIR /var/lib/rabbitmq' \
    --change 'EXPOSE 5672' \
    --change 'CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]' \
    - "$image"
