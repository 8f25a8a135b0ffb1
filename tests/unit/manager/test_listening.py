"""The listening sockets of the manager, from one configuration to the next."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.errors import StartupError
from perimeter.manager.listening import Sockets, close_sockets, open_sockets
from perimeter.net.binding import listening_socket
from perimeter.workers.plan import Address

LOCAL = "127.0.0.1"


class ListeningTests(TestCase):
    def opened(self, *addresses: Address, present: Sockets | None = None) -> Sockets:
        sockets = open_sockets(addresses, present or {})
        self.addCleanup(close_sockets, sockets, {})
        return sockets

    def test_sockets_that_fit_are_kept(self) -> None:
        with listening_socket(LOCAL, 0) as free:
            port = free.getsockname()[1]
        kept, any_port = Address("kept", LOCAL, port), Address("any", LOCAL, 0)
        before = self.opened(kept, any_port)
        renamed, other = Address("renamed", LOCAL, port), Address("other", LOCAL, 0)
        after = self.opened(renamed, any_port, other, present=before)
        self.assertIs(after[renamed], before[kept])
        self.assertIs(after[any_port], before[any_port])
        self.assertNotIn(after[other], before.values())
        close_sockets(before, after)
        self.assertNotEqual(after[renamed].fileno(), -1)

    def test_what_was_opened_is_closed_if_another_one_cannot_be(self) -> None:
        before = self.opened(Address("a", LOCAL, 0))
        (present,) = before.values()
        taken = listening_socket(LOCAL, 0)
        self.addCleanup(taken.close)
        with listening_socket(LOCAL, 0) as free:
            port = free.getsockname()[1]
        wanted = (Address("a", LOCAL, 0), Address("new", LOCAL, port), Address("b", LOCAL, taken.getsockname()[1]))
        with self.assertRaisesRegex(StartupError, "listener b: cannot listen on 127.0.0.1"):
            open_sockets(wanted, before)
        self.assertNotEqual(present.fileno(), -1)
        listening_socket(LOCAL, port).close()  # it is free again
