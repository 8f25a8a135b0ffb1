"""Which files of a configuration may be renewed while the gateway runs."""

from __future__ import annotations

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.config.site.renewed import renewed_files, versions
from tests.unit.doubles.site import SITE, SiteCase


class RenewedFilesTests(SiteCase):
    def load(self, text: str) -> SiteConfig:
        self.site.write_text(text.replace("type = file", "type = realmfile"))
        return load_site(self.site, kinds=installed_kinds())

    def test_certificates_keys_and_cas_of_every_section(self) -> None:
        for name in (
            "gw.crt",
            "gw.key",
            "store.p12",
            "users-ca.crt",
            "hpc-ca.crt",
            "ldap-ca.crt",
            "iam-ca.crt",
            "groups-ca.crt",
            "own.crt",
            "own.key",
        ):
            (self.directory / name).write_text("")
        config = self.load(
            SITE.replace("tls = yes", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key\nclient_ca = users-ca.crt")
            + "[listener store]\nport = 9444\ntls = yes\nkeystore = store.p12\n"
            + "[upstream hpc]\nservers = https://hpc.example.int\nca_certificate = hpc-ca.crt\n"
            + "client_certificate = own.crt\nclient_key = own.key\n"
            + "[authenticator corp]\ntype = ldap\nhostname = ldap.example.int\ntls = ldaps\nca_certificate = ldap-ca.crt\n"
            + "user_base_dn = dc=example\n"
            + "[authenticator iam]\ntype = jwt\ncert_uri = https://iam.example/certs\nissuer = *\naudience = *\n"
            + "ca_certificate = iam-ca.crt\n"
            + "[augmenter groups]\ntype = ldap\nrealm = local\nuri = ldaps://ldap.example.int\nca_certificate = groups-ca.crt\n"
            + "search_base = dc=example\n"
        )
        self.assertEqual(
            {path.name for path in renewed_files(config)},
            {
                "gw.crt",
                "gw.key",
                "store.p12",
                "users-ca.crt",
                "hpc-ca.crt",
                "ldap-ca.crt",
                "iam-ca.crt",
                "groups-ca.crt",
                "own.crt",
                "own.key",
            },
        )

    def test_no_file_is_named(self) -> None:
        self.assertEqual(renewed_files(self.load(SITE)), frozenset())

    def test_a_file_that_is_not_there_has_a_version(self) -> None:
        missing, there = self.directory / "missing", self.directory / "there"
        there.write_text("x")
        found = versions([missing, there])
        self.assertEqual(found[missing], ())
        self.assertEqual(found[there][2], 1)
