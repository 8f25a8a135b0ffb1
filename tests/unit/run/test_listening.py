"""What the daemon says about its listeners."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.run.listening import described


class DescribedTests(TestCase):
    def test_a_listener_with_routes_has_a_url_to_open(self) -> None:
        for interface, tls, url in (
            ("127.0.0.1", True, "https://127.0.0.1:9443/"),
            ("192.0.2.1", False, "http://192.0.2.1:9443/"),
            ("", True, "https://localhost:9443/"),
            ("0.0.0.0", True, "https://localhost:9443/"),
            ("::", False, "http://localhost:9443/"),
            ("::1", True, "https://[::1]:9443/"),
        ):
            settings = ListenerSettings("web", 0, interface, tls=tls)
            self.assertEqual(described(settings, 9443), f"web on port 9443 ({url})")

    def test_other_listeners_have_none(self) -> None:
        for serve in (Serve.TOKENS, Serve.METRICS, Serve.REDIRECT):
            self.assertEqual(described(ListenerSettings("other", 80, serve=serve), 8080), "other on port 8080")
