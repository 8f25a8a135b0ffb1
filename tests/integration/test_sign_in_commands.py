"""People's programs sign in as a browser does: Python requests, and wget. curl without a session is sent nowhere."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

from tests.integration.browser import HOST, OWN
from tests.integration.test_sign_in_browser import SignInCase


class CommandTests(SignInCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.directory()
        self.base = f"https://127.0.0.1:{self.served['https']}"
        self.trusted = self.served.directory / f"{HOST}.pem"

    def run_program(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        self.need(command[0])
        environ = {"HOME": str(self.place), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, cwd=self.place, env=environ, capture_output=True, timeout=60, check=False)

    def test_requests(self) -> None:
        visitor = self.visitor()
        refused = visitor.get("/page?x=1")
        self.assertEqual((refused.status_code, refused.headers.get("location")), (401, None))
        self.assertEqual(visitor.navigate("/page?x=1").status_code, 302)
        answer = visitor.sign_in("alice", "secret", to="/page?x=1")
        self.assertEqual((answer.status_code, answer.headers["location"]), (303, f"{OWN}go?to={quote('/page?x=1', safe='')}"))
        self.assertIn('content="0;url=/page?x=1"', visitor.navigate(answer.headers["location"]).text)
        self.assertEqual(visitor.get("/page?x=1").status_code, 200)
        self.assertEqual(visitor.post("/data", b"x").json(), {"user": "alice", "body": "x"})
        self.assertEqual(visitor.sign_out().status_code, 303)
        self.assertEqual(visitor.get("/page").status_code, 401)

    def test_wget(self) -> None:
        wget = ("wget", "--quiet", f"--ca-certificate={self.trusted}", "--save-cookies=cookies", "--keep-session-cookies")
        form = "--post-data=username=alice&password=secret"
        done = self.run_program(*wget, form, "-O", "answer", f"{self.base}{OWN}login")
        self.assertEqual(done.returncode, 0, done)
        later = self.run_program(*wget, "--load-cookies=cookies", "-O", "report", f"{self.base}/download/report.txt")
        self.assertEqual((later.returncode, (self.place / "report").read_bytes()), (0, b"the report\n"), later)
        wrong = self.run_program(*wget, form + "x", "-O", "-", f"{self.base}{OWN}login")
        self.assertEqual(wrong.returncode, 8, wrong)  # "the server issued an error response"

    def test_curl_without_a_session(self) -> None:
        head = self.place / "head"
        curl = ("curl", "--silent", "--cacert", str(self.trusted), "--dump-header", str(head))
        for more in ((), ("--data", "x"), ("-H", "Accept: application/json"), ("-H", "X-Requested-With: XMLHttpRequest")):
            self.run_program(*curl, *more, f"{self.base}/page")
            text = Path(head).read_text().lower()
            self.assertTrue(text.startswith("http/1.1 401"), text)
            self.assertNotIn("location:", text)
            self.assertNotIn("basic", text)
        self.run_program(*curl, "--user", "alice:secret", f"{self.base}/page")
        self.assertTrue(head.read_text().startswith("HTTP/1.1 200"), "a program may send a password without a challenge")
