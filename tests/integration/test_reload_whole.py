"""A reload takes effect completely or not at all, no matter what the plug-ins of the old and the new configuration do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.integration import authplugin
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.test_lifecycle import assert_closed

PLUGIN = """
import os
import time

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.config.language.datatypes import TEXT
from perimeter.config.language.option import option, options_of
from perimeter.config.language.settings import Settings, read
from perimeter.model import Principal
from perimeter.plugin.authenticator import IAuthenticatorFactory, IRunningAuthenticator

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def say(text):
    with open(os.path.join(HERE, "said"), "a") as file:
        file.write(text + "\\n")


def asked_to(what):
    return os.path.exists(os.path.join(HERE, what))


@implementer(IRunningAuthenticator)
class Fragile:
    def __init__(self, name, realm, word):
        self.name, self.realm, self.word = name, realm, word

    async def authenticate(self, credentials, request):
        return Principal("fragile", self.realm) if getattr(credentials, "username", "") == "fragile" else None

    def start(self, changed):
        if asked_to("fail-start-" + self.word):
            raise ZeroDivisionError("the plug-in cannot start")
        say("start " + self.word)

    def stop(self):
        say("stop " + self.word)
        if asked_to("fail-stop-" + self.word):
            raise ZeroDivisionError("the plug-in cannot stop")


@attrs.frozen
class FragileSettings(Settings):
    word: str = option(TEXT, "what the test calls it")


@implementer(IPlugin, IAuthenticatorFactory)
class FragileFactory:
    kind = "fragile"
    options = options_of(FragileSettings)

    def parse(self, section):
        word = read(section, FragileSettings).word
        if asked_to("slow-parse"):
            say("parsing " + word)
            while asked_to("slow-parse"):
                time.sleep(0.02)
        return word

    def build(self, name, realm, settings, services):
        if asked_to("fail-build-" + settings):
            raise ZeroDivisionError("the plug-in cannot be built")
        return Fragile(name, realm, settings)


fragile = FragileFactory()
"""

ROUTES = """
[upstream sample]
servers = sample:

[route all]
path = /
upstream = sample
auth = none

[authenticator first]
type = fragile
word = {0}-first

