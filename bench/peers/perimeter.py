"""The gateway itself, from this checkout or from another one for comparison."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import perimeter
from bench.errors import BenchError
from bench.material import PASSWORD, REALM, ROLES, USER
from bench.peers.base import Peer, Surroundings
from bench.processes import START_TIMEOUT, Process
from bench.upstream import PREFIX
from perimeter.errors import StartupError
from perimeter.run.asking import ask
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.revocation import RevokedGrant

CHECKOUT = Path(perimeter.__file__).parent.parent
"""The path of the code that this process imports."""

_TWISTD = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]

REALM_FILE = f"""\
[authenticator local]
type = realmfile
path = users.realm
realm = {REALM}
"""


class Perimeter(Peer):
    """A gateway with one measured route, and with the given numbers of ``routes``, ``users``, ``revoked`` tokens and ``workers``.

    ``authenticator`` is the section of its authenticator (by default a file with the users), with other sections after it;
    ``authentication`` contains more lines for the section of that name, ``upstream`` for the section of the service, and
    ``servers`` is its number of servers (at most 3).
    """

    def __init__(
        self,
        name: str = "perimeter",
        checkout: Path = CHECKOUT,
        *,
        routes: int = 1,
        users: int = 1,
        revoked: int = 0,
        remembered: int | None = None,
        workers: int = 1,
        authenticator: str = REALM_FILE,
        authentication: str = "",
        upstream: str = "",
        servers: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self.checkout = checkout
        self._authenticator = authenticator
        self._authentication = authentication
        self._upstream = upstream
        self._servers = servers
        self._routes = routes
        self._users = users
        self._revoked = revoked
        # only if it is needed, because an older checkout does not know this option
        self._remembered = f"remembered_tokens = {remembered}" if remembered else ""
        self._workers = workers

    def versions(self) -> dict[str, str]:
        """The commit, with a ``+`` if files were changed since."""
        return {self.name: _commit(self.checkout)}

    def start(self, around: Surroundings) -> None:
        """Start one daemon from the checkout's code, with the defaults of a site: headers for the upstream, strict audit."""
        own = around.directory / self.name
        own.mkdir()
        # a copy, because gateways of different versions must not share a directory
        shutil.copytree(around.state, own / "state")
        if self._revoked:
            revoke(own / "state", self._revoked)
        (own / "users.realm").write_text(realm_file(self._users))
        (own / "site.ini").write_text(self._site(around))
        command = [*_TWISTD, "--nodaemon", "--pidfile=", "perimeter", "--config", str(own / "site.ini")]
        process = Process(self.name, command, around.cores.gateway, own, {"PYTHONPATH": str(self.checkout)})
        self.processes = [process]
        process.wait_for_port(self.port)
        # the last worker gets no share of connections that come before it serves
        end = time.monotonic() + START_TIMEOUT
        while self._workers > 1 and len(self.serving(around)) < self._workers:
            if time.monotonic() > end:
                raise BenchError(f"{self.name}: not all of {self._workers} workers serve: {process.last_words()}")
            time.sleep(0.1)

    def serving(self, around: Surroundings) -> list[int]:
        """The processes of its workers that serve."""
        try:
            workers = ask(around.directory / self.name / "state", {"command": "status", "brief": True})["workers"]
        except StartupError:  # not yet
            return []
        return [worker["pid"] for worker in workers if worker["state"] == "serving"]

    def answered(self, around: Surroundings) -> int:
        """The number of requests it has answered: it writes an audit line for each before the answer ends."""
        return (around.directory / self.name / "access.log").read_bytes().count(b"\n")

    def _site(self, around: Surroundings) -> str:
        others = "\n".join(
            f"[route other{number}]\npath = /v1/other{number}\nupstream = service\n" for number in range(1, self._routes)
        )
        servers = ", ".join(f"http://127.0.0.{number}:{around.upstream}" for number in range(1, self._servers + 1))
        return f"""\
[perimeter]
realm = {REALM}
state_dir = state
{f"workers = {self._workers}" if self._workers > 1 else ""}

[limits]
idle_timeout = 1h
{self._remembered}
connections = 50000
connections_per_address = 50000

[listener https]
port = {self.port}
interface = 127.0.0.1
tls = yes
certificate = {around.certificate.chain}
private_key = {around.certificate.key}

{self._authenticator}
[authentication]
remember_password = 1h
{self._authentication}

[upstream service]
servers = {servers}
keepalive = 512
{self._upstream}

[route service]
path = {PREFIX}
upstream = service

{others}
[audit]
path = access.log
"""


def realm_file(users: int) -> str:
    """The run's user and others, ``users`` in total. Their passwords are in plain text, as with Auth-o-tron."""
    roles = ",".join(ROLES)
    first = f"{USER}: {PASSWORD},{roles}\n"
    return first + "".join(f"{other_user(number)}: {PASSWORD},{roles}\n" for number in range(1, users))


def revoke(state_dir: Path, count: int) -> None:
    """Write the state of a gateway that has revoked ``count`` access tokens, none of which has expired yet."""
    expires = time.time() + 86400
    store = SqliteStore(state_dir, STATE_KINDS)
    store.write([RevokedGrant(secrets.token_urlsafe(16), expires) for _ in range(count)])
    store.close()


def other_user(number: int) -> str:
    """The name of a user who sends no requests."""
    return f"user{number}"


def _commit(checkout: Path) -> str:
    """The commit of a checkout, with + if files are changed; the version if there is no git or no commit."""
    if shutil.which("git") is None:
        return perimeter.__version__
    git = ["git", "-C", str(checkout)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if commit.returncode:
        return perimeter.__version__
    changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+" if changed.stdout else "")
