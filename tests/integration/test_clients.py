"""Common clients, with verified TLS: curl, wget, requests, httpx, a browser."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import subprocess
from pathlib import Path

import httpx
import requests

from tests.integration.harness import USERS, GatewayCase, site

BODY = bytes(range(256)) * 4096
"""1 MiB."""

PAGE = b"""<!DOCTYPE html>
<title>page</title>
<p id="out">nothing yet</p>
<script>
(async () => {
  const basic = {Authorization: "Basic " + btoa("alice:secret")};
  const token = (await (await fetch("/token", {headers: basic})).json()).access_token;
  const headers = {Authorization: "Bearer " + token};
  const closed = (await fetch("/echo/x")).status;
  const echo = await (await fetch("/echo/x", {method: "POST", body: "from the browser", headers})).json();
  const user = echo.headers.find(([name]) => name === "x-auth-username")[1];
  const file = await (await fetch("/files/big", {headers})).arrayBuffer();
  document.getElementById("out").textContent = `closed=${closed} user=${user} sent=${echo.length} got=${file.byteLength}`;
})();
</script>
"""


class ClientCase(GatewayCase):
    """A gateway in front of an nginx with files and a Twisted app that echoes."""

    def setUp(self) -> None:
        nginx = self.nginx({"page.html": PAGE, "big": BODY})
        echo = self.echo()
        routes = f"""
[upstream files]
servers = {nginx.url}

[upstream echo]
servers = {echo.url}

[route files]
path = /files
upstream = files
rewrite = /

[route echo]
path = /echo
upstream = echo
challenge = bearer