[authenticator second]
type = fragile
word = {0}-second
"""

MORE = "[listener more]\nport = @more@\ninterface = 127.0.0.1\n"


class PluginCase(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.plugins = Path(self.mktemp()).absolute()
        self.environ = authplugin.installed(self.plugins, PLUGIN)

    def config(self, word: str, *, changed: bool = False) -> str:
        """The configuration with ``word`` in the plug-ins. With ``changed``, everything else differs as well."""
        config = site(ROUTES.format(word), extra=MORE if changed else "")
        if not changed:
            return config
        config = config.replace("path = access.log", "path = second.log").replace("auth = none", "auth = required")
        return config.replace("[perimeter]\n", "[perimeter]\nmaintenance = yes\n") + "[logging]\nlevel = error\nformat = json\n"

    def ask(self, what: str) -> None:
        (self.plugins / what).touch()

    def ask_no_more(self, what: str) -> None:
        (self.plugins / what).unlink()

    @property
    def said(self) -> list[str]:
        path = self.plugins / "said"
        return path.read_text().splitlines() if path.exists() else []

    def assert_as_before(self, gateway: Gateway, records: int) -> None:
        """Nothing of the changed configuration is in force."""
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get("/").status, 200, "neither maintenance nor authentication")
        assert_closed(gateway, "more")
        self.assertEqual(len(gateway.await_audit(records)), records, "the audit log is the one of before")
        self.assertEqual(gateway.audit("second.log"), [])


class FailingPluginTests(PluginCase):
    def test_attack_41_a_plug_in_that_cannot_start_leaves_everything_as_it_was(self) -> None:
        gateway = self.gateway(self.config("a"), USERS, environ=self.environ)
        self.assertEqual(self.said, ["start a-first", "start a-second"])
        descriptors = len(os.listdir(f"/proc/{gateway.pid}/fd"))
        for number, fault in enumerate(("fail-build-b-second", "fail-start-b-second", "fail-start-b-first"), 1):
            self.ask(fault)
            gateway.configure(self.config("b", changed=True))
            self.assertIn("not reloaded: ", gateway.reload(), fault)
            self.assert_as_before(gateway, number)
            self.ask_no_more(fault)
        gateway.await_log("[authenticator first] cannot be started: ZeroDivisionError")
        # parts that had started were stopped again, and parts in use were not
        self.assertEqual(self.said[2:], ["start b-first", "stop b-first"])
        eventually(lambda: len(os.listdir(f"/proc/{gateway.pid}/fd")) <= descriptors, "no descriptor is left open")
        # the daemon's own log has not changed either
        gateway.configure(self.config("b"))
        self.assertIn("STATUS=listening", gateway.reload())
        gateway.await_log("info perimeter.run.daemon: reloaded: listening")
        self.assertEqual(self.said[4:], ["start b-first", "start b-second", "stop a-first", "stop a-second"])
        gateway.kill()  # tracebacks in its log are expected

    def test_a_plug_in_that_cannot_stop_does_not_stop_a_reload(self) -> None:
        gateway = self.gateway(self.config("a"), USERS, environ=self.environ)
        wire = self.connect(gateway, "http")
        self.assertEqual(wire.get("/").status, 200)
        self.ask("fail-stop-a-first")
        gateway.configure(self.config("b", changed=True))
        self.assertIn("STATUS=listening", gateway.reload())
        gateway.await_log("the plug-in cannot stop")
        self.assertEqual(self.said[2:], ["start b-first", "start b-second", "stop a-first", "stop a-second"])
        self.assertEqual(wire.get("/").status, 503, "maintenance")
        self.assertEqual(self.connect(gateway, "more").get("/").status, 503)
        self.assertEqual((len(gateway.audit()), len(gateway.audit("second.log"))), (1, 2))
        old = {os.path.basename(os.path.realpath(f"/proc/{gateway.pid}/fd/{fd}")) for fd in os.listdir(f"/proc/{gateway.pid}/fd")}
        self.assertNotIn("access.log", old, "the old audit log is closed")
        gateway.configure(self.config("c"))
        self.assertIn("STATUS=listening", gateway.reload())
        self.assertEqual(self.connect(gateway, "http").get("/").status, 200)
        gateway.kill()  # a traceback in its log is expected

    def test_a_plug_in_that_cannot_start_stops_the_start(self) -> None:
        self.ask("fail-start-a-second")
        gateway = self.unstarted(self.config("a"), USERS, environ=self.environ)
        gateway.launch()
        self.assertNotEqual(gateway.wait(), 0)
        self.assertIn("[authenticator second] cannot be started: ZeroDivisionError", gateway.log)
        self.assertEqual(self.said, ["start a-first", "stop a-first"])
        gateway.kill()


class SlowTests(PluginCase):
    """While a configuration is being read, on a slow file system or by a slow plug-in."""

    def slow(self) -> Gateway:
        gateway = self.gateway(self.config("a"), USERS, environ=self.environ)
        self.ask("slow-parse")
        self.addCleanup(lambda: (self.plugins / "slow-parse").unlink(missing_ok=True))
        gateway.configure(self.config("b"))
        gateway.signal(signal.SIGHUP)
        gateway.await_notification("RELOADING=1")
        eventually(lambda: "parsing b-first" in self.said, "the configuration is being read")
        return gateway

    def test_requests_are_answered_meanwhile(self) -> None:
        gateway = self.slow()
        wire = self.connect(gateway, "http")
        for _ in range(5):
            self.assertEqual(wire.get("/").status, 200)
        self.ask_no_more("slow-parse")
        self.assertIn("STATUS=listening", gateway.await_notification("READY=1"))

    def test_a_reload_that_is_asked_for_meanwhile_is_done_afterwards(self) -> None:
        gateway = self.slow()
        gateway.configure(self.config("c"))
        for _ in range(3):
            gateway.signal(signal.SIGHUP)
        self.assertEqual(self.connect(gateway, "http").get("/").status, 200)
        self.ask_no_more("slow-parse")
        self.assertIn("STATUS=listening", gateway.await_notification("READY=1"))
        gateway.await_notification("RELOADING=1")
        gateway.await_notification("READY=1")
        self.assertEqual(self.said[-2:], ["stop b-first", "stop b-second"], "the first was put in force, and the last one")
        self.assertIn("start c-second", self.said)
        gateway.stop()
        self.assertEqual(len([line for line in gateway.notifications if "RELOADING=1" in line]), 2)

    def test_sigterm_meanwhile_ends_in_order(self) -> None:
        gateway = self.slow()
        self.assertEqual(self.connect(gateway, "http").get("/").status, 200)
        gateway.signal(signal.SIGTERM)
        gateway.await_notification("STOPPING=1")
        self.assertEqual(gateway.wait(12), -signal.SIGTERM)
        self.assertNotIn("Traceback", gateway.log)
        self.assertNotIn("Unhandled", gateway.log)
        self.assertNotIn("start b-first", self.said)
        self.assertEqual(self.said[-2:], ["stop a-first", "stop a-second"])
        self.assertEqual(len(gateway.audit()), 1)
        gateway.kill()
