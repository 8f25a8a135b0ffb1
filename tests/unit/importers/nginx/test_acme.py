"""Certificates that nginx gets by itself."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.importers.draft import Draft
from tests.unit.doubles.drafts import conf, left, options

ISSUER = """
acme_shared_zone zone=ngx_acme_shared:1M;
acme_issuer example {
    uri https://acme.example.com/directory;
    contact mailto:admin@example.com;
    challenge tls-alpn;
    state_path /var/cache/nginx/acme;
    %s
}
"""
AGREED = ISSUER % "accept_terms_of_service;"
SERVER = """
server {
    listen 443 ssl;
    server_name gw.example.com www.example.com;
    acme_certificate example%s;
    ssl_certificate $acme_certificate;
    ssl_certificate_key $acme_certificate_key;
    ssl_certificate_cache max=2;
    location / { proxy_pass http://127.0.0.1:8000; }
}
"""


def read(issuer: str = AGREED, words: str = "") -> Draft:
    return conf(issuer + SERVER % words)


class AcmeTests(TestCase):
    def test_names_and_issuer(self) -> None:
        draft = read()
        self.assertEqual(options(draft, "listener https")["acme_names"], "gw.example.com, www.example.com")
        self.assertNotIn("certificate", options(draft, "listener https"))
        expected = {
            "directory": "https://acme.example.com/directory",
            "contact": "admin@example.com",
            "challenge": "tls-alpn-01",
            "terms_agreed": "yes",
        }
        self.assertEqual(options(draft, "acme"), expected)
        self.assertEqual(left(draft), [])

    def test_names_of_the_certificate_itself(self) -> None:
        draft = read(words=" other.example.com *.example.com key=ecdsa:256")
        self.assertEqual(options(draft, "listener https")["acme_names"], "other.example.com")
        self.assertIn("wildcard", " ".join(left(draft)))

    def test_terms_that_are_not_accepted(self) -> None:
        draft = read(ISSUER % "")
        self.assertNotIn("acme_names", options(draft, "listener https"))
        self.assertIn("terms of service", " ".join(left(draft)))

    def test_issuer_that_is_not_there(self) -> None:
        draft = read("")
        self.assertNotIn("acme_names", options(draft, "listener https"))
        self.assertIn("acme_issuer is not there", " ".join(left(draft)))

    def test_what_is_not_known(self) -> None:
        draft = read(ISSUER % "accept_terms_of_service; ssl_trusted_certificate ca.pem; external_account_key kid key; profile x;")
        self.assertEqual(options(draft, "acme")["ca_certificate"], "ca.pem")
        self.assertEqual(len(left(draft)), 2)
        self.assertTrue(left(draft)[0].endswith("external_account_key kid"), "without the key")
