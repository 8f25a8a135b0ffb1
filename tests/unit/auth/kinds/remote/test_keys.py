"""The key set of another issuer on a fake clock: the moments at which it is fetched, renewed, kept and given up."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from perimeter.auth.kinds.remote.keys import RemoteKeys
from perimeter.errors import Unavailable, Undecided
from perimeter.tokens.jwk import Jwk, generate
from perimeter.web_client.client import RemoteAnswer

OLD, NEW, THIRD = generate("ES256"), generate("ES256"), generate("ES256")


class Issuer:
    """Stands for `perimeter.web_client.client.RemoteClient`. Answers with ``keys`` and ``status`` when ``answer`` is called."""

    service = "the issuer"

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.status = 200
        self.fetches: list[Deferred[RemoteAnswer]] = []

    def get(self, url: str) -> Deferred[RemoteAnswer]:
        assert url == "https://iam.example/certs"
        self.fetches.append(Deferred())
        return self.fetches[-1]

    def answer(self) -> None:
        """Answer the latest fetch."""
        self.fetches[-1].callback(RemoteAnswer(self.service, self.status, json.dumps({"keys": self.keys}).encode()))


class KeysTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.issuer = Issuer(OLD.members())
        self.keys = self.made()

    def made(self, cache: float = 600.0, cooldown: float = 30.0) -> RemoteKeys:
        return RemoteKeys(self.issuer, "https://iam.example/certs", cache, cooldown, self.clock)  # type: ignore[arg-type]

    def find(self, key: Jwk) -> Deferred[tuple[Jwk, ...]]:
        return ensureDeferred(self.keys.find(key.kid, "ES256"))

    def fetched(self, key: Jwk = OLD) -> Deferred[tuple[Jwk, ...]]:
        """Ask for a key, which must cause a fetch, and answer it."""
        before = len(self.issuer.fetches)
        found = self.find(key)
        self.assertEqual(len(self.issuer.fetches), before + 1)
        self.issuer.answer()
        return found

    def found_at_once(self, key: Jwk = OLD) -> tuple[Jwk, ...]:
        """The keys that are found without a fetch."""
        before = len(self.issuer.fetches)
        found = self.successResultOf(self.find(key))
        self.assertEqual(len(self.issuer.fetches), before)
        return found  # type: ignore[no-any-return]

    def test_the_first_token_fetches_the_keys(self) -> None:
        self.assertEqual([key.kid for key in self.successResultOf(self.fetched())], [OLD.kid])
        self.assertEqual([key.kid for key in self.found_at_once()], [OLD.kid])

    def test_a_failed_fetch_is_repeated_after_five_seconds_or_the_cooldown(self) -> None:
        for cooldown, pause in ((30.0, 5.0), (2.0, 2.0)):
            self.keys = self.made(cooldown=cooldown)
            self.issuer.status = 500
            self.failureResultOf(self.fetched(), Unavailable)
            self.clock.advance(pause - 0.25)
            before = len(self.issuer.fetches)
            error = self.failureResultOf(self.find(OLD), Unavailable).value
            self.assertIn("500", error.detail)
            self.assertEqual(len(self.issuer.fetches), before)
            self.clock.advance(0.25)
            self.issuer.status = 200
            self.assertEqual(len(self.successResultOf(self.fetched())), 1)

    def test_a_failure_is_forgotten_after_a_success(self) -> None:
        self.issuer.status = 500
        self.failureResultOf(self.fetched(), Unavailable)
        self.clock.advance(5)
        self.issuer.status = 200
        self.successResultOf(self.fetched())
        self.assertEqual(self.found_at_once(NEW), (), "the key is not known, and nothing has failed")

    def test_a_cancelled_fetch_leaves_no_keys(self) -> None:
        waiting = self.find(OLD)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        error = self.failureResultOf(self.find(OLD), Unavailable).value
        self.assertEqual(error.detail, "the keys of the issuer are not available")
        self.clock.advance(30)
        self.successResultOf(self.fetched())

    def test_keys_are_used_until_their_time_is_over(self) -> None:
        self.keys = self.made(cache=60.0, cooldown=60.0)
        self.successResultOf(self.fetched())
        self.clock.advance(59.75)
        self.assertEqual(len(self.found_at_once()), 1)
        self.clock.advance(0.25)
        self.issuer.status = 500
        self.failureResultOf(self.fetched(), Unavailable)

    def test_keys_are_renewed_after_half_of_their_time(self) -> None:
        self.successResultOf(self.fetched())
        self.clock.advance(300)
        self.assertEqual(len(self.found_at_once()), 1)
        self.clock.advance(0.25)
        self.assertEqual(len(self.successResultOf(self.find(OLD))), 1)
        self.assertEqual(len(self.issuer.fetches), 2)
        self.assertEqual(len(self.found_at_once()), 1, "one renewal at a time")
        self.issuer.answer()
        self.clock.advance(300)
        self.assertEqual(len(self.found_at_once()), 1, "the time counts from the renewal")

    def test_a_renewal_waits_for_the_cooldown(self) -> None:
        self.keys = self.made(cache=60.0, cooldown=40.0)
        self.successResultOf(self.fetched())
        self.clock.advance(39.75)
        self.found_at_once()
        self.clock.advance(0.25)
        self.successResultOf(self.find(OLD))
        self.assertEqual(len(self.issuer.fetches), 2)

    def test_a_renewal_that_fails_is_logged_and_repeated(self) -> None:
        self.successResultOf(self.fetched())
        self.clock.advance(301)
        self.issuer.status = 500
        with capturedLogs() as events:
            self.successResultOf(self.find(OLD))
            self.issuer.answer()
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])
        self.clock.advance(4.75)
        self.found_at_once()
        self.clock.advance(0.25)
        self.successResultOf(self.find(OLD))
        self.assertEqual(len(self.issuer.fetches), 3)

    def test_an_unknown_key_is_looked_for_after_the_cooldown(self) -> None:
        self.successResultOf(self.fetched())
        self.clock.advance(29.75)
        self.assertEqual(self.found_at_once(NEW), ())
        self.clock.advance(0.25)
        self.issuer.keys.append(NEW.members())
        self.assertEqual([key.kid for key in self.successResultOf(self.fetched(NEW))], [NEW.kid])

    def test_an_unknown_key_while_the_issuer_fails_is_undecided(self) -> None:
        self.successResultOf(self.fetched())
        self.clock.advance(30)
        self.issuer.status = 500
        self.failureResultOf(self.fetched(NEW), Undecided)
        before = len(self.issuer.fetches)
        error = self.failureResultOf(self.find(NEW), Undecided).value
        self.assertIn("500", error.detail)
        self.assertEqual(len(self.issuer.fetches), before)
        self.assertEqual(len(self.found_at_once(OLD)), 1)

    def test_requests_for_unknown_keys_share_a_fetch_that_is_under_way(self) -> None:
        self.successResultOf(self.fetched())
        self.clock.advance(30)
        waiting = [self.find(NEW), self.find(THIRD)]
        self.assertEqual(len(self.issuer.fetches), 2)
        self.issuer.keys.append(NEW.members())
        self.issuer.answer()
        self.assertEqual([len(self.successResultOf(one)) for one in waiting], [1, 0])

    def test_changed_is_called_for_other_keys_alone(self) -> None:
        changes: list[float] = []
        self.keys.changed = lambda: changes.append(self.clock.seconds())
        self.successResultOf(self.fetched())
        self.clock.advance(600)
        self.successResultOf(self.fetched())
        self.assertEqual(changes, [], "neither the first keys nor the same ones")
        self.clock.advance(600)
        self.issuer.keys = [NEW.members()]
        self.successResultOf(self.fetched(NEW))
        self.assertEqual(changes, [1200.0])

    def test_a_key_that_is_left_out_is_logged_once(self) -> None:
        self.issuer.keys.append({"kty": "oct", "k": "c2VjcmV0"})
        with capturedLogs() as events:
            self.successResultOf(self.fetched())
            self.clock.advance(600)
            self.successResultOf(self.fetched())
        self.assertEqual(len(events), 1)
