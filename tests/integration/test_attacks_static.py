"""Attack 7: a static directory serves only its own files, no matter how the path is spelled."""

from __future__ import annotations

from tests.integration.harness import USERS, GatewayCase, site

SECRET = b"nobody's business"

SPELLINGS = (
    "/../secret",
    "/..%5csecret",
    "/..%5Csecret",
    "/..\\secret",
    "/..%2fsecret",
    "/%2e%2e/secret",
    "/%2e%2e%2fsecret",
    "/..%252fsecret",
    "/%252e%252e/secret",
    "/..%c0%afsecret",
    "/....//secret",
    "/sub/../../secret",
    "/sub/..;/..;/secret",
    "/.%00./secret",
    "/secret%00.html",
    "/link",
    "/links/secret",
    "/.htpasswd",
    "/.git/config",
    "/sub/.env",
    "//etc/passwd",
    "/file:///etc/passwd",
)


class StaticTests(GatewayCase):
    def test_attack_07_nothing_outside_the_root(self) -> None:
        gateway = self.unstarted(
            site(
                "[route files]\npath = /\nstatic = root\nauth = none\n\n[route docs]\npath = /docs\nstatic = root\nauth = none\n"
            ),
            USERS
            | {
                "secret": SECRET,
                "root/index.html": b"front",
                "root/sub/page.html": b"page",
                "root/.htpasswd": SECRET,
                "root/.git/config": SECRET,
                "root/sub/.env": SECRET,
            },
        )
        root = gateway.directory / "root"
        (root / "link").symlink_to("../secret")
        (root / "links").symlink_to("..")
        (root / "inside").symlink_to("sub/page.html")
        gateway.start()
        for prefix in ("", "/docs"):
            for spelling in SPELLINGS:
                with gateway.connect("http") as wire:
                    response = wire.get(prefix + spelling)
                self.assertIn(response.status, (400, 404), prefix + spelling)
                self.assertNotIn(SECRET, response.body, prefix + spelling)
                self.assertNotIn(b"root:", response.body, prefix + spelling)
            wire = self.connect(gateway, "http")
            for path, body in (("/", b"front"), ("/sub/page.html", b"page"), ("/inside", b"page")):
                response = wire.get(prefix + path)
                self.assertEqual((response.status, response.body), (200, body), prefix + path)
