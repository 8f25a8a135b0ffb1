"""Commands without a gateway: a database beside Redis answers nothing, since the tokens are not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import attrs
from twisted.trial.unittest import SynchronousTestCase

from perimeter.cli.store import opened
from perimeter.config.site.perimeter import StateKind
from perimeter.errors import StartupError

NOTHING = StartupError("no gateway is running")


@attrs.frozen
class _Perimeter:
    state: StateKind
    whole_up_to: int = 200_000


@attrs.frozen
class _Config:
    perimeter: _Perimeter


class OpenedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def refused(self, state: StateKind | None = None) -> str:
        config = None if state is None else cast(Any, _Config(_Perimeter(state)))
        with self.assertRaises(StartupError) as caught, opened(self.directory, config, NOTHING):
            pass
        return str(caught.exception)

    def test_with_redis_a_command_needs_a_gateway_also_beside_an_older_database(self) -> None:
        words = "what it stores is in Redis: run this command on a machine whose gateway runs"
        self.assertIn(words, self.refused(StateKind.REDIS))
        (self.directory / "cluster.db").touch()
        (self.directory / "state.db").touch()
        self.assertIn(words, self.refused())

    def test_a_database_beside_redis_does_not_count_where_the_configuration_says_another_one(self) -> None:
        (self.directory / "cluster.db").touch()
        self.assertIn("with state = memory nothing is stored", self.refused(StateKind.MEMORY))
        with opened(self.directory, cast(Any, _Config(_Perimeter(StateKind.SQLITE))), NOTHING):
            self.assertTrue((self.directory / "state.db").exists())

    def test_without_any_database_no_gateway_is_running(self) -> None:
        self.assertEqual(self.refused(), "no gateway is running")
