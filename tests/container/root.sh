#!/usr/bin/env bash
# Unpack another Debian with its RabbitMQ under a directory, to test against a version that this
# machine does not have.
#
# Usage, as root, with debootstrap installed:
#
#     tests/container/root.sh RELEASE DIRECTORY       e.g.  tests/container/root.sh sid /var/tmp/sid
#     GS_RABBITMQ_SERVER=/var/tmp/sid/run/rabbitmq-server pytest tests/broker
#
# RELEASE says which RabbitMQ it is: bookworm has 3.10, trixie 4.0, and sid whatever is newest.
# MIRROR names another mirror of Debian. Needs about 400 MB, and a minute.
# DIRECTORY/run has the programs that a private node is started and asked with. They change their
# root, and see the /tmp of this machine, where the tests keep what belongs to a node; the mounts
# are theirs alone and end with them. Nothing else is started, and no file elsewhere is touched.
set -eu
release=${1:?usage: root.sh RELEASE DIRECTORY}
root=${2:?usage: root.sh RELEASE DIRECTORY}

mkdir -p "$root"
chmod 755 "$root" # it becomes /, into which RabbitMQ's own user must look
root=$(cd "$root" && pwd)
debootstrap --variant=minbase "$release" "$root" "${MIRROR:-http://deb.debian.org/debian}" >&2
# Installed, not started: what a package's script would start outlives this script.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
DEBIAN_FRONTEND=noninteractive chroot "$root" \
    apt-get -q install -y --no-install-recommends rabbitmq-server >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/doc
printf '127.0.0.1 localhost\n' >"$root/etc/hosts" # a node's name is looked up

mkdir -p "$root/run"
for program in rabbitmq-server rabbitmqctl; do
    cat >"$root/run/$program" <<END
#!/bin/sh
exec unshare --mount -- sh -c '
    mount --bind /tmp "$root/tmp"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/lib/rabbitmq/bin/$program "\$@"' $program "\$@"
END
    chmod +x "$root/run/$program"
done
