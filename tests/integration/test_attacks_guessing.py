"""Guessing passwords against running gateways: guesses count, cost the same, and delay no other user (attacks 47 and 52)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from math import inf

from perimeter.auth.passwords.making import make
from tests.integration.harness import Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import Response, basic

ROUTES = """\
[route files]
path = /files
static = public
auth = none

[upstream sample]
servers = sample:

[route all]
path = /
upstream = sample
"""

FRONT = "trusted_proxies = 127.0.0.1"
"""Lets a test come from any address."""

GUESSER = "X-Forwarded-For: 198.51.100.1"
OTHER = "X-Forwarded-For: 203.0.113.1"


class GuessingCase(GatewayCase):
    allowed = 3

    def start(self, files: dict[str, str], extra: str = "") -> Gateway:
        extra = f"[authentication]\nlockout_after = {self.allowed}\n\n{extra}"
        return self.gateway(site(ROUTES, extra=extra, perimeter=FRONT), {"public/a.txt": "a\n", **files})

    def get(self, gateway: Gateway, target: str, *fields: str) -> Response:
        with gateway.connect("http") as wire:
            return wire.get(target, *fields)

    def leave(self, gateway: Gateway, user: str, password: str, *fields: str, target: str = "/token") -> None:
        """Send a guess and close the connection before the answer."""
        head = "\r\n".join((f"GET {target} HTTP/1.1", "Host: a", basic(user, password), *fields, "", ""))
        with gateway.connect("http") as wire:
            wire.send(head.encode())
            time.sleep(0.02)

    def counted(self, gateway: Gateway) -> bool:
        return f"{self.allowed} wrong passwords for name 'bob' of realm local" in gateway.log


class UncountedTests(GuessingCase):
    """47: a guess counts whether or not its answer is waited for."""

    def test_attack_47_guesses_without_waiting_for_the_answer(self) -> None:
        for target in ("/token", "/extendedtoken", "/", "/authenticate", "/whoami"):
            gateway = self.start({"users.realm": f"bob: {make('hunter2')}\n"})
            for number in range(self.allowed):
                self.leave(gateway, "bob", f"guess {number}", GUESSER, target=target)
            eventually(lambda gateway=gateway: self.counted(gateway), f"the guesses at {target} are counted")  # type: ignore[misc]
            gateway.stop()

    def test_attack_47_many_clients_that_leave_are_counted_and_lock_no_user_out(self) -> None:
        """14 clients guess and leave, over and over. The right password gets in once the wait for counted guesses ends."""
        gateway = self.start({"users.realm": f"bob: {make('hunter2')}\n"})
        over = threading.Event()

        def guess(client: int) -> None:
            number = 0
            while not over.is_set():
                with contextlib.suppress(OSError):
                    self.leave(gateway, "bob", f"guess {client}.{number}", f"X-Forwarded-For: 198.51.100.{client}")
                number += 1

        clients = [threading.Thread(target=guess, args=(client,)) for client in range(14)]
        for client in clients:
            client.start()
        try:
            eventually(lambda: self.counted(gateway), "the guesses are counted")
        finally:
            over.set()
            for client in clients:
                client.join(10)

        def inside() -> bool:
            return self.get(gateway, "/token", basic("bob", "hunter2"), OTHER).status == 200

        eventually(inside, "the right password gets in", 30)


class CostTests(GuessingCase):
    """47, 52: the time of an answer shows neither whether a user exists nor whether a password is right."""

    allowed = 10_000

    def seconds(self, gateway: Gateway, number: int, user: str, password: str, expected: int) -> float:
        """The time of one answer. A wrong password differs from try to try."""
        wrong = "" if expected == 200 else f" {number}"
        # a verified password is cached separately for each set of realms
        narrowed = f"X-Auth-Realm: {', '.join(['local', 'second', *['x'] * number, f'x{number}'])}"
        began = time.monotonic()
        response = self.get(gateway, "/token", basic(user, password + wrong), narrowed)
        took = time.monotonic() - began
        self.assertEqual(response.status, expected)
        return took

    def assert_alike(self, gateway: Gateway, one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
        """Two logins take the same time. The shortest times count, since a busy machine adds to the others."""
        this, that = inf, inf
        for number in range(20):
            this = min(this, self.seconds(gateway, number, *one))
            that = min(that, self.seconds(gateway, number, *other))
            if number >= 4 and abs(this - that) < 0.25 * that:
                return
        self.fail(f"{one}: {this:.3f} s, {other}: {that:.3f} s")

    def test_attack_52_an_answer_costs_the_same_whichever_realm_file_decides(self) -> None:
        files = {
            "users.realm": f"bob: {make('hunter2')}\n",
            "second.realm": f"carl: {make('hunter3')}\n",
        }
        extra = "[authenticator second]\ntype = realmfile\nrealm = second\npath = second.realm\n"
        gateway = self.start(files, extra)
        for login in (("bob", "x", 401), ("bob", "hunter2", 200), ("carl", "hunter3", 200)):
            self.assert_alike(gateway, login, ("nobody", "x", 401))

    def test_attack_47_a_right_password_costs_what_a_wrong_one_costs(self) -> None:
        gateway = self.start({"users.realm": f"bob: {make('hunter2')}\ncarl: {make('x', 'bcrypt')}\n"})
        self.assert_alike(gateway, ("bob", "hunter2", 200), ("bob", "guess", 401))


class BystanderTests(GuessingCase):
    """47: password hashes for unknown clients delay no file, and delay another client's login by one turn."""

    allowed = 10_000

    def test_attack_47_a_full_queue_is_503_with_retry_after(self) -> None:
        gateway = self.start({"users.realm": f"bob: {make('hunter2')}\n"})
        refused: Sequence[Response] = []
        answers: list[Response] = []

        def guess(client: int) -> None:
            with contextlib.suppress(OSError):
                answers.append(self.get(gateway, "/token", basic(f"user{client}", "guess"), GUESSER))

        clients = [threading.Thread(target=guess, args=(client,)) for client in range(400)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
        refused = [answer for answer in answers if answer.status == 503]
        self.assertTrue(refused, "the queue has no bound")
        self.assertTrue(all(int(answer.get("retry-after") or 0) >= 1 for answer in refused))
        self.assertEqual({answer.status for answer in answers}, {401, 503})
