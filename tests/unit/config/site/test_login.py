"""``[login]``, ``hsts`` of a listener, and the paths that routes must leave to the gateway's own pages."""

from __future__ import annotations

import attrs

from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.login import Cleared
from tests.unit.doubles.site import SITE, SiteCase


class LoginTests(SiteCase):
    def test_defaults(self) -> None:
        login = self.load(SITE).login
        self.assertEqual((login.path, login.title, login.message), ("/.perimeter", "", ""))
        self.assertEqual((login.logo, login.message_file, login.templates), (None, None, None))
        self.assertEqual((login.idle, login.lifetime, login.stay, login.fresh), (3600.0, 43200.0, 0.0, 900.0))
        self.assertEqual((login.max_sessions, login.choose_realm, login.clear_on_logout), (20, False, (Cleared.CACHE,)))

    def test_the_prefix_is_not_the_root(self) -> None:
        self.assertEqual(
            self.problems(self.with_option("login", "path", "/")),
            ["site.ini:21: [login] path: expected a path below /, not '/', did you mean /.perimeter?"],
        )

    def test_no_route_takes_the_prefix_or_a_path_below_it(self) -> None:
        for path in ("/own", "/own/login", "/own/x/y"):
            (found,) = self.problems(self.with_option("route app", "path", path) + "[login]\npath = /own\n")
            self.assertIn("[route app] path: /own and all paths below it belong to the gateway's own pages", found)
        for path in ("/", "/owner", "/x/own"):
            self.load(self.with_option("route app", "path", path) + "[login]\npath = /own\n")

    def test_message_and_message_file(self) -> None:
        (found,) = self.problems(f"{SITE}[login]\nmessage = x\nmessage_file = users\n")
        self.assertIn("[login] message_file: set either message or message_file, not both", found)

    def test_times_that_contradict_each_other(self) -> None:
        (found,) = self.problems(f"{SITE}[login]\nidle = 2h\nlifetime = 1h\n")
        self.assertIn("[login] idle: is longer than lifetime", found)
        (found,) = self.problems(f"{SITE}[login]\nstay = 11h\n")
        self.assertIn("[login] stay: is shorter than lifetime", found)
        self.load(f"{SITE}[login]\nidle = 12h\nstay = 12h\n")
        self.load(f"{SITE}[login]\nlifetime = 30m\n")

    def test_what_is_cleared(self) -> None:
        self.assertEqual(self.load(self.with_option("login", "clear_on_logout", "none")).login.clear_on_logout, ())
        both = self.load(self.with_option("login", "clear_on_logout", "cache, storage")).login.clear_on_logout
        self.assertEqual(both, (Cleared.CACHE, Cleared.STORAGE))
        (found,) = self.problems(self.with_option("login", "clear_on_logout", "none, cache"))
        self.assertIn("none cannot be combined with other words", found)


class WarningTests(SiteCase):
    def warned(self, text: str) -> tuple[str, ...]:
        return tuple(
            found for found in self.load(text).warnings if "signed out" in found or "link to https" in found or "[login]" in found
        )

    def test_login_without_a_route_for_browsers(self) -> None:
        self.assertEqual(self.warned(f"{SITE}[login]\nidle = 1m\n"), ("[login] has no effect: no route has browser_login = yes",))
        self.assertNotIn(
            "[login]", str(self.warned(self.with_option("route app", "browser_login", "yes") + "[login]\nidle = 1m\n"))
        )

    def test_a_listener_without_tls(self) -> None:
        site = self.with_option("route app", "browser_login", "yes")
        plain = f"{site}[listener plain]\nport = 8080\ninterface = 127.0.0.1\n"
        warning = "[listener plain] has no TLS: a browser that asks for a page there gets a page with a link to https"
        self.assertIn(warning, self.warned(plain))
        self.assertNotIn(warning, self.warned(f"{plain}[perimeter]\ntrusted_proxies = 127.0.0.1\n"))
        self.assertNotIn(warning, self.warned(f"{plain}serve = tokens\n"))
        self.assertNotIn(warning, self.warned(f"{SITE}[listener plain]\nport = 8080\ninterface = 127.0.0.1\n"))

    def test_sessions_in_memory(self) -> None:
        site = f"{self.with_option('route app', 'browser_login', 'yes')}[perimeter]\nstate = "
        warning = "[perimeter] state = memory: all users are signed out when the gateway stops"
        self.assertIn(warning, self.warned(f"{site}memory\n"))
        self.assertNotIn(warning, self.warned(f"{site}sqlite\n"))


class HstsTests(SiteCase):
    def test_a_certificate_of_ones_own_is_for_a_year(self) -> None:
        listener = ListenerSettings("x", port=1, tls=True)
        own = attrs.evolve(listener, certificate=(self.directory,))
        self.assertEqual((listener.hsts_age, own.hsts_age), (0, 31536000))
        self.assertEqual(attrs.evolve(listener, keystore=self.directory).hsts_age, 31536000)
        self.assertEqual(attrs.evolve(own, hsts=0.0).hsts_age, 0)
        self.assertEqual(attrs.evolve(listener, hsts=60.0).hsts_age, 60)

    def test_its_values(self) -> None:
        for text, age in (("off", 0), ("30d", 2592000), ("1h", 3600)):
            self.assertEqual(self.load(self.with_option("listener https", "hsts", text)).listeners[0].hsts_age, age)
        self.assertTrue(self.problems(self.with_option("listener https", "hsts", "never")))
        (found,) = self.problems(self.with_option("listener https", "hsts", "30d").replace("tls = yes\n", ""))
        self.assertIn("[listener https] hsts: is only allowed with tls = yes", found)
