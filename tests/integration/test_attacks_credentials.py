"""Attacks on credentials against running gateways: evasion of the throttle, shared state, choices of the client, stale authority,
and backends that fail. The numbers are those of the list of attacks."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import Response, Wire, basic, bearer

ROUTES = """\
[upstream sample]
servers = sample:

[route admin]
path = /admin
upstream = sample
allow = role:admin

[route all]
path = /
upstream = sample
"""

FRONT = "trusted_proxies = 127.0.0.1"
"""Lets a test come from any address."""


class CredentialCase(GatewayCase):
    def ask(self, gateway: Gateway, *headers: str, target: str = "/") -> Response:
        with gateway.connect("http") as wire:
            return wire.get(target, *headers)

    def identity(self, response: Response) -> tuple[str, str, str]:
        """User, realm and roles that the service got."""
        self.assertEqual(response.status, 200, response.body)
        told = {name.lower(): value for name, value in json.loads(response.body)["headers"].items()}
        return told["x-auth-username"], told["x-auth-realm"], told.get("x-auth-roles", "")

    def program(self, text: str) -> Path:
        path = self.directory() / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def stack(self, program: Path, name: str = "stack", more: str = "") -> str:
        return f"[authenticator {name}]\ntype = login-modules\nmodules = command required\noption.command = {program}\n{more}\n"


class ThrottleTests(CredentialCase):
    """30: one user has one count, no matter how the name is spelled and which address sends it."""

    def setUp(self) -> None:
        super().setUp()
        extra = "[authentication]\nlockout_after = 3\nlockout_after_address = 3\n"
        self.gate = self.gateway(site(ROUTES, extra=extra, perimeter=FRONT), USERS)
        self.addresses = (f"198.51.{n // 250}.{n % 250 + 1}" for n in count())

    def guess(self, name: str, address: str = "") -> Response:
        forwarded = f"X-Forwarded-For: {address or next(self.addresses)}"
        return self.ask(self.gate, basic(name, "guess"), forwarded)

    def until_refused(self, names: Iterator[tuple[str, str]]) -> Response:
        """Guess until a guess has to wait; on a slow machine the first delays end before the next guess."""
        for tries, (name, address) in enumerate(names):
            response = self.guess(name, address)
            self.assertIn(response.status, (401, 429))
            if response.status == 429:
                self.assertGreaterEqual(tries, 3, "three wrong passwords are allowed")
                return response
            self.assertLess(tries, 12, "no attempt has to wait")
        raise AssertionError("not reached")

    def test_attack_30_throttle_evasion_by_spelling(self) -> None:
        spellings = ("bob", "BOB", "bob@local", "LOCAL\\bob", " bob", "Bob@Local")
        refused = self.until_refused((spellings[n % len(spellings)], "") for n in count())
        wait = int(refused.get("retry-after") or 0)
        self.assertGreaterEqual(wait, 1)
        self.assertEqual(json.loads(refused.body)["error"], "too_many_attempts")
        self.assertIsNone(refused.get("www-authenticate"))

    def test_attack_30_throttle_evasion_by_address(self) -> None:
        self.until_refused(("bob", f"2001:db8::{n}") for n in count())
        self.until_refused((f"user{n}", f"2001:db8:0:1:{n:x}::1") for n in count())
        self.assertEqual(self.guess("user-of-another-network", "2001:db8:0:2::1").status, 401)

    def test_attack_71_one_old_password_does_not_lock_out_an_address(self) -> None:
        """A client repeats a wrong password until it is refused, and on; another user of the same address logs in."""
        extra = "[authentication]\nlockout_after = 3\nremember_password = 0\n"
        gate = self.gateway(site(ROUTES, extra=extra, perimeter=FRONT), USERS)
        shared = "X-Forwarded-For: 198.51.100.1"
        statuses = [self.ask(gate, basic("bob", "old"), shared).status for _ in range(30)]
        self.assertEqual(set(statuses), {401, 429})
        self.assertEqual(self.ask(gate, basic("alice", "secret"), shared).status, 200)
        # guesses at many names from there are refused in the end
        statuses = [self.ask(gate, basic(f"user{number}", "old"), shared).status for number in range(12)]
        self.assertEqual(set(statuses), {401, 429})
        self.assertEqual(self.ask(gate, basic("alice", "secret"), shared).status, 429)

    def test_attack_30_who_is_remembered_or_has_a_token_is_not_locked_out(self) -> None:
        good = basic("bob", "hunter2")
        self.assertEqual(self.ask(self.gate, good).status, 200)
        token = json.loads(self.ask(self.gate, good, target="/token").body)["access_token"]
        self.until_refused(("bob", "") for _ in count())
        self.until_refused((f"user{n}", "127.0.0.1") for n in count())
        self.assertEqual(self.ask(self.gate, good).status, 200)
        self.assertEqual(self.ask(self.gate, bearer(token)).status, 200)

    def test_attack_30_the_right_password_does_not_show_during_the_wait(self) -> None:
        self.until_refused(("bob", "") for _ in count())
        statuses = set()
        for password in ("guess-again", "hunter2"):
            response = self.ask(self.gate, basic("bob", password), f"X-Forwarded-For: {next(self.addresses)}")
            statuses.add(response.status)
            if response.status != 429:
                return  # a slow machine: the delay had ended
        self.assertEqual(statuses, {429})

    def test_attack_30_guesses_at_the_same_time(self) -> None:
        """Twenty parallel guesses do not cost only one delay."""
        statuses: list[int] = []

        def one(number: int) -> None:
            with self.gate.connect("http") as wire:
                address = f"X-Forwarded-For: 203.0.113.{number}"
                statuses.append(wire.get("/", basic("alice", f"guess{number}"), address).status)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(len(statuses), 20)
        self.assertEqual(set(statuses), {401, 429})
        # on a slow machine a delay of a second or two may end meanwhile
        self.assertLessEqual(statuses.count(401), 6)


class SharedStateTests(CredentialCase):
    """33: no user ever gets the identity of another."""

    def test_attack_33_shared_state_across_realms(self) -> None:
        files = {"a.realm": "alice: same,a\n", "b.realm": "alice: same,b\n"}
        extra = "[authenticator a]\ntype = realmfile\npath = a.realm\n\n[authenticator b]\ntype = realmfile\npath = b.realm\n"
        gateway = self.gateway(site(ROUTES, extra=extra), {"users.realm": "nobody: xx\n", **files})
        narrowings = ((), ("X-Auth-Realm: a",), ("X-Auth-Realm: b",), ("X-Auth-Realm: b, a",))
        expected = (("alice", "a", "a"), ("alice", "a", "a"), ("alice", "b", "b"), ("alice", "a", "a"))
        with gateway.connect("http") as wire:
            for _ in range(20):
                for narrowing, identity in zip(narrowings, expected, strict=True):
                    self.assertEqual(self.identity(wire.get("/", basic("alice", "same"), *narrowing)), identity)

    def test_attack_49_narrowing_admits_no_user_whom_the_chain_refuses(self) -> None:
        """The realm ``guests`` has a ``root`` of its own, and the route is for ``root``."""
        files = {"staff.realm": "root: of-staff\n", "guests.realm": "root: of-guests\nmary: x\n"}
        extra = "".join(f"[authenticator {one}]\ntype = realmfile\npath = {one}.realm\n\n" for one in ("staff", "guests"))
        gateway = self.gateway(
            site(ROUTES.replace("path = /\n", "path = /\nallow = user:root\n", 1), extra=extra),
            {"users.realm": "nobody: x\n", **files},
        )
        with gateway.connect("http") as wire:
            for realms in ((), ("X-Auth-Realm: guests",), ("X-Auth-Realm: guests, staff",)):
                self.assertEqual(wire.get("/", basic("root", "of-guests"), *realms).status, 401, realms)
            self.assertEqual(
                self.identity(wire.get("/", basic("root", "of-staff"), "X-Auth-Realm: staff"))[:2], ("root", "staff")
            )
            self.assertEqual(wire.get("/", basic("root", "of-staff"), "X-Auth-Realm: guests").status, 401)
            self.assertEqual(wire.get("/", basic("mary", "x"), "X-Auth-Realm: guests").status, 403, "other names still log in")

    def test_attack_33_shared_state_of_interleaved_logins(self) -> None:
        """Logins that overtake each other in the same authenticator, on connections that are kept and used again."""
        answer = 'echo "{\\"result\\": \\"accept\\", \\"roles\\": [\\"role-of-$name\\"]}"'
        slow = "case $name in *[02468]) sleep 0.3;; esac"
        name = """name=$(printf %s "$question" | sed 's/.*"username": "\\([a-z0-9]*\\)".*/\\1/')"""
        text = f"read -r question\n{name}\n{slow}\n{answer}"
        extra = self.stack(self.program(text)) + "\n[authentication]\nremember_password = 0\n"
        gateway = self.gateway(site(ROUTES, extra=extra), USERS)
        found: list[tuple[str, tuple[str, str, str]]] = []

        def one(name: str) -> None:
            with gateway.connect("http") as wire:
                for _ in range(2):
                    found.append((name, self.identity(wire.get("/", basic(name, "x"), "X-Auth-Realm: stack"))))

        threads = [threading.Thread(target=one, args=(f"user{number}",)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(len(found), 40)
        for name, identity in found:
            self.assertEqual(identity, (name, "stack", f"role-of-{name}"))

    def test_attack_33_shared_state_of_credentials_in_a_list(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        alice, bob = (basic(*pair).partition(": ")[2] for pair in (("alice", "secret"), ("bob", "hunter2")))
        for _ in range(3):
            for value, name in ((f"{alice}, {bob}", "alice"), (f"{bob}, {alice}", "bob"), (bob, "bob"), (alice, "alice")):
                self.assertEqual(self.identity(self.ask(gateway, f"Authorization: {value}"))[0], name)


class ClientsChoiceTests(CredentialCase):
    """34: a client can only narrow the configured realms."""

    def test_attack_34_configuration_chosen_by_the_client(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        token = json.loads(self.ask(gateway, basic("alice", "secret"), target="/token").body)["access_token"]
        chosen = ("X-Ldap-Server: ldap://127.0.0.1:1", "X-Ldap-Base-Dn: dc=evil", "X-Ldap-Url: ldap://evil", "X-Auth-Type: none")
        for credential in (basic("alice", "secret"), bearer(token)):
            for narrowing, status in (
                ("X-Auth-Realm: local", 200),
                ("X-Auth-Realm: other, local", 200),
                ("X-Auth-Realm: other", 401),
                ("X-Auth-Realm: LOCAL", 401),
                ("X-Auth-Realm: *", 401),
                ("X-Auth-Realm: ", 401),
                ("X-Auth-Realm: local\tx", 401),
            ):
                for _ in range(2):  # the second time from the cache
                    self.assertEqual(self.ask(gateway, credential, narrowing).status, status, (credential[:20], narrowing))
            self.assertEqual(self.identity(self.ask(gateway, credential, *chosen))[:2], ("alice", "local"))
        for headers in (chosen, ("X-Auth-Realm: local", "X-Auth-Username: alice", "X-Auth-Roles: admin")):
            self.assertEqual(self.ask(gateway, *headers).status, 401)
        self.assertEqual(self.ask(gateway, basic("alice", "wrong"), *chosen).status, 401)


class StaleAuthorityTests(CredentialCase):
    """39: a removed user or role stops working within a second, which is the time between two checks of the file."""

    def test_attack_39_stale_authority_of_remembered_passwords(self) -> None:
        gateway = self.gateway(site(ROUTES, extra="[authentication]\nremember_password = 1h\n"), USERS)
        users = gateway.directory / "users.realm"
        alice, bob = basic("alice", "secret"), basic("bob", "hunter2")
        for credential in (alice, bob):
            self.assertEqual(self.ask(gateway, credential).status, 200)
        self.assertEqual(self.ask(gateway, alice, target="/admin").status, 200)
        users.write_text("alice: secret,ops\nbob: hunter2\n")
        eventually(lambda: self.ask(gateway, alice, target="/admin").status == 403, "a role that was taken away")
        self.assertEqual(self.identity(self.ask(gateway, alice))[2], "ops")
        users.write_text("alice: changed\nbob: hunter2\n")
        eventually(lambda: self.ask(gateway, alice).status == 401, "a password that was changed")
        users.write_text("alice: changed\n")
        eventually(lambda: self.ask(gateway, bob).status == 401, "a user who left")

    def test_attack_39_stale_authority_of_login_modules(self) -> None:
        extra = "[authenticator stack]\ntype = login-modules\nmodules = realmfile required\noption.path = more.realm\n"
        gateway = self.gateway(site(ROUTES, extra=extra), {**USERS, "more.realm": "carol: correct-horse,admin\n"})
        carol = basic("carol", "correct-horse")
        self.assertEqual(self.ask(gateway, carol, target="/admin").status, 200)
        (gateway.directory / "more.realm").write_text("carol: correct-horse\n")
        eventually(lambda: self.ask(gateway, carol, target="/admin").status == 403, "a role that was taken away")

    def test_attack_39_stale_authority_after_a_reload(self) -> None:
        gateway = self.gateway(
            site(ROUTES, extra="[authenticator more]\ntype = realmfile\npath = more.realm\n"),
            {**USERS, "more.realm": "carol: correct-horse,admin\n"},
        )
        carol = basic("carol", "correct-horse")
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get("/", carol).status, 200)
            gateway.configure(site(ROUTES))
            gateway.reload()
            self.assertEqual(wire.get("/", carol).status, 401)


class FailOpenTests(CredentialCase):
    """41: no failure admits a user, and no other authenticator is asked in place of one that failed."""

    def failing(self, text: str, more: str = "") -> Gateway:
        """A stack that fails before a realm file that knows all users."""
        extra = self.stack(self.program(text), more=more) + "\n[authentication]\norder = stack, local\n"
        return self.gateway(site(ROUTES, extra=extra), USERS)

    def test_attack_41_fail_open_when_a_backend_breaks(self) -> None:
        for text in ("exit 1", "echo yes", "kill -SEGV $$", 'echo \'{"result": "acceptable"}\''):
            gateway = self.failing(text)
            response = self.ask(gateway, basic("alice", "secret"))
            self.assertEqual(response.status, 503, text)
            self.assertGreaterEqual(int(response.get("retry-after") or 0), 1)
            # the stack might have refused this password: naming another realm does not spare the question (attack 49)
            self.assertEqual(self.ask(gateway, basic("alice", "secret"), "X-Auth-Realm: local").status, 503, text)
            gateway.stop()

    def test_attack_41_fail_open_when_a_backend_hangs_which_costs_one_timeout(self) -> None:
        directory = self.directory()
        asked = directory / "asked"
        gateway = self.failing(f"echo asked >>{asked}\nsleep 60", more="option.deadline = 60s\ntimeout = 1s")
        times = []
        for number in range(6):
            began = time.monotonic()
            response = self.ask(gateway, basic(f"user{number}", "x"))
            times.append(time.monotonic() - began)
            self.assertEqual(response.status, 503)
            self.assertIsNotNone(response.get("retry-after"))
        tries = asked.read_text().count("asked")
        self.assertLess(tries, 6, f"every request waited: {times}")
        gateway.await_log("Authenticator stack is down")

    def test_attack_41_fail_open_and_recovery_by_itself(self) -> None:
        directory = self.directory()
        broken = directory / "broken"
        broken.touch()
        gateway = self.failing(f'[ -e {broken} ] && exit 1\necho \'{{"result": "accept", "roles": ["admin"]}}\'')
        statuses = [self.ask(gateway, basic("carol", "x")).status for _ in range(5)]
        self.assertEqual(statuses, [503] * 5)
        broken.unlink()
        eventually(lambda: self.ask(gateway, basic("carol", "x"), target="/admin").status == 200, "it works again", 40)

    def test_attack_41_fail_open_when_remembered_and_down(self) -> None:
        """Users who were verified before are still admitted, and no others."""
        directory = self.directory()
        broken = directory / "broken"
        gateway = self.failing(f'[ -e {broken} ] && exit 1\necho \'{{"result": "accept"}}\'')
        carol = basic("carol", "x")
        token = json.loads(self.ask(gateway, carol, target="/token").body)["access_token"]
        broken.touch()
        self.assertEqual(self.ask(gateway, carol).status, 200)
        self.assertEqual(self.ask(gateway, bearer(token)).status, 200)
        self.assertEqual(self.ask(gateway, basic("carol", "y")).status, 503)
        self.assertEqual(self.ask(gateway, basic("dave", "x")).status, 503)

    def test_attack_41_fail_open_by_a_configuration_that_cannot_be(self) -> None:
        good = self.stack(self.program("exit 1"))
        for wrong, words in (
            (good.replace("required", "requierd"), "did you mean command required?"),
            (good.replace("command required", "comand required"), "there is no login module 'comand', did you mean command?"),
            (good.replace("option.command", "option.comand"), "option.command: is required"),
            (good + "option.dealine = 1s\n", "option.dealine: unknown option"),
            ("[authenticator front]\ntype = trusted-header\n", "networks: is required"),
            ("[authenticator front]\ntype = trusted-header\nnetworks = 0.0.0.0/0\n", "would trust every peer"),
            ("[authenticator cards]\ntype = certificate\nissuer = nobody\n", "expected a distinguished name"),
            ("[authentication]\nlockout_after = never\n", "lockout_after: expected"),
        ):
            gateway = self.unstarted(site(ROUTES, extra=wrong), USERS)
            gateway.launch()
            self.assertNotEqual(gateway.wait(), 0)
            self.assertIn(words, gateway.log)
            gateway.kill()

    def test_attack_41_fail_open_when_the_client_leaves(self) -> None:
        """A login whose client has left admits no later request."""
        directory = self.directory()
        go = directory / "go"
        gateway = self.failing(f'until [ -e {go} ]; do sleep 0.1; done\necho \'{{"result": "reject"}}\'', more="timeout = 30s")
        for _ in range(3):
            wire = Wire(gateway["http"])
            wire.send(f"GET / HTTP/1.1\r\nHost: gateway.test\r\n{basic('alice', 'secret')}\r\n\r\n".encode())
            with contextlib.closing(wire):
                pass
        go.touch()
        eventually(lambda: self.ask(gateway, basic("alice", "secret")).status == 401, "an answer")
