"""Access tokens of a certified OpenID provider on APIs: signed ones, and opaque ones by introspection."""

from __future__ import annotations

import json

from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.oidcpeer import SECRET, OpenIdProvider
from tests.integration.wire import Response, bearer

ROUTE = """\
[upstream sample]
servers = sample:

[route all]
path = /
upstream = sample
allow = role:viewer
"""

SECTIONS = """\
[provider signed]
type = oidc
realm = sso
issuer = {url}
client_id = private
client_secret = {secret}
roles_claim = realm_access.roles
bearer = yes
audience = gateway

[authenticator opaque]
type = introspection
realm = desp
introspection_uri = {realm_url}/token/introspect
client_id = private
client_secret = {secret}
audience = gateway
username_claim = preferred_username
"""


class ProviderTokenTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.provider = provider = OpenIdProvider()
        self.addCleanup(provider.close)
        sections = SECTIONS.format(url=provider.url, realm_url=provider.realm_url, secret=SECRET)
        self.served = self.gateway(site(ROUTE, extra=sections), USERS)

    def get(self, token: str) -> Response:
        with self.served.connect("http") as wire:
            return wire.get("/", bearer(token))

    def test_a_signed_and_an_opaque_token_are_admitted_and_asked_about_once(self) -> None:
        signed, opaque = self.provider.access_token(), self.provider.access_token("urn:opaque")
        self.assertEqual((signed.count("."), opaque.count(".")), (2, 0))
        for token, realm in ((signed, "sso"), (opaque, "desp")):
            before = self.provider.introspections()
            for _ in range(5):
                answer = self.get(token)
                self.assertEqual(answer.status, 200, answer)
            headers = dict(json.loads(answer.body)["headers"])
            self.assertEqual([headers[name] for name in ("X-Auth-Username", "X-Auth-Realm")], ["alice", realm])
            self.assertEqual(self.provider.introspections() - before, token == opaque)

    def test_attack_o18_every_other_token_gets_the_same_answer(self) -> None:
        """Tokens that nobody has, that have ended, are for another service, or are refresh tokens."""
        others = ("x" * 43, self.provider.access_token("urn:elsewhere"), self.provider.offline_token())
        answers = [self.get(token) for token in others]
        self.assertEqual([answer.status for answer in answers], [401] * len(others))
        self.assertEqual({answer.body for answer in answers}, {answers[0].body})
        first, *further = (answer.get_all("www-authenticate") for answer in answers)
        self.assertEqual(further, [first] * len(further))
