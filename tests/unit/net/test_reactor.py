"""The reactor's short path handles events like the long path. The tests call its methods; the reactor does not run."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from errno import EINVAL

from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from perimeter.net import reactor as reactor_module
from perimeter.net.reactor import LeanReactor


class _Selectable:
    """A descriptor that records its calls."""

    def __init__(self, reactor: LeanReactor, sock: socket.socket, outcome: object = None) -> None:
        self.reactor = reactor
        self.sock = sock
        self.outcome = outcome
        self.events: list[str] = []
        self.reason: Failure | None = None

    def fileno(self) -> int:
        return self.sock.fileno()

    def logPrefix(self) -> str:
        return "selectable"

    def doRead(self) -> object:
        self.events.append("read")
        self.sock.recv(100)
        if isinstance(self.outcome, RuntimeError):
            raise self.outcome
        return self.outcome

    def doWrite(self) -> object:
        self.events.append("write")
        self.reactor.removeWriter(self)
        return None

    def connectionLost(self, reason: Failure) -> None:
        self.events.append("lost")
        self.reason = reason

    readConnectionLost = connectionLost


class LeanReactorTests(TestCase):
    def setUp(self) -> None:
        self.reactor = LeanReactor()
        self.addCleanup(self._clean)
        self.sockets: list[socket.socket] = []

    def _clean(self) -> None:
        self.reactor.removeAll()
        self.reactor._poller.close()
        self.reactor.waker.connectionLost(None)
        for sock in self.sockets:
            sock.close()

    def _pair(self, outcome: object = None) -> tuple[_Selectable, socket.socket]:
        near, far = socket.socketpair()
        self.sockets += [near, far]
        near.setblocking(False)
        selectable = _Selectable(self.reactor, near, outcome)
        self.reactor.addReader(selectable)
        return selectable, far

    def test_readable(self) -> None:
        selectable, far = self._pair()
        far.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual(selectable.events, ["read"])

    def test_attack_186_after_a_pause_of_the_process_what_is_due_by_the_clock_comes_first(self) -> None:
        selectable, far = self._pair()
        times: list[float] = []
        self.patch(reactor_module, "_machine_seconds", lambda: times.pop(0))
        for wary, timeout, clock, events in (
            (False, 2, [], ["read"]),
            (True, 2, [100.0], []),
            (True, 2, [102.5], ["read"]),
            (True, 2, [105.25], []),
            (True, 0, [105.75], ["read"]),
            (True, None, [106.25], ["read"]),
            (True, None, [107.0], []),
            (False, 2, [], ["read"]),
        ):
            self.reactor.wary, times[:] = wary, clock
            far.send(b"x")
            self.reactor.doPoll(timeout)
            self.assertEqual((selectable.events, times), (events, []))
            selectable.events.clear()

    def test_writable_goes_the_long_way(self) -> None:
        selectable, _ = self._pair()
        self.reactor.addWriter(selectable)
        self.reactor.doPoll(0)
        self.assertEqual(selectable.events, ["write"])

    def test_end_disconnects(self) -> None:
        selectable, far = self._pair(CONNECTION_DONE)
        far.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual(selectable.events, ["read", "lost"])
        self.assertEqual(self.reactor.getReaders().count(selectable), 0)

    def test_error_is_logged_and_disconnects(self) -> None:
        selectable, far = self._pair(RuntimeError("broken"))
        other, far_other = self._pair()
        far.send(b"x")
        far_other.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual((selectable.events, other.events), (["read", "lost"], ["read"]))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_readable_and_writable(self) -> None:
        selectable, far = self._pair()
        self.reactor.addWriter(selectable)
        far.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual(selectable.events, ["read", "write"])

    def test_what_a_read_has_closed_is_not_written_to(self) -> None:
        selectable, far = self._pair()
        self.reactor.addWriter(selectable)
        far.send(b"x")
        selectable.sock = _RemovingSocket(selectable.sock, self.reactor.removeAll)
        self.reactor.doPoll(0)
        self.assertEqual(selectable.events, ["read"])

    def test_gone_since_the_events_were_fetched(self) -> None:
        """The work of one event removes another descriptor, whose event is in the same batch."""
        first, far_first = self._pair()
        second, far_second = self._pair()
        far_first.send(b"x")
        far_second.send(b"x")
        for one, other in ((first, second), (second, first)):
            one.outcome = None
            one.sock = _RemovingSocket(one.sock, lambda other=other: self.reactor.removeReader(other))
        self.reactor.doPoll(0)
        self.assertEqual(sorted(first.events + second.events), ["read"])

    def test_listener_is_read_until_it_is_removed(self) -> None:
        near, far = socket.socketpair()
        self.sockets += [near, far]
        near.setblocking(False)
        listener = _Selectable(self.reactor, near)
        self.reactor.addListener(listener)
        self.reactor.addListener(listener)
        far.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual(listener.events, ["read"])
        self.assertIn(listener, self.reactor.getReaders())
        self.reactor.removeListener(listener)
        self.reactor.removeListener(listener)
        far.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual(listener.events, ["read"])
        self.assertNotIn(listener, self.reactor.getReaders())
        self.reactor.addListener(listener)
        self.reactor.doPoll(0)
        self.assertEqual(listener.events, ["read", "read"], "what had come before is reported")

    def test_listener_is_watched_exclusively(self) -> None:
        """The kernel refuses to change what an exclusive watch waits for, so that the refusal shows that it is one."""
        near, far = socket.socketpair()
        self.sockets += [near, far]
        self.reactor.addListener(_Selectable(self.reactor, near))
        with self.assertRaises(OSError) as caught:
            self.reactor._poller.modify(near.fileno(), select.EPOLLIN)
        self.assertEqual(caught.exception.errno, EINVAL)

    def test_gateway_runs_on_it_by_default(self) -> None:
        script = (
            "import sys\n"
            "from perimeter.net.reactor import LeanReactor, install\n"
            "first, again = install(), install()\n"
            "from twisted.internet import reactor\n"
            "print(first, again, type(reactor) is LeanReactor)\n"
        )
        output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual(output.stdout.split(), ["True", "False", "True"])


class _RemovingSocket:
    """A socket whose `recv` calls a function first."""

    def __init__(self, sock: socket.socket, act: object) -> None:
        self._sock = sock
        self._act = act

    def recv(self, size: int) -> bytes:
        self._act()  # type: ignore[operator]
        return self._sock.recv(size)

    def fileno(self) -> int:
        return self._sock.fileno()
