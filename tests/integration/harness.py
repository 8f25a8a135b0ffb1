"""Runs real gateways for the integration tests: one process each, with its own directory and ports.

A test asks `GatewayCase` for what it needs, and uses blocking sockets: the gateway is another process, and every operation has a
timeout. At the end each gateway must stop cleanly, without a traceback in its log. `tests.integration.wire` has the clients,
`tests.integration.upstreams` the upstreams.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from unittest import SkipTest

import psutil
from twisted.trial.unittest import TestCase

import perimeter
from tests.integration.forking import Forked, start_twistd
from tests.integration.ports import eventually, free_port
from tests.integration.upstreams import OK, Echo, Nginx, Script, Upstream
from tests.integration.wire import TIMEOUT, Wire

SOURCE = Path(perimeter.__file__).parent.parent
"""The directory of the code under test: the checkout, or the site-packages where it is installed."""

ETC = Path(__file__).parents[2] / "etc"

START_TIMEOUT = 60.0
"""Timeout of a start in seconds. It takes one or two, and longer on a machine that is busy with other tests."""

PORT_MARK = re.compile(r"@([a-z_0-9]+)@")

SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""On Debian, an ordinary user's path does not contain the directories of servers."""

TROUBLE = re.compile(
    r"^.*(?:Unhandled|Traceback \(most recent call last\)|ResourceWarning|was never (?:awaited|retrieved)).*$", re.M
)


