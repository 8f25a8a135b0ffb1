"""Announcements of other signing keys, and what a machine does about them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.errors import StateUnavailable, Unavailable
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.state import State
from perimeter.tokens.followed_keys import LOOK_INTERVAL, FollowedKeys
from perimeter.tokens.key_news import KEY_NEWS, KeyNews, KeysChanged
from perimeter.tokens.keyring import Keyring
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.sessions import RecordingStore
from tests.unit.doubles.tokens_site import NOW, TokenCase


class KindTests(TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.store = RecordingStore()
        self.state = State(self.store, STATE_KINDS, self.clock, offload_with(ImmediateThreads(), self.clock, count=1))
        self.state.replace(self.state.load())
        self.news: KeyNews = self.state.view(KEY_NEWS)
        self.heard: list[str] = []
        self.news.heard = lambda: self.heard.append("heard")

    def test_an_announcement_is_heard(self) -> None:
        self.news.announce(2, 7)
        self.assertEqual(self.heard, ["heard"])

    def test_text(self) -> None:
        change = KeysChanged(2, 7)
        self.assertTrue(change.adds)
        self.assertTrue(change.passing)
        self.assertEqual(STATE_KINDS.decode(*STATE_KINDS.encode(change)), change)
        for text in ("[1]", "[1, true]", '["1", 2]', "{}", "["):
            self.assertRaises(ValueError, STATE_KINDS.decode, "keys_changed", text)

    def test_after_a_gap_some_may_have_been_missed(self) -> None:
        self.state.replace(self.state.load())
        self.assertEqual(self.heard, ["heard"])

    def test_an_announcement_that_cannot_be_written_is_left_out(self) -> None:
        self.store.fails = True
        self.news.announce(1, 1)
        self.assertEqual(self.heard, [])

    def test_nothing_is_kept(self) -> None:
        self.news.removed()
        self.news.forget(0.0)
        self.assertEqual(list(self.news.index([KeysChanged(1, 1)]) or ()), [])
        self.assertEqual(list(KEY_NEWS.table.load(lambda *_: self.fail("read"))), [])
        KEY_NEWS.table.write(lambda *_: self.fail("written"), KeysChanged(1, 1))
        KEY_NEWS.table.forget(lambda *_: self.fail("deleted"), 0.0)

    def test_no_one_listens(self) -> None:
        KeyNews(self.state).apply(KeysChanged(1, 1))


class Exchanging:
    """`perimeter.cluster.keys.SharedKeys`: each answer waits until the test gives it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Any]]] = []

    async def exchange(self) -> bool:
        return bool(await self._wait("exchange"))

    async def rotate_if_due(self) -> bool:
        return bool(await self._wait("rotate if due"))

    async def rotate(self, *, discard: bool = False) -> None:
        await self._wait("discard" if discard else "rotate")

    def _wait(self, what: str) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.asked.append((what, waiting))
        return waiting

    @property
    def names(self) -> list[str]:
        return [what for what, _ in self.asked]

    def answer(self, answer: Any) -> None:
        _, waiting = self.asked.pop(0)
        if isinstance(answer, Exception):
            waiting.errback(answer)
        else:
            waiting.callback(answer)


