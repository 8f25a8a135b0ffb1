"""The metadata of a provider: which are used, and which refuse the whole document (attack O7)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.oidc.metadata import BadMetadata, Metadata, discovery_url, read_metadata
from perimeter.oidc.urls import MAX_URL, is_secure, with_parameters

ISSUER = "https://sso.example.com/realms/corp"
NEEDED = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth?kind=web",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/certs",
}
ENTRA = "https://login.microsoftonline.com"


class UrlTests(TestCase):
    def test_https_and_plain_http_to_a_loopback_address(self) -> None:
        good = (
            "https://sso.example.com",
            "https://sso.example.com:8443/a/b?c=d",
            "https://[2001:db8::1]/",
            "http://127.0.0.1:8080/x",
            "http://[::1]:8080",
            "http://localhost/",
        )
        for url in good:
            self.assertTrue(is_secure(url), url)
            self.assertEqual(is_secure(url, plain=False), url.startswith("https"), url)

    def test_what_is_no_such_url(self) -> None:
        bad = (
            "http://sso.example.com",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "javascript:alert(1)",
            "//sso.example.com/",
            "https://",
            "https:///path",
            "https://user:pw@sso.example.com/",
            "https://sso.example.com/#fragment",
            "https://sso.example.com/ x",
            "https://sso.example.com/\r\nX: y",
            "https://sso.example.com\\@evil.example/",
            "ftp://sso.example.com/",
            "HTTPS://sso.example.com/",
            "https://sso.example.com/" + "a" * MAX_URL,
            None,
            7,
        )
        for url in bad:
            self.assertFalse(is_secure(url), url)
        self.assertTrue(is_secure("https://sso.example.com/".ljust(MAX_URL, "a")))

    def test_parameters_are_added_to_the_query_of_an_endpoint(self) -> None:
        self.assertEqual(with_parameters("https://a/b", [("c", "d e&")]), "https://a/b?c=d+e%26")
        self.assertEqual(with_parameters("https://a/b?x=y", [("c", "d")]), "https://a/b?x=y&c=d")


class MetadataTests(TestCase):
    def refused(self, **changed: Any) -> str:
        members = {name: value for name, value in {**NEEDED, **changed}.items() if value is not ...}
        return str(self.assertRaises(BadMetadata, read_metadata, members, ISSUER))

    def test_where_they_are(self) -> None:
        self.assertEqual(discovery_url("https://a/b"), "https://a/b/.well-known/openid-configuration")
        self.assertEqual(discovery_url("https://a/b/"), "https://a/b/.well-known/openid-configuration")

    def test_the_least(self) -> None:
        self.assertEqual(
            read_metadata(NEEDED, ISSUER),
            Metadata(ISSUER, f"{ISSUER}/auth?kind=web", f"{ISSUER}/token", f"{ISSUER}/certs"),
        )

    def test_all(self) -> None:
        more = {
            "userinfo_endpoint": f"{ISSUER}/me",
            "end_session_endpoint": f"{ISSUER}/end",
            "introspection_endpoint": f"{ISSUER}/look",
            "authorization_response_iss_parameter_supported": True,
            "code_challenge_methods_supported": ["plain", "S256"],
            "backchannel_logout_supported": True,
            "token_endpoint_auth_methods_supported": ["none"],
            "response_types_supported": ["id_token", "code"],
        }
        found = read_metadata({**NEEDED, **more}, ISSUER)
        self.assertEqual((found.userinfo_endpoint, found.end_session_endpoint), (f"{ISSUER}/me", f"{ISSUER}/end"))
        self.assertEqual(found.introspection_endpoint, f"{ISSUER}/look")
        self.assertEqual((found.names_issuer, found.pkce, found.back_channel), (True, True, True))
        self.assertEqual(found.auth_methods, ("none",))
        self.assertTrue(found.dates_authentication)
        self.assertTrue(read_metadata({**NEEDED, "claims_supported": ["auth_time"]}, ISSUER).dates_authentication)
        self.assertFalse(read_metadata({**NEEDED, "claims_supported": []}, ISSUER).dates_authentication)

    def test_attack_o7_metadata_of_another_issuer(self) -> None:
        for issuer in ("https://evil.example", f"{ISSUER}/", ISSUER.upper(), None, ..., [ISSUER]):
            self.assertIn("another issuer", self.refused(issuer=issuer))

    def test_attack_o7_endpoints_that_are_no_safe_urls(self) -> None:
        for name in ("end_session_endpoint", "userinfo_endpoint", "introspection_endpoint", *list(NEEDED)[1:]):
            for url in ("javascript:alert(1)", "http://127.0.0.1/", "http://sso.example.com/", "", 7, ["https://a/"]):
                self.assertIn(name, self.refused(**{name: url}))

    def test_a_provider_on_a_loopback_address_may_name_others(self) -> None:
        local = {name: value.replace("https://sso.example.com", "http://127.0.0.1:1") for name, value in NEEDED.items()}
        self.assertEqual(read_metadata(local, local["issuer"]).token_endpoint, "http://127.0.0.1:1/realms/corp/token")
        elsewhere = {**local, "token_endpoint": "http://192.0.2.1/token"}
        self.assertRaises(BadMetadata, read_metadata, elsewhere, local["issuer"])

    def test_what_is_missing_or_of_another_shape(self) -> None:
        for name in list(NEEDED)[1:]:
            self.assertEqual(self.refused(**{name: ...}), f"{name} is missing in the metadata")
        self.assertIn("authorization code flow", self.refused(response_types_supported=["id_token"]))
        for name in ("authorization_response_iss_parameter_supported", "backchannel_logout_supported"):
            for value in ("true", 1, None):
                self.assertEqual(self.refused(**{name: value}), f"{name} of the metadata is not true or false")
        for value in ("S256", [1], {}):
            found = self.refused(code_challenge_methods_supported=value)
            self.assertEqual(found, "code_challenge_methods_supported of the metadata is not a list of texts")

    def test_entra_for_several_tenants(self) -> None:
        template = f"{ENTRA}/{{tenantid}}/v2.0"
        for word in ("common", "organizations", "consumers"):
            found = read_metadata({**NEEDED, "issuer": template}, f"{ENTRA}/{word}/v2.0")
            self.assertEqual(found.issuer, template)
        for issuer in (
            f"{ENTRA}/8f2c/v2.0",
            "https://evil.example/common/v2.0",
            f"{ENTRA}/common/v1.0",
            f"{ENTRA}/commons/v2.0",
            f"{ENTRA}/common/common/v2.0",
        ):
            self.assertRaises(BadMetadata, read_metadata, {**NEEDED, "issuer": template}, issuer)
