"""Certificates for a broker and its clients, good ones and bad ones, as PEM files in a folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

CLIENTS = ("gatherer", "scope", "tests", "stranger")
"""Whose names clients' certificates hold; ``stranger`` is no user of the broker."""


def issue(directory: Path) -> None:
    """Write all of them.

    ``ca.pem`` signs ``server.pem`` (its key is ``server.key``), for ``localhost`` only,
    ``expired-server.pem``, and for each client ``<name>.pem`` with its key. ``expired.pem``,
    ``forged.pem`` (of another authority, ``other-ca.pem``) and ``locked.pem`` with the encrypted
    ``locked.key`` say ``scope`` too.
    """
    authority, other = trustme.CA(), trustme.CA()
    now = datetime.now(UTC)
    begun, ended = now - timedelta(days=2), now - timedelta(days=1)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    other.cert_pem.write_to_path(str(directory / "other-ca.pem"))
    server = authority.issue_cert("localhost")
    server.cert_chain_pems[0].write_to_path(str(directory / "server.pem"))
    server.private_key_pem.write_to_path(str(directory / "server.key"))
    expired = authority.issue_cert("localhost", not_before=begun, not_after=ended)
    _write(expired, directory / "expired-server.pem")
    for name in CLIENTS:
        _write(authority.issue_cert(f"{name}.lab", common_name=name), directory / f"{name}.pem")
    late = authority.issue_cert("scope.lab", common_name="scope", not_before=begun, not_after=ended)
    _write(late, directory / "expired.pem")
    _write(other.issue_cert("scope.lab", common_name="scope"), directory / "forged.pem")
    locked = authority.issue_cert("scope.lab", common_name="scope")
    locked.cert_chain_pems[0].write_to_path(str(directory / "locked.pem"))
    key = load_pem_private_key(locked.private_key_pem.bytes(), None)
    (directory / "locked.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )


def _write(leaf: trustme.LeafCert, path: Path) -> None:
    leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
