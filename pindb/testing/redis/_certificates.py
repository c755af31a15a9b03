"""Certificates for servers with TLS."""

from __future__ import annotations

import shutil

from pindb.testing.processes import ServerFolder


def make_certificates(folder: ServerFolder) -> None:
    """Make ``ca.crt``, and ``server.crt`` with ``server.key`` for 127.0.0.1 and localhost."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise RuntimeError('TLS needs the program "openssl". Install it from your system\'s packages.')
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    path = folder.path
    # The extensions that RFC 5280 asks for; Python 3.13 and later verifies them strictly. Nodes of a Redis
    # Cluster are clients of each other, too.
    (path / "extensions").write_text(
        "subjectAltName = IP:127.0.0.1, DNS:localhost\n"
        "basicConstraints = critical, CA:FALSE\n"
        "keyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth, clientAuth\n"
        "subjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid\n"
    )
    folder.run(
        [
            *(openssl, "req", "-x509", *new_key, "-days", "2", "-subj", "/CN=pindb test CA"),
            *("-addext", "keyUsage = critical, keyCertSign, cRLSign"),
            *("-keyout", path / "ca.key", "-out", path / "ca.crt"),
        ]
    )
    folder.run(
        [
            *(openssl, "req", "-new", *new_key, "-subj", "/CN=localhost"),
            *("-keyout", path / "server.key", "-out", path / "server.csr"),
        ]
    )
    folder.run(
        [
            *(openssl, "x509", "-req", "-days", "2", "-in", path / "server.csr", "-set_serial", "1"),
            *("-CA", path / "ca.crt", "-CAkey", path / "ca.key"),
            *("-extfile", path / "extensions", "-out", path / "server.crt"),
        ]
    )
