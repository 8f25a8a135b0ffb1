"""The options of ``type = oidc``: presets, and combinations that are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perimeter.auth.registry import provider_factories
from perimeter.oidc.claims import NotAllowed, principal_of, subject_of
from perimeter.oidc.client_auth import Basic, Post, PrivateKey, Public
from perimeter.oidc.client_method import ClientMethod
from perimeter.tokens.jwk import generate
from tests.unit.doubles.remote import RemoteCase

ISSUER = "issuer = https://sso.example.com\nclient_id = gateway\n"
ENTRA = "issuer = https://login.microsoftonline.com/common/v2.0\nclient_id = gateway\npreset = entra\n"


class SettingsTests(RemoteCase):
    def good(self, text: str) -> Any:
        settings, problems = self.parse("oidc", text, provider_factories())
        self.assertEqual(problems, [])
        return settings

    def problem(self, text: str) -> str:
        (found,) = self.parse("oidc", text, provider_factories())[1]
        return found.partition("] ")[2]

    def test_the_least(self) -> None:
        found = self.good(ISSUER)
        self.assertEqual(found.scopes, ("openid", "profile", "email"))
        self.assertEqual((found.username_claim, found.roles_claim), ("preferred_username", ("roles", "groups")))
        self.assertEqual((found.identity_claim, found.refresh, found.lifetime, found.timeout), (("sub",), 900.0, 0.0, 5.0))
        self.assertEqual((found.method, found.title, found.access_token_claims), (ClientMethod.NONE, "", False))

    def test_rules(self) -> None:
        text = (
            "username_claim = email\nroles_claim = a.b, c\nrole_map = /ops/admins: admin\n  cn=x,dc=y: reader\n  urn:a:b: c\n"
            "require = email_verified:true, https://a.example/b:c:d\nallow_groups = x\nemail_domains = example.com\n"
            "domains = example.org\nattributes = name\nidentity_claim = tid, oid"
        )
        rules = self.good(ISSUER + text).rules("sso", "corp")
        self.assertEqual((rules.realm, rules.service, rules.username_claim), ("corp", "sso", "email"))
        self.assertEqual(rules.roles_claims, ("a.b", "c"))
        self.assertEqual(rules.role_map, (("/ops/admins", "admin"), ("cn=x,dc=y", "reader"), ("urn:a:b", "c")))
        self.assertEqual(rules.require, (("email_verified", "true"), ("https://a.example/b", "c:d")))
        self.assertEqual((rules.allow_groups, rules.email_domains), (frozenset({"x"}), ("example.com",)))
        self.assertEqual((rules.hosted_domains, rules.attribute_claims), (frozenset({"example.org"}), ("name",)))
        self.assertEqual(rules.identity_claims, ("tid", "oid"))

    def test_presets_are_defaults(self) -> None:
        keycloak = self.good(f"{ISSUER}preset = keycloak")
        self.assertEqual(keycloak.roles_claim[0], "realm_access.roles")
        self.assertTrue(keycloak.access_token_claims)
        mine = self.good(f"{ISSUER}preset = keycloak\nroles_claim = groups\naccess_token_claims = no")
        self.assertEqual((mine.roles_claim, mine.access_token_claims), (("groups",), False))
        google = self.good("client_id = gateway\npreset = google\ndomains = example.com")
        self.assertEqual((google.issuer, google.username_claim, google.roles_claim), ("https://accounts.google.com", "email", ()))
        self.assertEqual(dict(google.extra)["access_type"], "offline")
        self.assertEqual(self.good(f"{ENTRA}tenants = t1").identity_claim, ("tid", "oid"))

    def test_attack_o5_accounts_of_google(self) -> None:
        """Claims as Google documents them: an account of an organization, and one that a person made with a mail address."""
        rules = self.good("client_id = gateway\npreset = google\ndomains = example.com").rules("google", "google")
        claims = {
            "iss": "https://accounts.google.com",
            "azp": "gateway",
            "aud": "gateway",
            "sub": "110169484474386276334",
            "hd": "example.com",
            "email": "alice@example.com",
            "email_verified": True,
            "name": "Alice",
        }
        found = principal_of(claims, rules)
        self.assertEqual((found.username, found.realm, found.roles), ("alice@example.com", "google", ()))
        self.assertEqual(subject_of(claims, rules), "110169484474386276334")
        for changed in ({"hd": "example.com.evil.example"}, {"hd": "EXAMPLE.ORG"}, {"hd": ["example.com", 7]}, {"hd": ""}):
            with self.assertRaises(NotAllowed, msg=str(changed)):
                principal_of({**claims, **changed}, rules)
        with self.assertRaises(NotAllowed):
            principal_of({name: value for name, value in claims.items() if name != "hd"}, rules)
        with self.assertRaises(NotAllowed):
            principal_of({**claims, "email_verified": False}, rules)

    def test_users_of_gitlab(self) -> None:
        rules = self.good("client_id = gateway\npreset = gitlab\nallow_groups = ops\nrole_map = ops: admin").rules(
            "gitlab", "gitlab"
        )
        claims = {"sub": "7", "nickname": "alice", "groups": ["ops", "ops/dev"], "email": "a@example.com", "email_verified": True}
        found = principal_of(claims, rules)
        self.assertEqual((found.username, found.roles), ("alice", ("admin",)))
        with self.assertRaises(NotAllowed):
            principal_of({**claims, "groups": ["ops/dev"]}, rules)

    def test_providers_at_which_everybody_can_have_an_account(self) -> None:
        for text in (
            "client_id = gateway\npreset = google",
            "client_id = gateway\nissuer = https://gitlab.com",
            "client_id = gateway\nissuer = https://gitlab.com/",
        ):
            self.assertIn("everybody can have an account there", self.problem(text))
        for option in ("domains = a.example", "email_domains = a.example", "allow_groups = a", "require = a:b"):
            self.good(f"client_id = gateway\npreset = google\n{option}")

    def test_attack_o5_an_issuer_of_several_tenants_needs_their_names(self) -> None:
        self.assertIn("so it also needs tenants", self.problem(ENTRA))
        self.assertTrue(self.good(f"{ENTRA}tenants = t1").of_many_tenants)
        self.assertIn("has no effect", self.problem(f"{ISSUER}tenants = t1"))
        self.assertIn("has no effect", self.problem(ENTRA.replace("common", "8f2c") + "tenants = t1"))
        self.assertFalse(self.good("issuer = https://sso.example.com/realms/common\nclient_id = g").of_many_tenants)

    def test_issuers(self) -> None:
        for issuer in ("http://127.0.0.1:8080/realms/a", "http://localhost", "http://[::1]:1"):
            self.good(f"issuer = {issuer}\nclient_id = gateway")
        for issuer in ("http://sso.example.com", "http://192.0.2.1", "https://sso.example.com/?a=b"):
            self.assertIn("expected an https URL", self.problem(f"issuer = {issuer}\nclient_id = gateway"))
        self.assertIn("expected a URL", self.problem("issuer = sso.example.com\nclient_id = gateway"))
        self.assertIn("issuer: is required", self.problem("client_id = gateway"))
        self.assertIn("client_id: is required", self.problem("issuer = https://a.example"))

    def test_ca_certificates_need_https(self) -> None:
        Path("ca.pem").write_text("")
        ca = f"ca_certificate = {Path('ca.pem').absolute()}"
        self.good(ISSUER + ca)
        self.assertIn("is only allowed with https", self.problem(f"issuer = http://127.0.0.1\nclient_id = gateway\n{ca}"))

    def test_ways_to_authenticate(self) -> None:
        key = json.dumps(generate("ES256").members(private=True))
        for text, kind in (
            ("", Public),
            ("client_secret = s", Basic),
            ("client_secret = s\nclient_auth = post", Post),
            (f"client_key = {key}", PrivateKey),
            ("client_auth = none", Public),
        ):
            self.assertIsInstance(self.good(ISSUER + text).authentication(), kind)
        for text, words in (
            (f"client_secret = s\nclient_key = {key}", "set either client_secret or client_key, not both"),
            ("client_auth = basic", "client_auth: basic also needs client_secret"),
            ("client_auth = private_key_jwt", "client_auth: private_key_jwt also needs client_key"),
            ("client_secret = s\nclient_auth = none", "client_secret: has no effect with client_auth = none"),
            ("client_key = nonsense", "client_key: the key is neither a JWK nor"),
        ):
            self.assertIn(words, self.problem(ISSUER + text))

    def test_other_faults(self) -> None:
        for text, words in (
            ("preset = github", "github is no OpenID provider"),
            ("preset = gihub", "did you mean github"),
            ("scopes = profile", "does not have openid"),
            ("role_map = admin", "expected ROLE OF THE PROVIDER: ROLE"),
            ("role_map = : admin", "expected ROLE OF THE PROVIDER: ROLE"),
            ("require = email_verified", "expected CLAIM:VALUE"),
            ("require = https://a.example", "expected CLAIM:VALUE"),
            ("require = a:", "expected CLAIM:VALUE"),
            ("extra = state=x", "the gateway itself sets state"),
            ("extra = Nonce=x", "the gateway itself sets Nonce"),
            ("extra = a=b, a=c", "a parameter is named twice"),
            ("extra = max_age=10m", "max_age is not a number of seconds"),
            ("extra = max_age=-1", "max_age is not a number of seconds"),
            ("isuer = x", "did you mean issuer"),
        ):
            self.assertIn(words, self.problem(ISSUER + text), text)

    def test_attack_o4_what_can_be_chosen_identifies_nobody(self) -> None:
        for claim in ("email", "preferred_username", "upn", "sub, name"):
            self.assertIn("cannot identify an account", self.problem(f"{ISSUER}identity_claim = {claim}"))
        self.assertEqual(self.good(f"{ISSUER}identity_claim = tid, oid").identity_claim, ("tid", "oid"))

    def test_the_age_of_an_authentication(self) -> None:
        self.assertIsNone(self.good(ISSUER).max_age)
        self.assertEqual(self.good(f"{ISSUER}extra = max_age=600").max_age, 600.0)
        self.assertEqual(self.good(f"{ISSUER}extra = max_age=0").max_age, 0.0)

    def test_secrets_are_not_shown(self) -> None:
        self.assertNotIn("s3cret", repr(self.good(f"{ISSUER}client_secret = s3cret")))
