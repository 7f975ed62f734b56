#!/usr/bin/env bash
# Make an image with RabbitMQ where no registry can be reached: a Debian of its own, packed up.
#
# Usage, as root, with debootstrap installed and an engine that DOCKER_HOST or the default names:
#
#     tests/container/image.sh RELEASE IMAGE       e.g.  tests/container/image.sh bookworm gs-rabbitmq:3.10
#
# RELEASE says which RabbitMQ it is: bookworm has 3.10, trixie 4.0, and sid whatever is newest.
# MIRROR names another mirror of Debian. Needs about 500 MB for a while, and some two minutes.
set -eu
release=${1:?usage: image.sh RELEASE IMAGE}
image=${2:?usage: image.sh RELEASE IMAGE}

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
chmod 755 "$root" # it becomes /, into which RabbitMQ's own user must look
debootstrap --variant=minbase "$release" "$root" "${MIRROR:-http://deb.debian.org/debian}" >&2
# Installed, not started: what a package's script would start outlives this script.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
DEBIAN_FRONTEND=noninteractive chroot "$root" \
    apt-get -q install -y --no-install-recommends rabbitmq-server >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc

# As the official image: RABBITMQ_DEFAULT_USER and _PASS make the user, which the server itself
# reads; the log goes to the container's, hence no file for it.
tar -C "$root" --one-file-system --numeric-owner -c . | docker import \
    --change 'USER rabbitmq' \
    --change 'ENV HOME=/var/lib/rabbitmq RABBITMQ_LOGS=-' \
    --change 'WORKDIR /var/lib/rabbitmq' \
    --change 'EXPOSE 5672' \
    --change 'CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]' \
    - "$image"
