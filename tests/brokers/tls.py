"""A throw-away certificate authority and a server certificate for 127.0.0.1."""

from __future__ import annotations

from pathlib import Path

import trustme


class Certificates:
    """PEM files in ``directory``: ``ca``, and the server's ``certificate`` and ``key``."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1", "localhost")
        self.ca = directory / "ca.pem"
        self.certificate = directory / "server.pem"
        self.key = directory / "server.key"
        authority.cert_pem.write_to_path(self.ca)
        for blob in server.cert_chain_pems:
            blob.write_to_path(self.certificate, append=True)
        self.key.touch(0o600)
        server.private_key_pem.write_to_path(self.key)
