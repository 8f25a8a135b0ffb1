"""Access tokens of a real Keycloak on APIs: verified with its keys, and by introspection. See `tests.keycloak.against_keycloak`.

The sections of the gateway are those of ``docs/how-to/provider-tokens.md``; only the addresses are the test's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import requests

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.wire import bearer
from tests.keycloak.against_keycloak import REALM, shared
from tests.keycloak.server import TIMEOUT

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "provider-tokens.md"

ROUTE = "[upstream sample]\nservers = sample:\n\n[route all]\npath = /\nupstream = sample\n"

AUDIENCE = "https://gw.example.com"


def mapper(name: str, **config: str) -> dict[str, Any]:
    """An *audience* mapper of the client."""
    where = {"access.token.claim": "true", "introspection.token.claim": "true", "id.token.claim": "false"}
    return {
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": where | {f"included.{kind}.audience": audience for kind, audience in config.items()},
    }


class TokenTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.keycloak, self.secret = shared().keycloak, shared().secret
        client = {
            "clientId": "gateway",
            "secret": self.secret,
            "directAccessGrantsEnabled": True,
            "serviceAccountsEnabled": True,
            "protocolMappers": [mapper("the gateway", custom=AUDIENCE), mapper("who may ask", client="gateway")],
        }
        self.keycloak.import_realm(json.loads(REALM.read_text()) | {"clients": [client]})
        self.addCleanup(self.keycloak.remove_realm, "corp")

    def token(self, **form: str) -> dict[str, str]:
        form = {"client_id": "gateway", "client_secret": self.secret, "scope": "openid", **form}
        url = f"{self.keycloak.url}/realms/corp/protocol/openid-connect/token"
        found: dict[str, str] = requests.post(url, form, timeout=TIMEOUT).json()
        return found

    def served(self, section: str) -> Gateway:
        """A gateway with one section of the page."""
        (example,) = (one for one in re.findall(r"^```ini\n(.*?)^```$", PAGE.read_text(), re.M | re.S) if section in one)
        example = example.replace("https://sso.example.com", self.keycloak.url).replace("credential:corp", self.secret)
        return self.gateway(site(ROUTE, extra=f"{example}timeout = 20s\n"), USERS)

    def sees(self, served: Gateway, token: str) -> tuple[int, str, str]:
        """The status, and the name and the realm that the service gets."""
        with served.connect("http") as wire:
            answer = wire.get("/", bearer(token))
        if answer.status != 200:
            return answer.status, "", ""
        headers = dict(json.loads(answer.body)["headers"])
        return 200, headers["X-Auth-Username"], headers["X-Auth-Realm"]

    def test_attack_o15_access_tokens_are_credentials_and_no_other_tokens(self) -> None:
        person = self.token(grant_type="password", username="alice", password="wonderland")
        program = self.token(grant_type="client_credentials")
        for section, realm in (("[provider corp]", "corp"), ("[authenticator sso]", "corp-api")):
            served = self.served(section)
            self.assertEqual(self.sees(served, person["access_token"]), (200, "alice", realm))
            self.assertEqual(self.sees(served, program["access_token"]), (200, "service-account-gateway", realm))
            for name in ("id_token", "refresh_token"):
                self.assertEqual(self.sees(served, person[name])[0], 401, (section, name))
