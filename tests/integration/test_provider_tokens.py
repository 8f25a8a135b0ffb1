"""Access tokens of a certified OpenID provider on APIs: signed ones, and opaque ones by introspection."""

from __future__ import annotations

import base64
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from perimeter.oidc.flow import challenge
from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.oidcpeer import SECRET, OpenIdProvider, SignInProvider, shared_provider
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

    def test_programs_that_begin_at_once_are_all_admitted(self) -> None:
        """None of them is refused because another one is binding the name of their user."""
        tokens = [self.provider.access_token() for _ in range(8)]
        with ThreadPoolExecutor(len(tokens)) as threads:
            answers = list(threads.map(self.get, tokens))
        self.assertEqual([answer.status for answer in answers], [200] * len(tokens))

    def test_attack_o18_every_other_token_gets_the_same_answer(self) -> None:
        """Tokens that nobody has, that have ended, are for another service, or are refresh tokens."""
        others = ("x" * 43, self.provider.access_token("urn:elsewhere"), self.provider.offline_token())
        answers = [self.get(token) for token in others]
        self.assertEqual([answer.status for answer in answers], [401] * len(others))
        self.assertEqual({answer.body for answer in answers}, {answers[0].body})
        first, *further = (answer.get_all("www-authenticate") for answer in answers)
        self.assertEqual(further, [first] * len(further))


CALLBACK = "https://gw.example/.perimeter/callback/corp"

SIGN_IN = """\
[provider corp]
type = oidc
issuer = {url}
client_id = gateway
client_secret = {secret}
redirect_uri = {callback}
bearer = yes
audience = gateway

[authenticator opaque]
type = introspection
introspection_uri = {url}/token/introspection
client_id = gateway
client_secret = {secret}
audience = *
"""


class TokensOfASignInTests(GatewayCase):
    """What a client gets at a sign-in. The access tokens are opaque; the ID token has the gateway as audience."""

    def test_attack_o15_only_the_access_token_is_a_credential(self) -> None:
        peer = shared_provider()
        peer.client(CALLBACK)
        peer.account("account-7", preferred_username="alice")
        sections = SIGN_IN.format(url=peer.url, secret=SECRET, callback=CALLBACK)
        served = self.gateway(site(ROUTE.replace("allow = role:viewer\n", ""), extra=sections), USERS)
        tokens = self.tokens(peer)
        statuses = {}
        for name in ("access_token", "id_token", "refresh_token"):
            with served.connect("http") as wire:
                statuses[name] = wire.get("/", bearer(tokens[name])).status
        self.assertEqual(statuses, {"access_token": 200, "id_token": 401, "refresh_token": 401})

    def tokens(self, peer: SignInProvider) -> dict[str, str]:
        """The answer to the token request of a sign-in."""
        verifier = "v" * 43
        asked = {
            "response_type": "code",
            "client_id": "gateway",
            "redirect_uri": CALLBACK,
            "scope": "openid profile",
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        back = peer.sign_in(f"{peer.url}/auth?{urlencode(asked)}", "account-7")
        form = {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": CALLBACK,
            "code_verifier": verifier,
        }
        basic = base64.b64encode(f"gateway:{quote_plus(SECRET)}".encode()).decode()
        request = urllib.request.Request(f"{peer.url}/token", urlencode(form).encode(), {"Authorization": f"Basic {basic}"})
        with urllib.request.urlopen(request, timeout=20) as response:
            found: dict[str, str] = json.load(response)
        return found
