"""How long users wait: for a worker that crashed, at a rate, for the end of a session, beside a client that guesses passwords."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from statistics import median

import jwt
import psutil

from perimeter.auth.passwords.making import make
from perimeter.oidc.logout_token import EVENT
from perimeter.tokens.jwk import Jwk, generate
from perimeter.workers.gathered import SLOW
from tests.integration import test_attacks_guessing, test_limits, test_provider_sessions, test_sign_in_pages, test_workers_figures
from tests.integration.each_worker import ALICE, BOB
from tests.integration.fleet import FleetCase, await_serving, workers
from tests.integration.harness import Gateway
from tests.integration.oidcpeer import Browser
from tests.integration.ports import eventually
from tests.integration.test_attacks_guessing import GUESSER, OTHER
from tests.integration.test_provider_sessions import OWN, UPGRADE
from tests.integration.test_sign_in_pages import LOGIN
from tests.integration.test_workers_figures import Figures
from tests.integration.visitor import Visitor
from tests.integration.wire import basic


class CrashTests(FleetCase):
    def others(self, gateway: Gateway, pid: int) -> int:
        """How many workers there are except ``pid``, which may have not gone yet."""
        return len([one for one in workers(gateway) if one.pid != pid])

    def test_each_further_crash_waits_longer(self) -> None:
        gateway = self.fleet(2)
        waited = []
        for _ in range(3):
            worker = workers(gateway)[1]
            worker.kill()
            began = time.monotonic()
            eventually(lambda: self.others(gateway, worker.pid) == 2, "another worker", 20)  # noqa: B023
            waited.append(time.monotonic() - began)
            await_serving(gateway, 2)
        self.assertLess(waited[0], 0.9)
        self.assertTrue(0.9 < waited[1] < 1.9, waited)
        self.assertTrue(1.9 < waited[2] < 3.5, waited)


class RateTests(test_limits.LimitCase):
    def test_a_body_is_read_at_the_rate(self) -> None:
        """Of 350 KiB, 100 come at once, and one read more than the rate allows."""
        began = time.monotonic()
        self.assertEqual(self.connect_once().get("/body", ALICE, method="POST", body=b"x" * 350 * 1024).status, 200)
        self.assertGreater(time.monotonic() - began, 1.0)
        began = time.monotonic()
        self.assertEqual(self.connect_once().get("/body", BOB, method="POST", body=b"x" * 50 * 1024).status, 200)
        self.assertLess(time.monotonic() - began, 1.0)


def signed(key: Jwk, claims: dict[str, object]) -> str:
    """A logout token with these claims."""
    headers = {"kid": key.kid, "typ": "logout+jwt"}
    return jwt.encode(claims, key.private, key.algorithm, headers=headers)  # type: ignore[arg-type]


class SignOutTests(test_provider_sessions.ProviderSessionCase):
    def attack_o6_tokens_that_the_provider_has_not_signed(self, visitor: Visitor) -> None:
        with self.served.connect("https") as wire:
            own = json.loads(wire.get("/token", basic("alice", "secret")).text)["access_token"]
        now = int(time.time())
        claims = {"iss": self.peer.url, "aud": "gateway", "sub": "account-7", "jti": "1", "iat": now, "exp": now + 60}
        forged = [signed(generate("ES256"), {**claims, "events": {EVENT: {}}}) for _ in range(50)]
        for token in (own, "", "a.b.c", *forged):
            answer = visitor.post(f"{OWN}backchannel/corp", {"logout_token": token})
            self.assertEqual((answer.status_code, answer.json()), (400, {"error": "invalid_request"}))
        self.assertEqual(self.status(visitor), 200)
        self.assertNotIn(own, self.served.log)

    def test_attack_o6_back_channel_logout_ends_the_session_and_its_websocket(self) -> None:
        self.begin(workers=2)
        there = Browser()
        visitor, other = self.sign_in(there), self.sign_in()
        self.attack_o6_tokens_that_the_provider_has_not_signed(visitor)
        wire, others = self.connect(self.served), self.connect(self.served)
        self.assertEqual(wire.get("/socket", self.cookie(visitor), *UPGRADE).status, 101)
        self.assertEqual(others.get("/socket", self.cookie(other), *UPGRADE).status, 101)
        began = time.monotonic()
        there.sign_out(f"{self.peer.url}/session/end")
        self.assertEqual([self.status(visitor) for _ in range(4)], [401] * 4)
        self.assertTrue(wire.closed())
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertEqual(self.status(other), 200)
        said = [line for line in self.served.audit() if "backchannel" in line][-1]
        self.assertIn("127.0.0.1 alice [", said)


class BystanderTests(test_attacks_guessing.GuessingCase):
    """47: password hashes for unknown clients delay no file, and delay another client's login by one turn."""

    allowed = 10_000

    def login(self, gateway: Gateway, user: str, password: str) -> float:
        return self.timed(gateway, "/token", basic(user, password), OTHER)

    def timed(self, gateway: Gateway, target: str, *fields: str) -> float:
        began = time.monotonic()
        self.assertEqual(self.get(gateway, target, *fields).status, 200)
        return time.monotonic() - began

    def test_attack_47_a_guesser_delays_only_itself(self) -> None:
        gateway = self.start({"users.realm": f"bob: {make('hunter2')}\nalice: {make('secret')}\n"})
        alone = self.login(gateway, "alice", "secret")
        over = threading.Event()
        statuses: list[int] = []

        def guess(client: int) -> None:
            number = 0
            while not over.is_set():
                with contextlib.suppress(OSError):
                    statuses.append(self.get(gateway, "/token", basic(f"user{client}", f"guess {number}"), GUESSER).status)
                number += 1

        clients = [threading.Thread(target=guess, args=(client,)) for client in range(40)]
        for client in clients:
            client.start()
        try:
            eventually(lambda: statuses, "the guesser is at work")
            files = [self.timed(gateway, "/files/a.txt") for _ in range(20)]
            login = self.login(gateway, "bob", "hunter2")
        finally:
            over.set()
            for client in clients:
                client.join(30)
        # 40 guesses before it would take a second or more; a hash takes a tenth.
        self.assertLess(median(files), 0.1, "a file does not wait for hashes")
        self.assertLess(login, 6 * alone + 0.3, "another client's login waits for its turn alone")
        self.assertLessEqual(set(statuses), {401, 503})


