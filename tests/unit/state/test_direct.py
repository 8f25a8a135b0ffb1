"""The state as a command uses it while no gateway runs."""

from __future__ import annotations

from math import inf
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.errors import Unavailable
from perimeter.model import Principal
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.direct import DirectState
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.api_token import mint
from perimeter.tokens.stored import TOKENS

TOKEN = mint("ci", Principal("alice", "local"), 0.0, inf)[1]


class DirectTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(mode=0o700)

    def state(self) -> DirectState:
        self.store = SqliteStore(self.directory, STATE_KINDS)
        self.addCleanup(self.store.close)
        return DirectState(self.store, STATE_KINDS, lambda: 7.0)

    def test_what_is_written_is_there_for_the_next_one(self) -> None:
        state = self.state()
        self.assertEqual(state.seconds(), 7.0)
        self.successResultOf(state.view(TOKENS).add(TOKEN))
        self.assertEqual(state.view(TOKENS).all(), [TOKEN])
        self.store.close()
        again = self.state()
        self.assertEqual(again.view(TOKENS).all(), [TOKEN])
        self.successResultOf(again.view(TOKENS).remove(TOKEN))
        self.assertEqual(again.view(TOKENS).all(), [])
        self.store.close()
        self.assertEqual(self.state().view(TOKENS).all(), [])

    def test_attack_41_what_cannot_be_written_is_not_in_force(self) -> None:
        state = self.state()
        self.successResultOf(state.view(TOKENS).add(TOKEN))

        def full(changes: object) -> None:
            raise Unavailable("disk full")

        self.patch(self.store, "write", full)
        self.failureResultOf(state.view(TOKENS).remove(TOKEN), Unavailable)
        self.assertEqual(state.view(TOKENS).all(), [TOKEN])

    def test_the_file_is_the_owner_s_alone(self) -> None:
        self.state()
        (file,) = self.directory.glob("*.db")
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