class SharedKeysTests(TokenCase):
    def setUp(self) -> None:
        super().setUp()
        self.time = ThreadClock()
        self.time.advance(NOW)
        self.leads = True
        self.shared = Exchanging()
        self.changes = 0
        self.follow(self.keyring)

    def follow(self, keyring: Keyring) -> None:
        self.keys = FollowedKeys(keyring, offload_with(ImmediateThreads(), self.time), self.time)
        self.keys.share(self.shared, lambda: self.leads)
        self.keys.changed = self.count

    def count(self) -> None:
        self.changes += 1

    def test_the_process_that_leads_exchanges_them(self) -> None:
        checked = self.keys.rotate_if_due()
        self.assertNoResult(checked)
        self.assertEqual(self.shared.names, ["rotate if due"])
        self.shared.answer(True)
        self.successResultOf(checked)
        self.assertEqual(self.changes, 1)

    def test_the_others_read_the_file(self) -> None:
        self.leads = False
        self.successResultOf(self.keys.rotate_if_due())
        self.keys.announced()
        self.assertEqual(self.shared.names, [])

    def test_one_exchange_at_a_time(self) -> None:
        self.keys.rotate_if_due()
        self.successResultOf(self.keys.rotate_if_due())
        self.assertEqual(self.shared.names, ["rotate if due"])
        self.shared.answer(False)
        self.assertEqual((self.shared.names, self.changes), ([], 0))
        self.keys.rotate_if_due()
        self.assertEqual(self.shared.names, ["rotate if due"])

    def test_an_announcement_during_an_exchange_is_not_lost(self) -> None:
        self.keys.announced()
        self.keys.announced()
        self.keys.announced()
        self.assertEqual(self.shared.names, ["exchange"])
        self.shared.answer(False)
        self.assertEqual(self.shared.names, ["exchange"])
        self.shared.answer(True)
        self.assertEqual((self.shared.names, self.changes), ([], 1))

    def test_an_engine_that_is_away_is_logged_once(self) -> None:
        with capturedLogs() as logs:
            for _ in range(3):
                checked = self.keys.rotate_if_due()
                self.shared.answer(StateUnavailable("Redis does not answer"))
                self.successResultOf(checked)
        self.assertEqual(len(logs), 1)
        self.assertIn("Redis does not answer", logs[0]["error"])
        self.keys.rotate_if_due()
        self.shared.answer(False)
        with capturedLogs() as logs:
            self.keys.rotate_if_due()
            self.shared.answer(StateUnavailable("again"))
        self.assertEqual(len(logs), 1)

    def test_attack_193_a_token_with_an_unknown_key_is_not_invalid_if_the_engine_is_away(self) -> None:
        looked = self.keys.look()
        assert looked is not None
        self.assertEqual(self.shared.names, ["exchange"])
        self.shared.answer(StateUnavailable("Redis does not answer"))
        self.failureResultOf(looked, Unavailable)
        self.assertIsNone(self.keys.look(), "once a second")
        self.time.advance(LOOK_INTERVAL)
        looked = self.keys.look()
        assert looked is not None
        self.shared.answer(True)
        self.successResultOf(looked)
        self.assertEqual(self.changes, 1)

    def test_a_client_that_leaves_ends_no_exchange(self) -> None:
        looked = self.keys.look()
        assert looked is not None
        looked.addErrback(lambda _: None)
        looked.cancel()
        self.shared.answer(True)
        self.assertEqual(self.changes, 1)

    def test_a_start_waits_for_the_first_keys(self) -> None:
        self.successResultOf(self.keys.settled())
        new = Keyring.open(self.state_dir.with_name("new"), self.settings, self.clock, shared=True)
        self.follow(new)
        waiting, left = self.keys.settled(), self.keys.settled()
        left.addErrback(lambda _: None)
        left.cancel()
        self.keys.announced()
        self.shared.answer(False)
        self.assertNoResult(waiting)
        self.keys.announced()
        new.adopt(new.agreed(None))
        self.shared.answer(True)
        self.successResultOf(waiting)
        self.successResultOf(self.keys.settled())

    def test_a_machine_without_keys_asks_each_second(self) -> None:
        self.successResultOf(self.keys.refresh())
        self.assertEqual(self.shared.names, [], "it has some")
        self.follow(Keyring.open(self.state_dir.with_name("other"), self.settings, self.clock, shared=True))
        self.keys.refresh()
        self.assertEqual(self.shared.names, ["rotate if due"])

    def test_a_rotation_by_the_operator(self) -> None:
        for how, name in (({}, "rotate"), ({"discard": True}, "discard")):
            rotated = Deferred.fromCoroutine(self.keys.rotate(**how))
            self.assertEqual(self.shared.names, [name])
            self.shared.answer(None)
            self.successResultOf(rotated)
        self.assertEqual(self.changes, 2)
        rotated = Deferred.fromCoroutine(self.keys.rotate())
        self.shared.answer(StateUnavailable("Redis does not answer"))
        self.failureResultOf(rotated, Unavailable)
        self.assertEqual(self.changes, 2)

    def test_a_rotation_on_a_machine_that_is_alone(self) -> None:
        keys = FollowedKeys(self.keyring, offload_with(ImmediateThreads(), self.time), self.time)
        before = self.key.kid
        self.successResultOf(Deferred.fromCoroutine(keys.rotate()))
        self.assertNotEqual(self.key.kid, before)
        self.assertIsNotNone(self.keyring.verification_key(before))
        self.successResultOf(Deferred.fromCoroutine(keys.rotate(discard=True)))
        self.assertIsNone(self.keyring.verification_key(before))
        keys.announced()