class SlowWorkerTests(test_workers_figures.FiguresCase):
    def test_a_worker_that_does_not_run_is_slow_and_delays_a_scrape_by_a_second(self) -> None:
        gateway = self.fleet(2)
        await_serving(gateway, 2)
        self.lasting(gateway, 12)
        before = self.scrape(gateway)
        for slot, process in enumerate(workers(gateway)):
            self.one_is_slow(gateway, slot, process, before)

    def one_is_slow(self, gateway: Gateway, slot: int, process: psutil.Process, before: Figures) -> None:
        with self.stopped(process):
            began = time.monotonic()
            figures = self.scrape(gateway)
            took = time.monotonic() - began
            status = self.status(gateway)
        self.assertLess(took, SLOW + 0.5)
        self.assert_no_less(before, figures)
        self.assertEqual([figures("perimeter_worker_slow", slot=str(one)) for one in range(2)], [slot == 0, slot == 1])
        self.assertEqual([one["slow"] for one in status["workers"]], [slot == 0, slot == 1])
        self.assertIn(("worker", "does not answer"), [(one["subject"], one["message"][-15:]) for one in status["problems"]])
        eventually(lambda: self.scrape(gateway).total("perimeter_worker_slow") == 0, "no slow worker")


class NameTests(test_sign_in_pages.PagesCase):
    def test_attack_78_names_cannot_be_told_apart(self) -> None:
        """One sentence, one status, and the time of a password hash for each."""
        users = {"users.realm": f"alice: {make('secret')}\n"}
        gateway = self.serve("[authentication]\nlockout_after = 0\nlockout_after_address = 0\n", users)
        visitor = self.visitor(gateway)
        answers, times = set(), {}
        for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("ALICE", "wrong"), ("alice", ""), ("", "wrong")):
            took = []
            for _ in range(7):
                form = visitor.form(LOGIN, "login")
                began = time.perf_counter()
                answer = visitor.post(LOGIN, {**form.fields, "username": name, "password": password})
                took.append(time.perf_counter() - began)
            text = re.sub(r'(nonce|value)="[^"]*"', "", answer.text).replace(" autofocus", "")
            answers.add((answer.status_code, text))
            times[name, password] = median(took)
        self.assertEqual([status for status, _ in answers], [403])
        self.assertLess(times["nobody", "wrong"] / times["alice", "wrong"], 2.5, times)
        self.assertGreater(times["nobody", "wrong"] / times["alice", "wrong"], 0.4, times)