[route page]
path = /page.html
upstream = files
auth = none
"""
        self.site = self.gateway(site(routes, tls=True), USERS)
        # the clients trust the certificate that the gateway has made
        (self.certificate,) = (self.site.directory / "state").glob("*.crt")
        self.base = f"https://localhost:{self.site['https']}"

    def run_client(self, *command: str) -> bytes:
        self.need(command[0])
        return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout

    def token(self) -> str:
        answer = requests.get(f"{self.base}/token", auth=("alice", "secret"), verify=str(self.certificate), timeout=30)
        return str(answer.json()["access_token"])

    def assert_echo(self, text: str | bytes, method: str, body: bytes) -> None:
        """The echo app got this body, from alice."""
        answer = json.loads(text)
        self.assertEqual((answer["method"], answer["length"]), (method, len(body)))
        self.assertEqual(answer["sha256"], hashlib.sha256(body).hexdigest())
        self.assertIn(["x-auth-username", "alice"], answer["headers"])
        self.assertNotIn("authorization", dict(answer["headers"]))


class CommandLineTests(ClientCase):
    def file(self) -> Path:
        path = self.site.directory / "body"
        path.write_bytes(BODY)
        return path

    def test_curl(self) -> None:
        curl = ("curl", "--no-progress-meter", "--fail", "--cacert", str(self.certificate))
        self.assertEqual(self.run_client(*curl, "-u", "alice:secret", f"{self.base}/files/big"), BODY)
        bearer = ("-H", f"Authorization: Bearer {self.token()}")
        body = self.file()
        sent = self.run_client(*curl, *bearer, "--data-binary", f"@{body}", f"{self.base}/echo/a")
        self.assert_echo(sent, "POST", BODY)
        chunked = self.run_client(*curl, *bearer, "-T", str(body), "-H", "Transfer-Encoding: chunked", f"{self.base}/echo/a")
        self.assert_echo(chunked, "PUT", BODY)

    def test_curl_versions(self) -> None:
        for option in ("--http1.0", "--http1.1", "--http2"):
            shown = self.run_client(
                "curl", option, "--no-progress-meter", "--cacert", str(self.certificate), "-u", "alice:secret", "-I",
                f"{self.base}/files/big",
            )  # fmt: skip
            # a server sends the highest version that it supports (RFC 9110, section 6.2), also to an HTTP/1.0 client
            self.assertTrue(shown.startswith(b"HTTP/1.1 200"), shown)
            self.assertIn(f"content-length: {len(BODY)}".encode(), shown.lower())

    def test_curl_tls_versions(self) -> None:
        for minimum, maximum in (("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")):
            got = self.run_client(
                "curl", "--no-progress-meter", minimum, "--tls-max", maximum, "--cacert", str(self.certificate),
                "-u", "alice:secret", f"{self.base}/files/big",
            )  # fmt: skip
            self.assertEqual(got, BODY)

    def test_wget(self) -> None:
        # wget sends a password only after a challenge
        got = self.run_client(
            "wget", "-q", "-O", "-", f"--ca-certificate={self.certificate}", "--auth-no-challenge", "--user=alice",
            "--password=secret", f"{self.base}/files/big",
        )  # fmt: skip
        self.assertEqual(got, BODY)
        got = self.run_client(
            "wget", "-q", "-O", "-", f"--ca-certificate={self.certificate}", f"--header=Authorization: Bearer {self.token()}",
            "--post-data=hello", f"{self.base}/echo/b",
        )  # fmt: skip
        self.assert_echo(got, "POST", b"hello")


class LibraryTests(ClientCase):
    def test_requests(self) -> None:
        with requests.Session() as session:
            session.trust_env = False  # if $REQUESTS_CA_BUNDLE is set, requests prefers it
            session.verify = str(self.certificate)
            self.assertEqual(session.get(f"{self.base}/echo/x", timeout=30).status_code, 401)
            self.assertEqual(session.get(f"{self.base}/files/big", auth=("alice", "secret"), timeout=30).content, BODY)
            session.headers["Authorization"] = f"Bearer {self.token()}"
            self.assert_echo(session.put(f"{self.base}/echo/x", data=BODY, timeout=30).text, "PUT", BODY)
            pieces = (BODY[start : start + 10_000] for start in range(0, len(BODY), 10_000))
            self.assert_echo(session.post(f"{self.base}/echo/x", data=pieces, timeout=30).text, "POST", BODY)
            head = session.head(f"{self.base}/files/big", timeout=30)
            self.assertEqual((head.headers["Content-Length"], head.content), (str(len(BODY)), b""))

    def test_httpx(self) -> None:
        context = ssl.create_default_context(cafile=str(self.certificate))
        with httpx.Client(verify=context, timeout=30) as client:
            self.assertEqual(client.get(f"{self.base}/echo/x").status_code, 401)
            self.assertEqual(client.get(f"{self.base}/files/big", auth=("alice", "secret")).content, BODY)
            bearer = {"Authorization": f"Bearer {self.token()}"}
            self.assert_echo(client.post(f"{self.base}/echo/x", content=BODY, headers=bearer).text, "POST", BODY)
            with client.stream("GET", f"{self.base}/files/big", headers=bearer) as stream:
                self.assertEqual(b"".join(stream.iter_bytes()), BODY)


class BrowserTests(ClientCase):
    def chromium(self, url: str) -> str:
        """The document in headless Chromium after everything is loaded and 20 virtual seconds have passed."""
        self.need("chromium")
        profile = self.directory()
        shown = subprocess.run(
            [
                *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}"),
                # the certificate is self-signed; everything else of TLS is as usual
                *("--ignore-certificate-errors", "--virtual-time-budget=20000", "--dump-dom", url),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={"HOME": str(profile), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(profile)},
        )
        return shown.stdout

    def test_page_whose_script_asks_for_a_token_and_uses_it(self) -> None:
        document = self.chromium(f"{self.base}/page.html")
        found = re.search(r'<p id="out">(.*?)</p>', document)
        assert found is not None, document
        self.assertEqual(found[1], f"closed=401 user=alice sent=16 got={len(BODY)}")

    def test_error_page_is_for_people(self) -> None:
        document = self.chromium(f"{self.base}/nowhere")
        self.assertIn("There is nothing here", document)
        self.assertIn("<html", document)
