"""``perimeter run``, ``reload``, ``stop`` and ``upgrade`` against a real gateway: each returns when the work is done."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import SkipTest

import psutil

from perimeter.cli.manual import page
from perimeter.errors import StartupError
from perimeter.run.asking import ask
from tests.integration.harness import SOURCE, USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.test_operator import Ran
from tests.integration.wire import TIMEOUT, basic

ROUTES = "[upstream sample]\nservers = sample:\n\n[route all]\npath = /\nupstream = sample\n"
PUBLIC = "\n[route public]\npath = /public\nupstream = sample\nauth = none\n"
PROGRAM = [sys.executable, "-c", "import sys; sys.argv[0] = 'perimeter'; from perimeter.cli.main import main; main()"]


class ReloadTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.gate = self.gateway(site(ROUTES), USERS)
        self.config = ("-c", str(self.gate.config))

    def status(self, path: str) -> int:
        with self.gate.connect("http") as wire:
            return wire.get(path).status

    def test_it_is_in_force_when_the_command_returns(self) -> None:
        for _ in range(3):
            self.assertEqual(self.status("/public"), 401)
            self.gate.configure(site(ROUTES + PUBLIC))
            ran = Ran("reload", *self.config)
            self.assertEqual((ran.status, ran.output), (0, f"process {self.gate.pid} has loaded {self.gate.config}\n"))
            self.assertEqual(self.status("/public"), 200)
            self.gate.configure(site(ROUTES))
            self.assertEqual(Ran("reload", "--state-dir", str(self.gate.directory / "state")).status, 0)

    def test_json_counts_the_configurations(self) -> None:
        first, second = (json.loads(Ran("reload", "--json", *self.config).output) for _ in range(2))
        self.assertEqual((first["generation"], second["generation"]), (2, 3))
        self.assertEqual(first["status"], f"listening: {first['status'].removeprefix('listening: ')}")
        self.assertIn(str(self.gate["http"]), first["status"])

    def test_every_fault_is_reported_and_nothing_changes(self) -> None:
        self.gate.configure(
            site(ROUTES + PUBLIC).replace("auth = none", "auth = nine").replace("upstream = sample", "upstrem = x", 1)
        )
        ran = Ran("reload", *self.config)
        self.assertEqual(ran.status, 1)
        self.assertIn("Error: site.ini:", ran.output.replace(f"{self.gate.directory}/", ""))
        for words in ("auth: expected", "did you mean upstream?"):
            self.assertIn(words, ran.output)
        self.assertEqual(self.status("/public"), 401)

    def test_a_port_that_is_taken(self) -> None:
        """A fault that only the gateway itself can find."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.gate.configure(site(ROUTES) + f"\n[listener more]\nport = {port}\ninterface = 127.0.0.1\n")
            ran = Ran("reload", *self.config)
        self.assertEqual((ran.status, f"127.0.0.1:{port}" in ran.output), (1, True), ran.output)
        self.assertIn("in use", ran.output)

    def test_the_file_at_the_time_of_the_question_is_loaded(self) -> None:
        """A reload that is asked for during another one waits for its own result."""
        results: list[Ran] = []
        threads = []
        for text in (ROUTES, ROUTES + PUBLIC, ROUTES, ROUTES + PUBLIC):
            self.gate.configure(site(text))
            threads.append(threading.Thread(target=lambda: results.append(Ran("reload", "--json", *self.config))))
            threads[-1].start()
        for thread in threads:
            thread.join(60)
        self.assertEqual([one.status for one in results], [0] * 4, [one.output for one in results])
        self.assertEqual(self.status("/public"), 200)

    def test_another_configuration(self) -> None:
        other = self.gate.directory / "other.ini"
        other.write_text(self.gate.config.read_text())
        ran = Ran("reload", "-c", str(other))
        self.assertEqual((ran.status, "has another configuration" in ran.output), (1, True), ran.output)

    def test_no_gateway_runs(self) -> None:
        self.gate.stop()
        for command in ("reload", "stop", "upgrade", "status"):
            ran = Ran(command, *self.config)
            self.assertEqual(ran.status, 4, ran.output)
            self.assertIn("no gateway is running with state_dir", ran.output)

    def test_a_question_imports_neither_twisted_nor_what_reads_a_configuration(self) -> None:
        command = [sys.executable, "-X", "importtime", *PROGRAM[1:]]
        environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
        revoke = ("revoke", "--user", "alice", "--realm", "local")
        for words in (("status",), ("unban", "alice"), ("token", "list"), ("session", "list"), revoke, ("reload",), ("stop",)):
            done = subprocess.run([*command, *words, *self.config], env=environ, capture_output=True, text=True, timeout=60)
            imported = re.findall(r"\| +([\w.]+)$", done.stderr, re.M)
            self.assertIn("perimeter.run.asking", imported, done.stderr[-500:])
            heavy = [
                name for name in imported if name in ("twisted", "zope.interface", "cryptography", "perimeter.config.site.load")
            ]
            self.assertEqual(heavy, [], words)
        self.assertEqual(self.gate.wait(TIMEOUT), 0)

    def test_upgrade_needs_workers(self) -> None:
        ran = Ran("upgrade", *self.config)
        self.assertEqual(ran.status, 1)
        self.assertIn("an upgrade without a pause needs several workers", ran.output)
        self.assertEqual(self.status("/public"), 401)


