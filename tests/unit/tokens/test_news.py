"""What another process has written a moment ago: API tokens, keys. It is looked for once before a client is refused."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.logger import capturedLogs

from perimeter.errors import (
    ExpiredToken,
    InvalidToken,
    NoSuchToken,
    Overloaded,
    StateUnavailable,
    Unavailable,
    UncheckedToken,
    UnknownKey,
    UnknownToken,
)
from perimeter.limits.memory import LimitMemory
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.secrets_key import SecretsKey
from perimeter.sessions.stored import SESSIONS
from perimeter.state.direct import DirectState
from perimeter.state.memory import MemoryStore
from perimeter.state.state import State
from perimeter.state.writer import look
from perimeter.tokens.api_token import ApiToken, mint
from perimeter.tokens.book import TokenBook
from perimeter.tokens.check import TokenCheck
from perimeter.tokens.followed_keys import LOOK_INTERVAL, FollowedKeys
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.look_ups import LookUps
from perimeter.tokens.news import news_of, no_news
from perimeter.tokens.revoking import Ended, Revocation, Revoker
from perimeter.tokens.stored import TOKENS
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.sessions import RecordingStore
from tests.unit.doubles.tokens_site import ALICE, CHECK, NOW, TokenCase


class FollowedKeysTests(TokenCase):
    def setUp(self) -> None:
        super().setUp()
        self.time = ThreadClock()
        self.time.advance(NOW)
        self.keys = FollowedKeys(self.keyring, offload_with(ImmediateThreads(), self.time), self.time)
        self.changes = 0
        self.keys.changed = self.count
        self.other = Keyring.open(self.state_dir, self.settings, self.clock)

    def count(self) -> None:
        self.changes += 1

    def test_what_another_process_rotates_is_followed(self) -> None:
        self.successResultOf(self.keys.refresh())
        self.assertEqual(self.changes, 0)
        for rotations in (1, 2):
            self.other.rotate()
            self.assertNotEqual(self.key.kid, self.other.signing_key.kid)
            self.successResultOf(self.keys.refresh())
            self.assertEqual((self.key.kid, self.changes), (self.other.signing_key.kid, rotations))

    def test_a_file_that_has_not_changed_is_not_read(self) -> None:
        self.patch(self.keyring, "rotate_if_due", lambda: self.fail("read"))
        self.successResultOf(self.keys.refresh())
        self.assertFalse(self.keyring.refresh())

    def test_what_this_process_writes_is_known(self) -> None:
        self.keyring.rotate()
        self.patch(self.keyring, "rotate_if_due", lambda: self.fail("read"))
        self.assertFalse(self.keyring.refresh())

    def test_a_file_that_is_gone_is_reported_by_the_check_for_rotation(self) -> None:
        (self.state_dir / "keyring.json").unlink()
        self.assertFalse(self.keyring.refresh())
        with capturedLogs() as logs:
            self.successResultOf(self.keys.rotate_if_due())
        self.assertIn("is gone", logs[0]["error"])
        self.assertEqual(self.changes, 0)

    def test_rotation_that_is_due(self) -> None:
        before = self.key.kid
        self.clock.advance(self.settings.key_lifetime)
        self.successResultOf(self.keys.rotate_if_due())
        self.assertNotEqual(self.key.kid, before)
        self.assertEqual(self.changes, 1)

    def test_attack_89_unknown_keys_cost_one_look_a_second(self) -> None:
        for _ in range(2):
            self.other.rotate()
            self.assertIsNotNone(self.keys.look())
            self.assertEqual(self.key.kid, self.other.signing_key.kid)
            self.assertEqual([self.keys.look() for _ in range(10)], [None] * 10)
            self.time.advance(LOOK_INTERVAL - 0.25)
            self.assertIsNone(self.keys.look())
            self.time.advance(0.25)

    def test_a_clock_that_was_set_back_allows_a_look(self) -> None:
        self.assertIsNotNone(self.keys.look())
        self.time.rightNow -= 100
        self.assertIsNotNone(self.keys.look())


class NewsTests(TokenCase):
    def test_where_is_looked(self) -> None:
        looked: list[object] = []

        def at(*where: object) -> Any:
            looked.append(where)
            return succeed(None)

        news = news_of(at, at, LookUps(LimitMemory.private(), lambda: False, "API tokens"))
        for error, where in ((UnknownToken(digest=b"\xab\xcd"), (("digest", "abcd"),)), (UnknownKey(), ())):
            self.assertIsNotNone(news(error, "192.0.2.7"))
            self.assertEqual(looked.pop(), where)
            self.assertIsNone(no_news(error, "192.0.2.7"))
        for error in (InvalidToken(), ExpiredToken()):
            self.assertIsNone(news(error, "192.0.2.7"))
        self.assertEqual(looked, [])

    def test_attack_180_tokens_without_a_check_are_looked_up_at_a_limited_rate(self) -> None:
        looked: list[int] = []
        news = news_of(
            lambda key: looked.append(1) or succeed(None),
            lambda: None,
            LookUps(LimitMemory.private(), lambda: False, "API tokens"),
        )
        refused = 0
        for _ in range(500):
            try:
                self.assertIsNotNone(news(UncheckedToken(), "192.0.2.7"))
            except Overloaded:
                refused += 1
        self.assertEqual((len(looked) + refused, len(looked) < 100), (500, True))
        self.assertIsNotNone(news(UncheckedToken(), "192.0.2.8"))
        self.assertIsNotNone(news(UnknownToken(), "192.0.2.7"))

    def test_without_other_processes_there_is_nothing_to_look_for(self) -> None:
        state = DirectState(MemoryStore(), STATE_KINDS, self.clock.seconds)
        for kind in (TOKENS, SESSIONS):
            self.successResultOf(ensureDeferred(look(state.view(kind))))


class RevokeTests(TokenCase):
    """A worker is asked to end what another one has issued a moment ago."""

    def setUp(self) -> None:
        super().setUp()
        self.time = ThreadClock()
        self.time.advance(NOW)
        self.store = RecordingStore()
        self.state = State(self.store, STATE_KINDS, self.time, offload_with(ImmediateThreads(), self.time, count=1))
        self.state.replace(self.state.load())
        self.stored = self.state.view(TOKENS)
        self.keys = FollowedKeys(self.keyring, offload_with(ImmediateThreads(), self.time), self.time)
        news = news_of(self.stored.learn, self.keys.look, LookUps(LimitMemory.private(), lambda: False, "API tokens"))
        self.revoker = Revoker(self.stored, self.verifier, self.state.view(SESSIONS), news)
        self.book = TokenBook(self.stored, self.revoker, self.time, 0, CHECK)

    def elsewhere(self) -> tuple[str, ApiToken]:
        text, kept = mint("ci", ALICE, NOW, inf)
        self.store.others_write(kept)
        return text, kept

    def done(self, work: Any) -> Any:
        return self.successResultOf(ensureDeferred(work))

    def test_an_api_token_by_its_text(self) -> None:
        text, kept = self.elsewhere()
        self.assertEqual(self.done(self.revoker.end(text)), ALICE)
        self.assertIsNone(self.stored.with_id(kept.id))
        self.time.advance(LOOK_INTERVAL)
        self.assertIsNone(self.done(self.book.revoke(text, "192.0.2.7")))
        self.assertIsNone(self.done(self.book.revoke(text, "192.0.2.7")), "without another look")

    def test_attack_179_forged_tokens_are_not_looked_up(self) -> None:
        looked: list[int] = []
        news = news_of(lambda key: looked.append(1), lambda: None, LookUps(LimitMemory.private(), lambda: False, "API tokens"))  # type: ignore[func-returns-value]
        revoker = Revoker(self.stored, self.verifier, self.state.view(SESSIONS), news, CHECK)
        forged = TokenCheck(SecretsKey(b"j" * 32))
        for _ in range(100):
            self.failureResultOf(ensureDeferred(revoker.end(forged.make(), "192.0.2.7")), InvalidToken)
        self.assertEqual(looked, [])
        self.failureResultOf(ensureDeferred(revoker.end(CHECK.make(), "192.0.2.7")), UnknownToken)
        self.assertEqual(looked, [1])

    def test_an_api_token_by_its_id(self) -> None:
        kept = [self.elsewhere()[1] for _ in range(2)]
        wanted = Revocation(ids=tuple(one.id for one in kept))
        self.assertEqual(self.done(self.revoker.revoke(wanted)), Ended(2))
        self.failureResultOf(ensureDeferred(self.revoker.revoke(wanted)), NoSuchToken)

    def test_an_api_token_by_its_owner(self) -> None:
        _, kept = self.elsewhere()
        self.assertEqual(self.done(self.book.remove(ALICE, kept.id)), kept)
        self.failureResultOf(ensureDeferred(self.book.remove(ALICE, kept.id)), NoSuchToken)

    def test_an_access_token_under_a_key_that_another_worker_has_made(self) -> None:
        other = Keyring.open(self.state_dir, self.settings, self.clock)
        for _ in range(2):  # the next key is known in advance, but not the one after it
            other.rotate()
        self.issuer._keyring = other
        token = self.token()
        self.assertRaises(UnknownKey, self.verifier.verify, token)
        owner = self.done(self.revoker.end(token))
        self.assertEqual(owner.username, "alice")
        self.assertFalse(self.stored.good(owner))

    def test_a_store_that_cannot_be_read_is_unavailable(self) -> None:
        waiting: Deferred[None] = fail(StateUnavailable("no"))
        revoker = Revoker(self.stored, self.verifier, self.state.view(SESSIONS), lambda error, address: waiting)
        self.failureResultOf(ensureDeferred(revoker.end(self.elsewhere()[0])), Unavailable)