class Gateway:
    """One gateway process.

    ``config`` is the text of a site.ini in which ``@name@`` stands for a free port, the same one each time (see `ports`).
    ``files`` are more files of its directory (relative path: content), with the same marks. ``before`` is a command that executes
    the gateway's. A gateway is forked (`tests.integration.forking`) unless it has ``environ``, ``before``, or is ``executed``.
    """

    executed = False

    def __init__(
        self,
        directory: Path,
        config: str,
        files: Mapping[str, str | bytes] | None = None,
        environ: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.ports: dict[str, int] = {}
        self.config = directory / "site.ini"
        self._environ = dict(environ or {})
        self._arguments = arguments
        self._before = before
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._notify: socket.socket | None = None
        self.notifications: list[str] = []
        """The notifications to the service manager so far, one item per datagram."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in (files or {}).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else self.with_ports(content).encode())
        self.configure(config)

    def with_ports(self, text: str) -> str:
        """``text`` with its ``@name@`` replaced."""
        return PORT_MARK.sub(lambda mark: str(self.ports.setdefault(mark[1], free_port())), text)

    def configure(self, config: str) -> None:
        """Write another site.ini. `reload` loads it."""
        self.config.write_text(self.with_ports(config))

    def __getitem__(self, name: str) -> int:
        return self.ports[name]

    # -- the process

    def launch(self) -> None:
        """Start the process without waiting for it."""
        address = f"perimeter-test-{uuid.uuid4().hex}"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind("\0" + address)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("NOTIFY", "WATCHDOG", "LISTEN_"))}
        environ |= {"PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "default::ResourceWarning", "NOTIFY_SOCKET": "@" + address}
        environ |= self._environ
        arguments = ["--nodaemon", "perimeter", "--config", str(self.config), *self._arguments]
        with (self.directory / "gateway.log").open("ab") as log:
            if not (self.executed or self._before or self._environ):
                self._process = start_twistd(arguments, self.directory, environ, log.fileno())
                return
            # the twistd of this environment, not the one in $PATH
            twistd = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
            command = [*map(self.with_ports, self._before), *twistd, *arguments]
            self._process = subprocess.Popen(
                command, cwd=self.directory, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self) -> Gateway:
        """Start, and wait until the gateway reports that it is ready."""
        self.launch()
        self.await_notification("READY=1", START_TIMEOUT)
        return self

    def await_notification(self, state: str, timeout: float = TIMEOUT) -> str:
        """Wait for a datagram with the line ``state``, and return the datagram. Fails at once if the process ends before."""
        assert self._notify is not None
        exited = os.pidfd_open(self.pid)
        try:
            while True:
                readable, _, _ = select.select([self._notify.fileno(), exited], [], [], timeout)
                if self._notify.fileno() in readable:
                    datagram = self._notify.recv(65536).decode()
                    self.notifications.append(datagram)
                    if state in datagram.split("\n"):
                        return datagram
                elif exited in readable:
                    raise AssertionError(f"the gateway ended with {self.process.wait()} before {state}; its log:\n{self.log}")
                else:
                    raise AssertionError(f"no {state} within {timeout} s; the log:\n{self.log}")
        finally:
            os.close(exited)

    def reload(self) -> str:
        """Send SIGHUP, and wait until the reload is over. Returns the last notification, which contains the status."""
        self.signal(signal.SIGHUP)
        self.await_notification("RELOADING=1")
        return self.await_notification("READY=1")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = START_TIMEOUT) -> int:
        """Wait until the process has ended by itself, and return its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the gateway still runs after {timeout} s; its log:\n{self.log}") from None

    def stop(self) -> None:
        """Send SIGTERM, and check that the process ends cleanly: in time, by this signal, and without errors in its log."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        try:
            # at its end twistd sends the signal to itself
            status = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the gateway did not stop; its log:\n{self.log}") from None
        finally:
            if self._notify is not None:
                self._notify.close()
        if status not in (0, -signal.SIGTERM):
            raise AssertionError(f"the gateway ended with {status}; its log:\n{self.log}")
        if TROUBLE.search(self.log):
            raise AssertionError(f"trouble in the gateway's log:\n{self.log}")

    def kill(self) -> None:
        """Send SIGKILL. `stop` checks nothing after that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._notify is not None:
            self._notify.close()

    @property
    def process(self) -> subprocess.Popen[bytes] | Forked:
        """The started process."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def memory(self) -> int:
        """The resident set size in bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    # -- its output

    @property
    def log(self) -> str:
        """Everything in its standard output and standard error."""
        return (self.directory / "gateway.log").read_text(errors="replace")

    def await_log(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until the log contains ``text``."""
        eventually(lambda: text in self.log, f"{text!r} in the log:\n{self.log}", timeout)

    def audit(self, name: str = "access.log") -> list[str]:
        """The lines of an audit log."""
        path = self.directory / name
        if not path.exists():
            return []
        text = path.read_text(errors="surrogateescape")
        if text and not text.endswith("\n"):
            raise AssertionError(f"{name} ends in the middle of a line: {text[-200:]!r}")
        return text.split("\n")[:-1]

    def await_audit(self, count: int, name: str = "access.log") -> list[str]:
        """Wait until an audit log has ``count`` lines, and return them. More lines are a failure."""
        eventually(lambda: len(self.audit(name)) >= count, f"{count} lines in {name}")
        lines = self.audit(name)
        if len(lines) != count:
            raise AssertionError(f"{len(lines)} lines in {name} instead of {count}: {lines}")
        return lines

    def connect(self, name: str = "https", *, tls: bool | ssl.SSLContext | None = None, server_name: str | None = None) -> Wire:
        """A connection to the listener on port ``@name@``; with TLS if its name is https, unless ``tls`` says otherwise."""
        return Wire(self.ports[name], tls=name == "https" if tls is None else tls, server_name=server_name)


class GatewayOfTwo(Gateway):
    """A gateway with two workers, unless the configuration says how many."""

    def configure(self, config: str) -> None:
        """See `Gateway`."""
        if "workers =" not in config:
            config = config.replace("[perimeter]\n", "[perimeter]\nworkers = 2\n", 1)
        super().configure(config)


class ExecutedGateway(Gateway):
    """A gateway that is started by the command that users run, which imports all that it needs by itself."""

    executed = True


class GatewayCase(TestCase):
    """A test with gateways, upstreams and connections. At its end all of them are checked and removed."""

    gateway_class = Gateway

    def directory(self) -> Path:
        """A new directory. trial keeps it until its next run, so that it can be inspected."""
        path = Path(self.mktemp()).resolve()
        path.mkdir(parents=True)
        return path

    def gateway(
        self,
        config: str,
        files: Mapping[str, str | bytes] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Gateway:
        """A running gateway."""
        return self.unstarted(config, files, environ).start()

    def unstarted(
        self,
        config: str,
        files: Mapping[str, str | bytes] | None = None,
        environ: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
    ) -> Gateway:
        """A gateway that the test starts with `Gateway.start` or `Gateway.launch`."""
        gateway = self.gateway_class(self.directory(), config, files, environ, before=before)
        self.addCleanup(gateway.stop)
        return gateway

    def upstream(self, script: Script | bytes = OK) -> Upstream:
        """A service that runs ``script``. If ``script`` is bytes, they are the reply to every request."""
        upstream = Upstream(script)
        self.addCleanup(upstream.close)
        return upstream

    def nginx(self, files: Mapping[str, bytes], server: str = "") -> Nginx:
        """A real nginx."""
        self.need("nginx")
        nginx = Nginx(self.directory(), files, server)
        self.addCleanup(nginx.close)
        return nginx

    def echo(self) -> Echo:
        """A Twisted app that answers with the request."""
        echo = Echo(self.directory())
        self.addCleanup(echo.close)
        return echo

    def connect(self, gateway: Gateway, name: str = "https", **options: bool | ssl.SSLContext | str | None) -> Wire:
        """`Gateway.connect`, closed when the test is over."""
        wire = gateway.connect(name, **options)
        self.addCleanup(wire.close)
        return wire

    def need(self, *programs: str) -> None:
        """Skip the test if a program is missing."""
        missing = [program for program in programs if shutil.which(program, path=SEARCH) is None]
        if missing:
            raise SkipTest(f"{', '.join(missing)} not installed: scripts/install-test-peers installs all that is needed")


def targets(lines: list[str]) -> list[str]:
    """The targets of audit lines in the format ``reactor``."""
    return [line.split('"')[1].split(" ")[1] for line in lines]


def site(routes: str, *, tls: bool = False, extra: str = "", perimeter: str = "", limits: str = "") -> str:
    """A site.ini with one listener (``@https@`` with TLS, ``@http@`` without), the users of `USERS`, and ``routes``."""
    listener = "[listener https]\nport = @https@\ntls = yes\n" if tls else "[listener http]\nport = @http@\n"
    return f"""\
[perimeter]
realm = example
state_dir = state
{perimeter}

[limits]
{limits}

{listener}interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users.realm

[audit]
path = access.log

{extra}

{routes}
"""


USERS = {"users.realm": "alice: secret,admin,ops\nbob: hunter2\n"}
"""The realm file that `site` names: alice has the roles admin and ops, bob has no role."""

LOGIN_ROUTES = """\
[upstream service]
servers = <service>

[route admin]
path = /admin
upstream = service
allow = role:admin
browser_login = yes

[route all]
path = /
upstream = service
browser_login = yes
"""
"""Routes to ``<service>`` with a login page: ``/admin`` is for the role admin, all else for every user."""