class WorkerTests(GatewayCase):
    """The same commands with several workers: the main process answers."""

    def setUp(self) -> None:
        super().setUp()
        self.text = site(ROUTES, perimeter="workers = 2")
        self.gate = self.gateway(self.text, USERS)
        self.config = ("-c", str(self.gate.config))

    def statuses(self, path: str) -> set[int]:
        """The answers of many connections, which both workers accept."""
        found = set()
        for _ in range(20):
            with self.gate.connect("http") as wire:
                found.add(wire.get(path).status)
        return found

    def test_a_reload_is_in_force_in_every_worker_when_the_command_returns(self) -> None:
        for text, status in ((site(ROUTES + PUBLIC, perimeter="workers = 2"), 200), (self.text, 401)):
            self.gate.configure(text)
            ran = Ran("reload", *self.config)
            self.assertEqual((ran.status, ran.output), (0, f"process {self.gate.pid} has loaded {self.gate.config}\n"))
            self.assertEqual(self.statuses("/public"), {status})

    def test_a_fault_is_reported_and_nothing_changes(self) -> None:
        self.gate.configure(self.text.replace("path = /\n", "pth = /\n"))
        ran = Ran("reload", *self.config)
        self.assertEqual((ran.status, "did you mean path?" in ran.output), (1, True), ran.output)
        self.assertEqual(self.statuses("/x"), {401})

    def test_status_has_a_row_for_each_worker(self) -> None:
        ran = Ran("status", *self.config)
        self.assertEqual(ran.status, 0, ran.output)
        self.assertIn(f", process {self.gate.pid}, up for ", ran.output)
        rows = re.findall(r"^ +([01]) +serving +(\d+) +\d+ +\d+ (?:s|min).* +0 +1$", ran.output, re.M)
        self.assertEqual([slot for slot, _ in rows], ["0", "1"], ran.output)
        self.assertEqual({int(pid) for _, pid in rows}, {one.pid for one in psutil.Process(self.gate.pid).children()})

    def test_the_members_of_status_are_those_of_the_manual(self) -> None:
        section = page().partition("### perimeter status")[2].partition("\n### ")[0].partition("members of the JSON object")[2]
        first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        listed = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
        self.gate.configure(
            self.text + "\n[operator]\nrole = admin\n\n[listener tls]\ntls = yes\nport = @tls@\ninterface = 127.0.0.1\n"
        )
        self.assertEqual(Ran("reload", *self.config).status, 0)
        answer = json.loads(Ran("status", "--json", *self.config).output)
        self.assertEqual(set(answer), listed)
        for name in ("workers", "listeners", "upstreams", "authenticators", "certificates"):
            row = next(line for line in section.splitlines() if line.startswith(f"| `{name}`"))
            self.assertEqual(
                [one for one in re.findall(r"`(\w+)`", row.partition("servers")[0])[1:] if one not in answer[name][0]], [], name
            )

    def test_stop_waits_for_all_processes(self) -> None:
        processes = psutil.Process(self.gate.pid).children()
        self.assertEqual(len(processes), 2)
        ran = Ran("stop", *self.config)
        self.assertEqual((ran.status, ran.output), (0, f"stopped: process {self.gate.pid}\n"))
        self.assertEqual(self.gate.wait(TIMEOUT), 0)
        self.assertEqual([one for one in processes if one.is_running()], [])

    def test_stop_now_cuts_open_requests_in_every_worker(self) -> None:
        self.gate.configure(site(ROUTES + PUBLIC, perimeter="workers = 2\ndrain_timeout = 300s"))
        self.assertEqual(Ran("reload", *self.config).status, 0)
        for _ in range(6):
            wire = self.gate.connect("http")
            self.addCleanup(wire.close)
            wire.send(b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12")
        eventually(lambda: "6" in re.findall(r"^http +\d+ +(\d+)$", Ran("status", *self.config).output, re.M), "they are open")
        began = time.monotonic()
        self.assertEqual(Ran("stop", "--now", *self.config).status, 0)
        self.assertLess(time.monotonic() - began, 30)


class RunTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = Path(self.mktemp()).absolute()
        self.served = Gateway(
            self.place, site(ROUTES + PUBLIC, perimeter="drain_timeout = 60s"), USERS
        )  # never started by itself
        self.config = ("-c", str(self.served.config))
        self.addCleanup(self.end)

    def end(self) -> None:
        for process in psutil.process_iter():
            try:
                if str(self.served.config) in " ".join(process.cmdline()):
                    process.kill()
                    process.wait(TIMEOUT)
            except psutil.Error:
                continue

    def run_it(self, *options: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "PYTHONPATH": str(SOURCE), "PERIMETER_CONFIG": str(self.served.config)}
        with (self.place / "gateway.log").open("wb") as log:
            process = subprocess.Popen([*PROGRAM, "run", *options], env=environ, stdout=log, stderr=log)
        self.addCleanup(process.wait, TIMEOUT)
        eventually(self.serves, "it serves", 60)
        return process

    def serves(self) -> bool:
        try:
            with self.served.connect("http") as wire:
                return wire.get("/public").status == 200
        except OSError:
            return False

    def test_in_the_foreground_until_it_is_stopped(self) -> None:
        process = self.run_it()
        self.assertIn("ready: listening", (self.place / "gateway.log").read_text())
        ran = Ran("stop", *self.config)
        self.assertEqual((ran.status, ran.output), (0, f"stopped: process {process.pid}\n"))
        self.assertFalse(psutil.pid_exists(process.pid) and process.poll() is None, "it has ended when the command returns")
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_a_signal_ends_it_as_it_ends_twistd(self) -> None:
        process = self.run_it()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(TIMEOUT), -signal.SIGTERM)

    def test_stop_waits_for_open_requests_unless_it_is_told_not_to(self) -> None:
        process = self.run_it()
        wire = self.served.connect("http")
        self.addCleanup(wire.close)
        wire.send(b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12")
        eventually(
            lambda: json.loads(Ran("status", "--json", *self.config).output)["listeners"][0]["connections"] == 1, "it is open"
        )
        environ = {**os.environ, "PYTHONPATH": str(SOURCE)}
        stopping = subprocess.Popen([*PROGRAM, "stop", *self.config], env=environ, stdout=subprocess.DEVNULL)
        eventually(lambda: not (self.place / "state" / "control").exists(), "it stops")
        time.sleep(0.5)
        self.assertIsNone(stopping.poll())
        self.assertIsNone(process.poll())
        wire.send(b"345")
        self.assertEqual(wire.response().status, 200)
        self.assertEqual((stopping.wait(TIMEOUT), process.wait(TIMEOUT)), (0, 0))

        process = self.run_it()
        wire = self.served.connect("http")
        self.addCleanup(wire.close)
        wire.send(b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12")
        began = time.monotonic()
        ran = Ran("stop", "--now", "--json", *self.config)
        self.assertEqual((ran.status, json.loads(ran.output)), (0, {"pid": process.pid}))
        self.assertLess(time.monotonic() - began, 20)

    def test_in_the_background(self) -> None:
        log = self.place / "daemon.log"
        pid = self.place / "pid"
        ran = Ran("run", "--background", "--logfile", str(log), "--pidfile", str(pid), *self.config)
        self.assertEqual((ran.status, ran.output), (0, ""))
        self.assertTrue(self.serves())
        number = int(pid.read_text())
        self.assertEqual(json.loads(Ran("status", "--json", *self.config).output)["pid"], number)
        self.assertEqual(Ran("stop", *self.config).output, f"stopped: process {number}\n")
        self.assertFalse(self.serves())

    def test_a_start_that_fails(self) -> None:
        self.served.configure(site(ROUTES.replace("path = /", "pth = /")))
        ran = Ran("run", *self.config)
        self.assertEqual(ran.status, 1)
        self.assertIn("did you mean path?", ran.output)
        ran = Ran("run", "--background", *self.config)
        self.assertEqual((ran.status, "--background needs --logfile FILE" in ran.output), (2, True))


class TwistdTests(GatewayCase):
    """``twistd perimeter`` finds the configuration as the command does."""

    def test_the_environment_names_the_configuration(self) -> None:
        directory = self.directory()
        (directory / "site.ini").write_text(site(ROUTES).replace("@http@", "8080"))
        (directory / "users.realm").write_text(USERS["users.realm"])
        twistd = [sys.executable, "-c", "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"]
        for named, status, words in (
            (str(directory / "site.ini"), 0, "required"),
            ("", 1, "--config FILE is needed: there is no /etc/"),
        ):
            environ = {**os.environ, "PYTHONPATH": str(SOURCE), "PERIMETER_CONFIG": named}
            command = [*twistd, "--nodaemon", "perimeter", "--check"]
            done = subprocess.run(command, env=environ, cwd=directory, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, words in done.stdout + done.stderr), (status, True), done.stdout + done.stderr)


class NoAnswerTests(GatewayCase):
    def test_a_process_that_is_stopped(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        gateway.signal(signal.SIGSTOP)
        try:
            ran = Ran("status", "-c", str(gateway.config))
        finally:
            gateway.signal(signal.SIGCONT)
        self.assertEqual((ran.status, "does not answer: timed out" in ran.output), (1, True), ran.output)
        self.assertEqual(Ran("status", "-c", str(gateway.config)).status, 0)

    def test_another_user(self) -> None:
        if os.geteuid():
            raise SkipTest("needs root, to be another user")
        gateway = self.gateway(site(ROUTES), USERS)
        with self.assertRaises(StartupError) as caught:
            self.as_other_user(gateway.directory / "state")
        self.assertIn("only the gateway's own user and root may ask it", str(caught.exception))

    def as_other_user(self, directory: Path) -> None:
        os.seteuid(65534)
        try:
            ask(directory, {"command": "status"})
        finally:
            os.seteuid(0)


class UserTests(GatewayCase):
    def test_revoke_is_a_command_of_its_own(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        with gateway.connect("http") as wire:
            made = wire.get(
                "/tokens", basic("alice", "secret"), "Content-Type: application/json", method="POST", body=b'{"name": "x"}'
            )
        token = json.loads(made.body)["token"]
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get("/", f"Authorization: Bearer {token}").status, 200)
            ran = Ran("revoke", "--user", "alice", "--realm", "local", "-c", str(gateway.config))
            self.assertIn("revoked: 1 API token", ran.output)
            self.assertEqual(wire.get("/", f"Authorization: Bearer {token}").status, 401)
