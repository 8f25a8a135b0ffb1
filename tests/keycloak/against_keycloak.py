"""A gateway in front of a service, with a real Keycloak as its sign-in provider.

``tox -e keycloak``, or ``python -m twisted.trial tests.keycloak.against_keycloak``. The client of Keycloak and the section of the
gateway are those of ``docs/how-to/keycloak.md``; only the addresses and times are the test's. The users are in `corp-realm.json`.
"""

from __future__ import annotations

import atexit
import json
import re
import secrets
import shutil
import tempfile
from html import unescape
from pathlib import Path

import requests
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.tokens.jwk import generate
from tests.integration.harness import LOGIN_ROUTES, USERS, GatewayCase, site
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually
from tests.integration.test_doctor import doctor
from tests.integration.visitor import Visitor, forms
from tests.keycloak.server import TIMEOUT, Keycloak

REALM = Path(__file__).with_name("corp-realm.json")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "keycloak.md"

BOUND = 2.0 + TIMEOUT
"""Seconds for ``refresh``, and for what a busy machine adds."""


class Shared:
    """One Keycloak for all tests, and the key and certificate of their gateways."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="perimeter-keycloak-"))
        own = identity("127.0.0.1")
        self.files = {
            "own.pem": pem(*own.chain),
            "own.key": own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        }
        trusted = self.directory / "own.pem"
        trusted.write_bytes(self.files["own.pem"])
        self.secret = secrets.token_urlsafe(16)
        self.keycloak = Keycloak(self.directory, trusted)
        atexit.register(self.close)

    def close(self) -> None:
        """End Keycloak."""
        self.keycloak.close()
        shutil.rmtree(self.directory, ignore_errors=True)


_shared: list[Shared] = []


def shared() -> Shared:
    """Keycloak of this process, started when it is asked for first."""
    if not _shared:
        _shared.append(Shared())
    return _shared[0]


def example(language: str) -> str:
    """The first block of the page in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert found is not None
    return found[1]


