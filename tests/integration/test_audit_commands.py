"""`perimeter audit` on the logs of a running gateway, and on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.harness import SOURCE, GatewayCase, site

ROUTE = "[route a]\npath = /\nstatic = html\nauth = none\n"
LINE = (
    b'{"time":"2026-11-22T13:30:00.000Z","address":"10.0.0.1","method":"GET","target":"/%d","status":200,"sent":1,"user":null}\n'
)


class AuditCase(GatewayCase):
    def audit(self, *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        return self.perimeter("audit", *arguments, stdout=stdout, stderr=stderr)

    def perimeter(self, *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-c", "from perimeter.cli.main import main; main()", *arguments)
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE), "TERM": "xterm"}
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def terminal(self) -> tuple[int, int]:
        """Both ends of a terminal, ours first. Theirs is to be closed once it was handed on."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        return ours, theirs

    def shown(self, ours: int, process: subprocess.Popen[bytes]) -> bytes:
        """All that is written to a terminal until ``process`` ends."""
        found = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # EIO: the other end is closed
                    if data := os.read(ours, 65536):
                        found += data
                        continue
                return found
            if process.poll() is not None and not select.select([ours], [], [], 0)[0]:
                return found
        raise AssertionError(f"the command did not end; it has written {found[-200:]!r}")


class FollowTests(AuditCase):
    def test_every_line_over_rolls(self) -> None:
        text = site(ROUTE).replace("path = access.log\n", "path = access.log\nformat = json\nroll = 4KiB\nkeep = 99\n")
        gateway = self.gateway(text, {"users.realm": "alice: horse-battery-staple\n", "html/index.html": "x"})
        wire = self.connect(gateway, "http")

        def get(number: int) -> None:
            wire.send(f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wire.response()

        for number in range(5):
            get(number)
        tail = self.audit("tail", "-c", str(gateway.config), "-n", "3", "-f", "--json")
        assert tail.stdout is not None
        seen = [json.loads(tail.stdout.readline())["target"] for _ in range(3)]
        self.assertEqual(seen, ["/2", "/3", "/4"])
        for number in range(5, 60):
            get(number)
            time.sleep(0.02)  # a follower looks five times a second, and 4 KiB are some eight lines
        seen = [json.loads(tail.stdout.readline())["target"] for _ in range(55)]
        self.assertEqual(sorted(seen), sorted(f"/{number}" for number in range(5, 60)))
        self.assertGreater(len(list(gateway.directory.glob("access.log.*"))), 3)
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(30), 0)
        # all of them are in the files, and whole
        search = self.audit("search", "-c", str(gateway.config), "--json")
        output, _ = search.communicate(timeout=60)
        self.assertEqual([json.loads(line)["target"] for line in output.splitlines()], [f"/{number}" for number in range(60)])
        verify = self.audit("verify", "-c", str(gateway.config))
        verify.communicate(timeout=60)
        self.assertEqual(verify.returncode, 0)


class TerminalTests(AuditCase):
    def log(self, content: bytes) -> Path:
        path = self.directory() / "access.log"
        path.write_bytes(content)
        return path

    def test_progress_is_on_standard_error_of_a_terminal_only(self) -> None:
        path = self.log(b"".join(LINE % number for number in range(400_000)))
        ours, theirs = self.terminal()
        process = self.audit("report", str(path), "--json", stderr=theirs)
        os.close(theirs)
        assert process.stdout is not None
        shown = self.shown(ours, process)
        self.assertEqual(json.loads(process.stdout.read())["requests"], 400_000)
        self.assertRegex(shown, rb"\r\x1b\[Kcounting \[#*\.*\] +[0-9]+%")
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-80:])
        # the same without a terminal
        process = self.audit("report", str(path), "--json")
        _, errors = process.communicate(timeout=60)
        self.assertEqual(errors, b"")

    def test_hashing_many_passwords_shows_its_progress(self) -> None:
        directory = self.directory()
        users = "".join(f"  - {{username: u{number}, password: long-password-{number}}}\n" for number in range(20))
        (directory / "auth.yaml").write_text(f"providers:\n- type: plain\n  name: p\n  realm: r\n  users:\n{users}")
        ours, theirs = self.terminal()
        process = self.perimeter("import", str(directory / "auth.yaml"), "-o", str(directory / "site.ini"), stderr=theirs)
        os.close(theirs)
        shown = self.shown(ours, process)
        self.assertRegex(shown, rb"\r\x1b\[Khashing passwords \[#*\.*\] +[0-9]+%")
        self.assertEqual(len((directory / "p.realm").read_text().splitlines()), 20)

    def test_attack_95_escape_sequences_in_a_line_do_not_reach_a_terminal(self) -> None:
        forged = b'10.0.0.1 \x1b]0;owned\x07\x9b2J [22/Nov/2026:13:30:00 +0000] "GET /\xe2\x80\xae\x1b[8m HTTP/1.1" 200 1\n'
        path = self.log(LINE % 1 + forged)
        for command in ("search", "tail", "report", "verify"):
            ours, theirs = self.terminal()
            process = self.audit(command, str(path), stdout=theirs, stderr=theirs)
            os.close(theirs)
            shown = self.shown(ours, process).replace(b"\r\x1b[K", b"")
            self.assertNotIn(b"\x1b", shown, command)
            self.assertNotIn(b"\x07", shown, command)
            self.assertNotIn(b"\x9b", shown, command)
            self.assertNotIn("\u202e".encode(), shown, command)
            if command in ("search", "tail"):
                self.assertIn(rb"\x1b]0;owned\x07\x9b2J", shown, command)
        # a program gets the bytes of the file
        process = self.audit("search", str(path))
        output, _ = process.communicate(timeout=60)
        self.assertEqual(output, path.read_bytes())

    def test_a_reader_that_leaves(self) -> None:
        path = self.log(b"".join(LINE % number for number in range(50_000)))
        process = self.audit("search", str(path))
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.wait(30)
