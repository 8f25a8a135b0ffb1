"""Keystores made by the installed keytool. Its releases write different files."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.certificates import load_identities
from tests.integration.harness import GatewayCase

PASSWORD = "storepass"
KINDS = (
    (rsa.RSAPrivateKey, ("-keyalg", "RSA", "-keysize", "2048")),
    (ec.EllipticCurvePrivateKey, ("-keyalg", "EC", "-groupname", "secp256r1")),
)


def keytool(path: Path, store_type: str, *options: str) -> None:
    """Make a keystore with a key for localhost."""
    command = ["keytool", "-genkeypair", "-alias", "gw", *options, "-storetype", store_type, "-keystore", str(path)]
    command += ["-storepass", PASSWORD, "-keypass", PASSWORD, "-validity", "100"]
    command += ["-dname", "CN=localhost", "-ext", "SAN=dns:localhost"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


class KeytoolTests(GatewayCase):
    def test_rsa_and_ec_keys_in_both_types_of_keystore(self) -> None:
        self.need("keytool")
        for store_type in ("JKS", "PKCS12"):
            for kind, options in KINDS:
                with self.subTest(store_type=store_type, kind=kind.__name__):
                    path = self.directory() / f"gw.{store_type}"
                    keytool(path, store_type, *options)
                    settings = ListenerSettings("https", 0, tls=True, keystore=path, keystore_password=PASSWORD)
                    (identity,) = load_identities(settings, path.parent)
                    self.assertEqual(identity.names, ("localhost",))
                    self.assertIsInstance(identity.key, kind)
