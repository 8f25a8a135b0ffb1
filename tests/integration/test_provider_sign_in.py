"""Sign-ins at an OpenID provider that comes and goes, in one process and in several."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from perimeter.cli.main import main
from tests.integration.each_worker import EachWorkerCase
from tests.integration.harness import USERS
from tests.integration.oidcpeer import SECRET, SignInProvider, shared_provider
from tests.integration.ports import free_port
from tests.integration.wire import Response

CORP = f"""\
[provider corp]
type = oidc
issuer = <issuer>
client_id = gateway
client_secret = {SECRET}
title = Company login
redirect_uri = https://gateway.test/.perimeter/callback/corp
"""
OWN = "/.perimeter/"
NAVIGATION = "Accept: text/html"


class ProviderCase(EachWorkerCase):
    """``issuer`` is the provider's URL. The browser has ``cookies``."""

    count = 2
    issuer = ""
    logging = ""

    def setUp(self) -> None:
        self.extra = CORP.replace("<issuer>", self.issuer) + self.logging
        super().setUp()
        self.cookies: dict[str, str] = {}

    def register(self, provider: SignInProvider) -> SignInProvider:
        provider.client(f"https://gateway.test{OWN}callback/corp")
        provider.account("sub-carol", preferred_username="carol")
        provider.account("sub-mallory", preferred_username="Carol")
        return provider

    def open(self, slot: int, target: str) -> Response:
        """The browser asks a worker for a page."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines = [f"Cookie: {cookies}"] if cookies else []
        found = self.ask(slot, target, NAVIGATION, *lines)
        for line in found.get_all("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return found

    def begin(self, slot: int) -> str:
        """The URL to which the browser is sent."""
        found = self.open(slot, f"{OWN}start/corp?to=/x")
        self.assertEqual(found.status, 302, found)
        return found.get_all("location")[0]

    def come_back(self, slot: int, url: str) -> Response:
        parts = urlsplit(url)
        return self.open(slot, f"{parts.path}?{parts.query}")


class SharedCase(ProviderCase):
    """The provider that all tests of the process share."""

    def setUp(self) -> None:
        self.provider = shared_provider()
        self.issuer = self.provider.url
        self.logging = "[logging]\nlevel = debug\n"
        super().setUp()
        self.register(self.provider)


class WorkersTests(SharedCase):
    def test_a_flow_goes_on_in_another_worker_and_counts_once(self) -> None:
        url = self.provider.sign_in(self.begin(0), "sub-carol")
        self.assertEqual(self.come_back(1, url).get_all("location"), [f"{OWN}go?to=%2Fx"])
        self.assertEqual([self.open(slot, "/x").status for slot in (0, 1)], [200, 200])
        self.assertEqual(self.come_back(0, url).get_all("location"), [f"{OWN}go?to=%2Fx"])  # leads on
        del self.cookies["__Host-perimeter"]
        self.assertEqual(self.come_back(0, url).status, 403)
        (record,) = [line for line in self.served.audit() if "callback" in line and " 403 " in line]
        self.assertNotIn(re.findall(r"code=([^&]+)", url)[0], record)


class SecurityTests(SharedCase):
    count = 1

    def reach_all(self) -> None:
        self.wires = {0: self.connect(self.served)}

    def test_a_flow_outlives_a_reload_and_a_kill(self) -> None:
        urls = [self.provider.sign_in(self.begin(0), "sub-carol") for _ in range(2)]
        self.served.reload()
        self.assertEqual(self.come_back(0, urls[0]).status, 303)
        self.served.kill()
        self.served.start()
        self.reach_all()
        self.assertEqual(self.come_back(0, urls[1]).status, 303)

    def test_attack_o1_the_code_of_another_sign_in(self) -> None:
        stolen = self.provider.sign_in(self.begin(0), "sub-mallory")
        self.cookies = {}
        self.assertEqual(self.come_back(0, stolen).status, 403)  # the whole answer, in another browser
        own = dict(parse_qsl(urlsplit(self.begin(0)).query))["state"]
        answer = {**dict(parse_qsl(urlsplit(stolen).query)), "state": own}
        refused = self.open(0, f"{OWN}callback/corp?{urlencode(answer)}")  # the code alone
        self.assertEqual((refused.status, "is not valid, so you are not signed in" in refused.text), (403, True), refused)
        self.assertNotIn("__Host-perimeter", self.cookies)

    def test_attack_o4_a_name_belongs_to_its_first_identity_until_it_is_released(self) -> None:
        self.come_back(0, self.provider.sign_in(self.begin(0), "sub-carol"))
        session, self.cookies = self.cookies, {}
        found = self.come_back(0, self.provider.sign_in(self.begin(0), "sub-mallory"))
        self.assertEqual(found.status, 403)
        self.assertIn("The user name Carol belongs to another account here.", found.text)
        listed = json.loads(self.command("identity", "list", "--json"))
        self.assertEqual((listed["username"], listed["subject"]), ("carol", "sub-carol"))
        self.assertIn("ended: 1 session, 0 API tokens", self.command("identity", "release", "--user", "carol", "--realm", "corp"))
        self.cookies = session
        self.assertEqual(self.open(0, "/x").status, 302)

    def test_attack_o19_no_secret_and_no_second_line_in_any_log(self) -> None:
        url = self.provider.sign_in(self.begin(0), "sub-carol")
        self.come_back(0, url)
        secrets = [SECRET, re.findall(r"code=([^&]+)", url)[0], *self.cookies.values()]
        del self.cookies["__Host-perimeter"]
        begun = dict(parse_qsl(urlsplit(self.begin(0)).query))
        words = "<script>alert(1)</script>\r\n2026 forged line"
        failed = urlencode(
            {"error": "access_denied", "error_description": words, "state": begun["state"], "iss": self.provider.url}
        )
        refused = self.open(0, f"{OWN}callback/corp?{failed}")
        self.assertEqual(refused.status, 403)
        self.assertIn("Company login has not signed you in.", refused.text)
        self.assertNotIn("alert(1)", refused.text)
        self.served.await_log("provider_denied")
        log = self.served.log
        self.assertFalse([line for line in log.splitlines() if line.startswith("2026 forged")])
        secrets += [value for name, value in self.cookies.items() if "manual" not in name]
        for text in (log, "\n".join(self.served.audit())):
            self.assertEqual([secret for secret in secrets if secret in text], [])


class ComesAndGoesTests(ProviderCase):
    count = 1

    def setUp(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        super().setUp()

    def reach_all(self) -> None:
        self.wires = {0: self.connect(self.served)}

    def faults(self) -> list[str]:
        """What the gateway says about its provider."""
        done = CliRunner().invoke(main, ["status", "--json", "-c", str(self.served.config)])
        return [one["message"] for one in json.loads(done.stdout)["problems"] if one["name"] == "corp"]

    def test_the_gateway_starts_without_its_provider(self) -> None:
        down = self.open(0, f"{OWN}start/corp?to=/x")
        self.assertEqual((down.status, "Company login does not answer at the moment." in down.text), (503, True))
        page = self.open(0, f"{OWN}login")
        self.assertIn("Sign in with Company login", page.text)
        password = urlencode({"username": "alice", "password": USERS["users.realm"].split()[1].split(",")[0]})
        found = self.ask(
            0, f"{OWN}login", "Content-Type: application/x-www-form-urlencoded", method="POST", body=password.encode()
        )
        self.assertEqual(found.status, 303)
        (fault,) = self.faults()
        self.assertIn("provider corp", fault)

        secret = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
        key = {**secret, "kid": "1", "use": "sig", "alg": "ES256"}
        provider = self.register(SignInProvider(self.port, key=key))
        try:
            self.assertEqual(self.faults(), [])
            url = provider.sign_in(self.begin(0), "sub-carol")
            self.assertEqual(self.come_back(0, url).status, 303)
            url = provider.sign_in(self.open(0, f"{OWN}start/corp?to=/x&again=1").get_all("location")[0], "sub-carol")
        finally:
            provider.close()
        self.assertEqual(self.open(0, "/x").status, 200)
        gone = self.come_back(0, url)
        self.assertEqual((gone.status, "Company login does not answer at the moment." in gone.text), (503, True))
        self.assertEqual(self.open(0, "/x").status, 200)

        provider = self.register(SignInProvider(self.port, key=key))
        self.addCleanup(provider.close)
        self.cookies = {}
        self.assertEqual(self.come_back(0, provider.sign_in(self.begin(0), "sub-carol")).status, 303)
