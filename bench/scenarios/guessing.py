"""Measures other clients while one client guesses passwords: the time of a static file and of another user's correct password.

The guesser has several connections, and a new name and password in each request, so that each request costs a hash. The lockout
is off, because it would end the load after ten guesses. The two clients have different addresses.
"""

from __future__ import annotations

import http.client
import ssl
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.errors import BenchError
from bench.figures import Measurement
from bench.material import PASSWORD, ROLES, USER, basic
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter, other_user
from bench.run import Run
from bench.scenarios.base import Scenario
from bench.scenarios.requests import SMALL
from perimeter.auth.passwords.making import make

_GUESSERS = 16
_FILES, _LOGINS = 20, 5
_GUESSER = "127.0.0.3"
BYSTANDER = "127.0.0.2"
"""The address of a client beside the load."""
SMALL_FILE = "/files/small.txt"
"""The path of the file that the site of `site_with` serves."""
_TIMEOUT = 60.0
_MILLISECONDS = 1e3
_KINDS = (
    ("a file", "ms"),
    ("a file beside a guesser", "ms"),
    ("a login", "ms"),
    ("a login beside a guesser", "ms"),
    ("refused beside a guesser", "requests"),
)


def _site(run: Run, name: str) -> str:
    """An authenticator with argon2id hashes, and a directory of files."""
    hashed = make(PASSWORD)
    names = [USER, *(other_user(number) for number in range(1, 1 + _LOGINS * 2 * run.options.rounds))]
    return site_with(run, name, "".join(f"{user}: {hashed},{','.join(ROLES)}\n" for user in names))


def site_with(run: Run, name: str, lines: str) -> str:
    """An authenticator with the ``lines`` of a realm file, and a directory of files."""
    own = run.around.directory / f"{name}-files"
    own.mkdir()
    (own / "small.txt").write_text("small\n")
    users = run.around.directory / f"{name}.realm"
    users.write_text(lines)
    return f"""\
[authenticator local]
type = realmfile
path = {users}
realm = local

[route files]
path = /files
static = {own}
auth = none

"""


class TimedClient:
    """Sends requests over one connection from ``address``. It connects again after the gateway has closed the connection."""

    def __init__(self, run: Run, gateway: Peer, address: str) -> None:
        context = ssl.create_default_context(cafile=str(run.around.certificate.chain))
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", gateway.port, timeout=_TIMEOUT, context=context, source_address=(address, 0)
        )

    def get(self, path: str, user: str = "", password: str = "") -> int:
        """Send a request and return its status."""
        headers = {"Authorization": basic(user, password)} if user else {}
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def _guessing(run: Run, gateway: Peer, guesses: list[int]) -> Iterator[None]:
    """Guess passwords inside the context. ``guesses`` gets the status of each guess."""
    over = threading.Event()

    def guess(number: int) -> None:
        client = TimedClient(run, gateway, _GUESSER)
        count = 0
        while not over.is_set():
            count += 1
            try:
                guesses.append(client.get(SMALL, f"guess{number}", f"{count}"))
            except (OSError, http.client.HTTPException):
                client.close()
                client = TimedClient(run, gateway, _GUESSER)
        client.close()

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(_GUESSERS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(run.options.seconds / 2)
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


class _Bystander:
    """The other client. ``refused`` counts answers other than 200."""

    def __init__(self, run: Run, gateway: Peer) -> None:
        self._client = TimedClient(run, gateway, BYSTANDER)
        self.refused = 0

    def _timed(self, path: str, user: str = "") -> float:
        began = time.monotonic()
        self.refused += self._client.get(path, user, PASSWORD) != 200
        return (time.monotonic() - began) * _MILLISECONDS

    def measure(self, users: Iterator[str]) -> tuple[float, float]:
        """Milliseconds that a file and a login take."""
        files = sorted(self._timed(SMALL_FILE) for _ in range(_FILES))
        return files[_FILES * 19 // 20], statistics.median(self._timed(SMALL, next(users)) for _ in range(_LOGINS))

    def close(self) -> None:
        self._client.close()


def _round(run: Run, gateway: Peer, users: Iterator[str], guesses: list[int]) -> list[float]:
    """The figures of one round, in the order of `_KINDS`. Raises `BenchError` if a request is refused without a guesser."""
    bystander = _Bystander(run, gateway)
    try:
        file, login = bystander.measure(users)
        if bystander.refused:
            raise BenchError(f"{gateway.name} refused {bystander.refused} requests without a guesser")
        with _guessing(run, gateway, guesses):
            file_beside, login_beside = bystander.measure(users)
    finally:
        bystander.close()
    return [file, file_beside, login, login_beside, float(bystander.refused)]


def _measure(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    found: dict[str, list[list[float]]] = {}
    for peer in peers:
        if not isinstance(peer, Perimeter):
            continue
        name = f"{peer.name}-guessing"
        gateway = Perimeter(name, peer.checkout, authenticator=_site(run, name), authentication="lockout_after = 0")
        run.start(gateway)
        try:
            users = (other_user(number) for number in range(1, 1 + _LOGINS * 2 * run.options.rounds))
            guesses: list[int] = []
            found[peer.name] = [_round(run, gateway, users, guesses) for _ in range(run.options.rounds)]
            _check(peer.name, guesses)
        finally:
            run.dismiss(gateway)
    return measurements(found)


def _check(name: str, guesses: Sequence[int]) -> None:
    odd = set(guesses) - {401, 503}
    if odd or 401 not in guesses:
        raise BenchError(f"{name} answered guesses with {sorted(odd) or 'nothing'}")


def measurements(found: Mapping[str, Sequence[Sequence[float]]]) -> list[Measurement]:
    """The figures of each gateway's rounds, each in the order of `_KINDS`."""
    note = f"the guesser has {_GUESSERS} connections; p95 of {_FILES} files and the median of {_LOGINS} logins in each round"
    return [
        Measurement(
            f"guessing: {kind}",
            unit,
            {name: [values[place] for values in rounds] for name, rounds in found.items()},
            next(iter(found)),
            note,
        )
        for place, (kind, unit) in enumerate(_KINDS)
    ]


SCENARIOS = (
    Scenario(
        "guessing",
        f"a file and another user's login beside a client that guesses passwords over {_GUESSERS} connections",
        ("perimeter",),
        _measure,
    ),
)