class Person:
    """A browser at Keycloak. It keeps its cookies, as Chromium does for 127.0.0.1, although they are marked Secure."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, method: str, url: str, data: dict[str, str] | None = None) -> requests.Response:
        """One request; redirects are not followed."""
        answer = self.session.request(method, url, data=data, timeout=TIMEOUT, allow_redirects=False)
        for cookie in self.session.cookies:
            cookie.secure = False
        return answer

    def sign_in(self, url: str, username: str, password: str) -> str:
        """Where Keycloak sends the browser to in the end."""
        page = self.send("GET", url)
        if page.status_code == 302:  # signed in already
            return page.headers["Location"]
        form = forms(page.text)[0]
        answer = self.send("POST", form.action, form.fields | {"username": username, "password": password})
        return answer.headers.get("Location", "")


class KeycloakCase(GatewayCase):
    """Each test has a gateway of its own, and the realm anew."""

    def setUp(self) -> None:
        self.keycloak = shared().keycloak
        self.app = self.upstream()
        self.served = self.gateway(self.config(), USERS | shared().files)
        client = json.loads(example("json").replace("https://gw.example.com", f"https://127.0.0.1:{self.served['https']}"))
        realm = json.loads(REALM.read_text())
        self.keycloak.import_realm(realm | {"clients": [client | {"secret": shared().secret}]})
        self.addCleanup(self.keycloak.remove_realm, "corp")

    def config(self) -> str:
        extra = example("ini").replace("https://gw.example.com", "https://127.0.0.1:@https@")
        extra = extra.replace("https://sso.example.com", self.keycloak.url).replace("file:corp.secret", shared().secret)
        extra += "refresh = 2s\ntimeout = 20s\n"
        config = site(LOGIN_ROUTES.replace("<service>", self.app.url), tls=True, extra=extra)
        return config.replace("tls = yes\n", "tls = yes\ncertificate = own.pem\nprivate_key = own.key\n")

    def visitor(self) -> Visitor:
        made = Visitor(f"https://127.0.0.1:{self.served['https']}", self.served.directory / "own.pem")
        self.addCleanup(made.close)
        return made

    def person(self) -> Person:
        made = Person()
        self.addCleanup(made.session.close)
        return made

    def sign_in(self, visitor: Visitor, username: str, password: str, person: Person | None = None) -> requests.Response:
        """The answer of the callback."""
        person = person or self.person()
        begun = visitor.navigate("/.perimeter/start/corp?to=/deep/link%3Fa=1")
        self.assertEqual(begun.status_code, 302, begun.text)
        back = person.sign_in(begun.headers["Location"], username, password)
        self.assertTrue(back.startswith(f"{visitor.origin}/.perimeter/callback/corp?"), back)
        return visitor.navigate(back)

    def user(self, visitor: Visitor, target: str = "/x") -> tuple[int, str | None, str | None]:
        """The status of a request, and whom the service saw."""
        before = len(self.app.requests)
        status = visitor.get(target).status_code
        if len(self.app.requests) == before:
            return status, None, None
        seen = self.app.requests[-1]
        return status, seen.get("x-auth-username"), seen.get("x-auth-roles")


class KeycloakTests(KeycloakCase):
    def test_realm_roles_client_roles_and_groups(self) -> None:
        visitor = self.visitor()
        answer = self.sign_in(visitor, "alice", "wonderland")
        self.assertEqual(answer.status_code, 303, answer.text)
        self.assertEqual(answer.headers["Location"], "/.perimeter/go?to=%2Fdeep%2Flink%3Fa%3D1")
        status, name, roles = self.user(visitor)
        self.assertEqual((status, name), (200, "alice"))
        self.assertEqual(set((roles or "").split(",")), {"admin", "operator", "viewer"})
        self.assertEqual(self.user(visitor, "/admin/x")[0], 200)

    def test_a_user_without_the_role(self) -> None:
        visitor = self.visitor()
        self.assertEqual(self.sign_in(visitor, "bob", "can-we-fix-it").status_code, 303)
        self.assertEqual(self.user(visitor), (200, "bob", "viewer"))
        self.assertEqual(self.user(visitor, "/admin/x")[0], 403)

    def test_a_role_that_is_taken_away_is_gone_within_refresh(self) -> None:
        visitor = self.visitor()
        self.sign_in(visitor, "bob", "can-we-fix-it")
        self.keycloak.take_role("corp", "bob", "viewer")
        eventually(lambda: self.user(visitor)[2] in (None, ""), "the role is gone", BOUND)
        self.assertEqual(self.user(visitor)[:2], (200, "bob"))

    def test_a_disabled_user_ends_within_refresh(self) -> None:
        visitor = self.visitor()
        self.sign_in(visitor, "alice", "wonderland")
        self.assertEqual(self.user(visitor)[0], 200)
        self.keycloak.set_user("corp", "alice", enabled=False)
        eventually(lambda: self.user(visitor)[0] == 401, "the session has ended", BOUND)

    def test_back_channel_logout(self) -> None:
        visitor = self.visitor()
        self.served.configure(self.config().replace("refresh = 2s", "refresh = 1h"))
        self.served.reload()
        self.sign_in(visitor, "alice", "wonderland")
        self.assertEqual(self.user(visitor)[0], 200)
        self.keycloak.sign_out("corp", "alice")
        eventually(lambda: self.user(visitor)[0] == 401, "the session has ended", TIMEOUT)

    def test_sign_out_leads_to_keycloak_and_back(self) -> None:
        visitor, person = self.visitor(), self.person()
        self.sign_in(visitor, "alice", "wonderland", person)
        page = visitor.sign_out(elsewhere="1")
        self.assertEqual(self.user(visitor)[0], 401)
        (url,) = {unescape(link) for link in re.findall(r'href="([^"]+)"', page.text) if link.startswith(self.keycloak.url)}
        answer = person.send("GET", url)
        self.assertEqual(answer.status_code, 302, answer.text)
        self.assertTrue(answer.headers["Location"].startswith(f"{visitor.origin}/.perimeter/signed-out"), answer.headers)
        self.assertEqual(visitor.navigate(answer.headers["Location"]).status_code, 200)
        begun = visitor.navigate("/.perimeter/start/corp?to=/")
        self.assertEqual(person.send("GET", begun.headers["Location"]).status_code, 200, "the page asks for a password again")

    def test_the_doctor_finds_nothing_that_keycloak_lacks(self) -> None:
        _, output = doctor(self.served.config)
        self.assertNotIn("[provider corp]", output)
        self.served.configure(self.config().replace("/realms/corp", "/realms/elsewhere"))
        _, output = doctor(self.served.config)
        self.assertIn("[provider corp]", output)

    def test_a_key_in_place_of_a_secret(self) -> None:
        key = generate("ES256")
        public = json.dumps({"keys": [key.members()]})
        attributes = {"use.jwks.string": "true", "jwks.string": public, "token.endpoint.auth.signing.alg": "ES256"}
        self.keycloak.change_client("corp", "gateway", clientAuthenticatorType="client-jwt", attributes=attributes)
        private = json.dumps(key.members(private=True))
        (self.served.directory / "client.jwk").write_text(private)
        (self.served.directory / "client.jwk").chmod(0o600)
        self.served.configure(re.sub("client_secret = .*", "client_key = file:client.jwk", self.config()))
        self.served.reload()
        visitor = self.visitor()
        answer = self.sign_in(visitor, "bob", "can-we-fix-it")
        self.assertEqual(answer.status_code, 303, self.served.log)
        self.assertEqual(self.user(visitor), (200, "bob", "viewer"))

    def test_attack_o2_another_realm_or_none(self) -> None:
        for wrong in ("iss=http%3A%2F%2Felsewhere", ""):
            visitor = self.visitor()
            begun = visitor.navigate("/.perimeter/start/corp?to=/")
            back = self.person().sign_in(begun.headers["Location"], "alice", "wonderland")
            self.assertIn("iss=", back)
            answer = visitor.navigate(re.sub(r"iss=[^&]*", wrong, back))
            self.assertEqual(answer.status_code, 403, answer.text)
            self.assertIsNone(visitor.cookie)
