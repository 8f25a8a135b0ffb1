"""Clients that send a password only after a challenge has asked for it: they get in, on a route like any other."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Page

from tests.integration.browser import chromium
from tests.integration.harness import GatewayCase, site
from tests.integration.password_dialog import PasswordDialog
from tests.integration.upstreams import GitServer
from tests.integration.wire import basic

USERS = {"users.realm": "alice: secret\n"}

PARENT = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>test.perimeter</groupId><artifactId>parent</artifactId><version>1</version><packaging>pom</packaging>
  <name>from behind the gateway</name>
</project>
"""

PROJECT = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <parent><groupId>test.perimeter</groupId><artifactId>parent</artifactId><version>1</version></parent>
  <artifactId>child</artifactId><packaging>pom</packaging>
  <repositories><repository><id>guarded</id><url>{url}</url></repository></repositories>
</project>
"""

SETTINGS = """<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0">
  <localRepository>{local}</localRepository>
  <servers><server><id>guarded</id><username>alice</username><password>{password}</password></server></servers>
</settings>
"""

PAGE = b"<!DOCTYPE html><title>page</title><p>behind the gateway</p>"


class ClientsThatWaitTests(GatewayCase):
    """The gateway, an nginx with files, and git's own service."""

    def setUp(self) -> None:
        self.place = self.directory()
        parent = "maven/test/perimeter/parent/1/parent-1.pom"
        files = self.nginx({"page.html": PAGE, "file": b"the file\n", parent: PARENT.encode()})
        echo = self.echo()
        self.repositories = self.place / "repositories"
        self.repositories.mkdir()
        self.git = GitServer(self.place, self.repositories)
        self.addCleanup(self.git.close)
        routes = "".join(
            f"[upstream {name}]\nservers = {url}\n[route {name}]\npath = /{name}\nupstream = {name}\nrewrite = /\n{more}"
            for name, url, more in (
                ("files", files.url, ""),
                ("echo", echo.url, ""),
                ("git", self.git.url, ""),
                ("bearer", files.url, "challenge = bearer\n"),
                ("basic", files.url, "challenge = basic\n"),
                ("open", files.url, "auth = none\n"),
            )
        )
        self.served = self.gateway(site(routes), USERS)
        self.base = f"http://127.0.0.1:{self.served['http']}"

    def run_program(self, *command: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        self.need(command[0])
        # no credentials of the user who runs the tests, and no question to a terminal
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and not name.startswith("GIT_")
        }
        environ |= {"HOME": str(self.place), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, cwd=cwd or self.place, env=environ, capture_output=True, timeout=120, check=False)
        if check:
            self.assertEqual(done.returncode, 0, (command, done.stdout[-2000:], done.stderr[-2000:]))
        return done

    def statuses(self, path: str = "") -> list[int]:
        """Of the requests so far for targets that begin with ``path``."""
        lines = [line.split('"') for line in self.served.audit()]
        return [int(line[2].split()[0]) for line in lines if line[1].split()[1].startswith(path)]

    def waited(self, path: str = "") -> None:
        """The client asked without a password first, and was let in with it."""
        statuses = self.statuses(path)
        self.assertEqual((statuses[0], statuses[-1]), (401, 200), statuses)

    def test_the_answer_has_bearer_first(self) -> None:
        wire = self.connect(self.served, "http")
        own, password = 'Bearer realm="example"', 'Basic realm="example", charset="UTF-8"'
        for path, wanted in (("/files/file", [own, password]), ("/bearer/file", [own]), ("/basic/file", [password])):
            for lines in ((), (basic("alice", "wrong"),)):
                self.assertEqual(wire.get(path, *lines).get_all("www-authenticate"), wanted, (path, lines))
            self.assertEqual(wire.get(path, basic("alice", "secret")).status, 200)

    def test_wget(self) -> None:
        self.run_program("wget", "--quiet", "--user=alice", "--password=secret", "-O", "got", f"{self.base}/files/file")
        self.assertEqual((self.place / "got").read_bytes(), b"the file\n")
        self.waited()
        wrong = self.run_program(
            "wget", "--quiet", "--user=alice", "--password=wrong", "-O", "-", f"{self.base}/files/file", check=False
        )
        self.assertEqual(wrong.returncode, 6, wrong)  # "Username/password authentication failure"
        # where only a token is asked for, it never sends the password
        self.run_program("wget", "--quiet", "--user=alice", "--password=secret", f"{self.base}/bearer/file", check=False)
        self.assertEqual(self.statuses("/bearer/"), [401])

    def test_curl_anyauth(self) -> None:
        curl = ("curl", "--silent", "--fail", "--anyauth", "--user", "alice:secret")
        self.assertEqual(self.run_program(*curl, f"{self.base}/files/file").stdout, b"the file\n")
        self.waited("/files/")
        self.assertEqual(self.run_program(*curl, f"{self.base}/basic/file").stdout, b"the file\n")
        sent = json.loads(self.run_program(*curl, "--data-binary", "x" * 5000, f"{self.base}/echo/x").stdout)
        self.assertEqual((sent["method"], sent["length"]), ("POST", 5000))
        (self.place / "upload").write_bytes(b"y" * 100_000)
        sent = json.loads(self.run_program(*curl, "--upload-file", "upload", f"{self.base}/echo/x").stdout)
        self.assertEqual((sent["method"], sent["length"]), ("PUT", 100_000))

    def test_git_clones_and_pushes(self) -> None:
        git = ("git", "-c", "user.name=alice", "-c", "user.email=alice@example.com", "-c", "init.defaultBranch=main")
        self.run_program(*git, "init", "--quiet", "--bare", "repositories/project.git")
        url = f"{self.base.replace('//', '//alice:secret@')}/git/project.git"
        self.run_program(*git, "clone", "--quiet", url, "first")
        self.waited("/git/")
        first = self.place / "first"
        (first / "file").write_bytes(os.urandom(2_000_000))  # more than git sends in one piece
        self.run_program(*git, "add", "file", cwd=first)
        self.run_program(*git, "commit", "--quiet", "-m", "a file", cwd=first)
        self.run_program(*git, "push", "--quiet", "origin", "HEAD:main", cwd=first)
        self.run_program(*git, "clone", "--quiet", url, "second")
        self.assertEqual((self.place / "second" / "file").read_bytes(), (first / "file").read_bytes())
        denied = self.run_program(*git, "clone", "--quiet", url.replace("secret", "wrong"), "third", check=False)
        self.assertIn(b"Authentication failed", denied.stderr)

    def test_urllib(self) -> None:
        def opened(path: str, password: str, data: bytes | None = None) -> bytes:
            known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            known.add_password(None, self.base, "alice", password)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(known))
            with opener.open(self.base + path, data, timeout=30) as response:
                return bytes(response.read())

        self.assertEqual(opened("/files/file", "secret"), b"the file\n")
        self.waited()
        self.assertEqual(json.loads(opened("/echo/x", "secret", b"x" * 1000))["length"], 1000)
        error = self.assertRaises(urllib.error.HTTPError, opened, "/files/file", "wrong")
        self.assertEqual(error.code, 401)
        error.close()

    def test_requests(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            refused = session.get(f"{self.base}/files/file", timeout=30)
            self.assertEqual(refused.status_code, 401)
            # one value of two lines, as requests shows them: a client that reads it finds both schemes
            self.assertEqual(
                refused.headers["www-authenticate"], 'Bearer realm="example", Basic realm="example", charset="UTF-8"'
            )

            def with_password(response: requests.Response, **options: Any) -> requests.Response:
                """Answer a challenge for a password, as plug-ins of requests do (requests-kerberos, requests-ntlm)."""
                if response.status_code != 401 or "Basic" not in response.headers["www-authenticate"]:
                    return response
                request = response.request.copy()
                requests.auth.HTTPBasicAuth("alice", "secret")(request)
                request.deregister_hook("response", with_password)
                return session.send(request, **options)

            answer = session.get(f"{self.base}/files/file", hooks={"response": with_password}, timeout=30)
            self.assertEqual((answer.status_code, answer.content), (200, b"the file\n"))
            self.assertEqual(session.get(f"{self.base}/files/file", auth=("alice", "secret"), timeout=30).status_code, 200)
        self.assertEqual(self.statuses(), [401, 401, 200, 200])

    def test_maven_resolves_what_is_behind_the_gateway(self) -> None:
        (self.place / "pom.xml").write_text(PROJECT.format(url=f"{self.base}/files/maven"))
        for password, status in (("wrong", 1), ("secret", 0)):
            settings = SETTINGS.format(local=self.place / f"local-{password}", password=password)
            (self.place / "settings.xml").write_text(settings)
            command = ("mvn", "--batch-mode", "--settings", "settings.xml", "validate")
            done = self.run_program(*command, check=False)
            self.assertEqual(done.returncode, status, done.stdout)
            resolved = self.place / f"local-{password}" / "test/perimeter/parent/1/parent-1.pom"
            self.assertEqual(resolved.exists() and resolved.read_text(), status == 0 and PARENT)
        statuses = self.statuses("/files/maven/")
        self.assertEqual((statuses[0], 200 in statuses), (401, True), statuses)

    def browser_page(self) -> Page:
        context = chromium().context()
        self.addCleanup(context.close)
        return context.new_page()

    def test_browser_with_its_own_dialog(self) -> None:
        page = self.browser_page()
        dialog = PasswordDialog(page)
        page.goto(f"{self.base}/files/page.html")
        self.assertNotIn("behind the gateway", page.inner_text("body"))
        self.assertEqual([(one["scheme"], one["realm"]) for one in dialog.challenges], [("basic", "example")])
        dialog.typed = ("alice", "secret")
        page.goto(f"{self.base}/files/page.html")
        self.assertIn("behind the gateway", page.inner_text("body"))
        self.assertEqual(len(dialog.challenges), 2)
        # from now on the browser sends the password by itself
        self.assertEqual(page.evaluate("url => fetch(url).then(answer => answer.status)", f"{self.base}/echo/x"), 200)
        self.assertEqual(len(dialog.challenges), 2)

    def test_browser_opens_no_dialog_where_only_a_token_is_asked_for(self) -> None:
        page = self.browser_page()
        dialog = PasswordDialog(page, ("alice", "secret"))
        for path in ("/bearer/page.html", "/open/page.html"):
            page.goto(self.base + path)
        self.assertEqual(page.evaluate("fetch('/bearer/file').then(answer => answer.status)"), 401)
        self.assertEqual(dialog.challenges, [])
        self.assertEqual(set(self.statuses("/bearer/")), {401})
