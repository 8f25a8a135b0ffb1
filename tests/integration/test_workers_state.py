"""Tokens, sessions, keys and wrong passwords in a gateway with several workers: each knows what the others know."""

from __future__ import annotations

import os
import signal
import time

from tests.integration.each_worker import ALICE, BOB, FORM, EachWorkerCase, worker_processes
from tests.integration.ports import eventually
from tests.integration.wire import basic, bearer

TRIES = 60


class RevocationTests(EachWorkerCase):
    def test_attack_88_what_is_revoked_is_refused_by_every_worker(self) -> None:
        for number in range(TRIES):
            first, second = number % self.count, (number // self.count) % self.count
            made = self.made(first)
            line = bearer(made["token"])
            self.assertEqual(self.statuses(line), [200] * self.count, "it is known everywhere once it is answered")
            self.assertEqual(self.ask(second, f"/token/{made['id']}", ALICE, method="DELETE").status, 204)
            self.assertEqual(self.statuses(line), [401] * self.count)

            token = self.access_token(first)
            self.assertEqual(self.statuses(bearer(token)), [200] * self.count)
            self.assertEqual(self.ask(second, "/revoke", FORM, method="POST", body=f"token={token}".encode()).status, 200)
            self.assertEqual(self.statuses(bearer(token)), [401] * self.count)

    def test_attack_88_a_session_ends_in_every_worker(self) -> None:
        for number in range(TRIES // 3):
            first, second = number % self.count, (number + 1) % self.count
            cookie = self.sign_in(first)
            self.assertEqual(self.statuses(cookie), [200] * self.count)
            page = self.ask(second, "/.perimeter/logout", cookie).text
            form = page.split('name="token" value="')[1].split('"')[0] if 'name="token" value="' in page else ""
            left = self.ask(second, "/.perimeter/logout", cookie, FORM, method="POST", body=f"token={form}".encode())
            self.assertEqual(left.status, 303, left)
            self.assertEqual(self.statuses(cookie), [401] * self.count)

    def test_attack_88_a_user_is_revoked_in_every_worker(self) -> None:
        lines = [bearer(self.made(0)["token"]), bearer(self.access_token(1)), self.sign_in(2)]
        other = bearer(self.made(0, BOB)["token"])
        for line in (*lines, other):
            self.assertEqual(self.statuses(line), [200] * self.count)
        self.command("token", "revoke", "--user", "alice", "--realm", "local")
        for line in lines:
            self.assertEqual(self.statuses(line), [401] * self.count, line)
        self.assertEqual(self.statuses(other), [200] * self.count)

    def test_a_worker_that_is_stopped_delays_a_revocation_by_250_ms(self) -> None:
        made = self.made(0)
        line = bearer(made["token"])
        self.assertEqual(self.statuses(line), [200] * self.count)
        stopped = worker_processes(self.served)[1]
        os.kill(stopped.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            self.assertEqual(self.ask(0, f"/token/{made['id']}", ALICE, method="DELETE").status, 204)
            took = time.monotonic() - began
            self.assertEqual([self.ask(slot, "/x", line).status for slot in (0, 2)], [401, 401])
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        self.assertTrue(0.25 <= took < 1.5, took)
        self.served.await_log("not in force in the worker of slot 1 yet")
        eventually(lambda: self.ask(1, "/x", line).status == 401, "the worker goes on")

    def test_attack_88_a_worker_that_is_started_anew_knows_what_was_revoked(self) -> None:
        tokens = [self.made(0) for _ in range(3)]
        self.assertEqual(self.ask(0, f"/token/{tokens[0]['id']}", ALICE, method="DELETE").status, 204)
        before = worker_processes(self.served)[2]
        os.kill(before.pid, signal.SIGKILL)
        self.assertEqual(self.ask(0, f"/token/{tokens[1]['id']}", ALICE, method="DELETE").status, 204)
        eventually(lambda: worker_processes(self.served).get(2) not in (None, before), "another worker is started")
        del self.wires[2]
        self.reach_all()
        self.assertEqual([self.ask(2, "/x", bearer(one["token"])).status for one in tokens], [401, 401, 200])


class KeysTests(EachWorkerCase):
    def test_attack_88_discarded_keys_verify_nothing_in_any_worker(self) -> None:
        tokens = [bearer(self.access_token(slot)) for slot in self.wires]
        for line in tokens:
            self.assertEqual(self.statuses(line), [200] * self.count)
        self.command("keys", "rotate", "--discard")
        began = time.monotonic()
        eventually(lambda: all(self.statuses(line) == [401] * self.count for line in tokens), "the keys are gone")
        self.assertLess(time.monotonic() - began, 3.0)

    def test_a_token_under_a_key_that_a_worker_does_not_have_yet(self) -> None:
        for _ in range(3):
            self.command("keys", "rotate")
            self.command("keys", "rotate")
            before = self.access_token(0)
            for slot in self.wires:
                self.assertEqual(self.ask(slot, "/x", bearer(self.access_token(slot))).status, 200)
                self.assertEqual(self.ask(slot, "/x", bearer(before)).status, 200)


class GuessingTests(EachWorkerCase):
    extra = "[authentication]\nlockout_after = 4\nlockout_after_address = 0\n"

    def refused(self, line: str) -> list[bool]:
        """Whether each worker refuses even to look at a password."""
        return [status == 429 for status in self.statuses(line)]

    def test_attack_90_wrong_passwords_count_in_every_worker(self) -> None:
        wrong = basic("alice", "wrong")
        made = 0
        while self.ask(made % self.count, "/x", wrong).status == 401:
            made += 1
            self.assertLess(made, 20)
            time.sleep(0.1)  # the others know of it by then
        self.assertEqual(made, 4)
        for _ in range(2):  # then the lockout is long enough for what follows
            eventually(lambda: self.ask(made % self.count, "/x", wrong).status == 401, "it may be tried again", 10)
        time.sleep(0.2)
        self.assertEqual(self.refused(ALICE), [True] * self.count, "the right password has to wait everywhere")
        self.assertEqual(self.statuses(BOB), [200] * self.count)
        self.command("unban", "alice")
        self.assertEqual(self.statuses(ALICE), [200] * self.count)

    def test_attack_90_guesses_at_all_workers_at_the_same_time(self) -> None:
        """An attacker gets as many as each worker verifies at a time, and then a lockout for all of them."""
        guesses = 0
        for number in range(100):
            for slot, wire in self.wires.items():
                line = basic("alice", f"wrong-{slot}-{number}")
                wire.send(f"GET /x HTTP/1.1\r\nHost: gateway.test\r\n{line}\r\n\r\n".encode())
            guesses += [wire.response().status for wire in self.wires.values()].count(401)
        self.assertLessEqual(guesses, 4 * self.count)
        self.assertGreaterEqual(guesses, 4)
        self.assertEqual(self.refused(ALICE), [True] * self.count)

    def test_attack_90_a_worker_that_is_started_anew_knows_the_lockouts(self) -> None:
        for number in range(8):
            eventually(lambda number=number: self.ask(0, "/x", basic("alice", f"no-{number}")).status == 401, "it is tried", 20)
        before = worker_processes(self.served)[1]
        os.kill(before.pid, signal.SIGKILL)
        eventually(lambda: worker_processes(self.served).get(1) not in (None, before), "another worker is started")
        del self.wires[1]
        self.reach_all()
        self.assertEqual(self.refused(ALICE), [True] * self.count)


class SessionTests(EachWorkerCase):
    extra = "[login]\nidle = 4s\n"

    def test_a_session_that_is_used_in_one_worker_does_not_end_in_another(self) -> None:
        cookie = self.sign_in(0)
        for _ in range(12):
            time.sleep(0.5)
            self.assertEqual(self.ask(0, "/x", cookie).status, 200)
        self.assertEqual(self.statuses(cookie), [200] * self.count)
        time.sleep(4.2)
        self.assertEqual(self.statuses(cookie), [401] * self.count)
