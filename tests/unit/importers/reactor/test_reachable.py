"""Random configurations of Reactor and CDAP: the imported gateway is reached by no more clients than the original was.

`original` is a model of the original, written from its manuals: what it serves where, and who may use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import attrs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.config.site.listener import Serve
from tests.unit.doubles.imported import Imported, covers
from tests.unit.doubles.properties import reached, reaches

PROBES = ("/", "/apps", "/ping", "/v3/namespaces/default", "/open/stream", "/open", "/status", "/token", "/whoami")
SWITCHES = ("security.enabled", "ssl.external.enabled", "ssl.enabled", "security.server.ssl.enabled")
ADDRESSES = ("router.bind.address", "security.auth.server.bind.address")
PORTS = {"router.bind.port": "7001", "router.ssl.bind.port": "7002", "security.auth.server.bind.port": "7003"}
PORTS |= {"security.auth.server.ssl.bind.port": "7004"}
HANDLER = "security.authentication.handlerClassName"
OWN = "io.cdap.cdap.security.server."
HANDLERS = ("com.acme.BasicAuthenticationHandler", "com.acme.LDAPAuthenticationHandler", "org.acme.security.server.Own")


@attrs.frozen
class Said:
    """A ``<property>``: ``final`` and ``condition`` are its other elements."""

    name: str
    value: str
    final: bool = False
    condition: bool = False

    def xml(self) -> str:
        more = "<final>true</final>" * self.final + "<activation><jdk>[9,)</jdk></activation>" * self.condition
        return f"<property><name>{self.name}</name><value>{escape(self.value)}</value>{more}</property>"


Files = Mapping[str, Sequence[Said]]


@st.composite
def said(draw: st.DrawFn) -> Said:
    name = draw(st.sampled_from((*SWITCHES * 3, *ADDRESSES * 2, *PORTS, HANDLER, "extra", "user.flag")))
    if name in SWITCHES or name in ("extra", "user.flag"):
        value = draw(
            st.sampled_from(("true", "false", "false", "FALSE", "${extra}", "${nowhere}", "${user.flag}", "${user.flag}", ""))
        )
    elif name in ADDRESSES:
        value = draw(
            st.sampled_from(("0.0.0.0", "10.1.2.3", "127.0.0.1", "::1", "gw.example.com", "${extra}", "${nowhere}", "::"))
        )
    elif name in PORTS:
        value = draw(st.sampled_from((PORTS[name], PORTS[name], "0x10", "70000", "${nowhere}")))
    else:
        value = draw(st.sampled_from((OWN + "BasicAuthenticationHandler", OWN + "LDAPAuthenticationHandler", *HANDLERS)))
    return Said(name, value, draw(st.sampled_from((False, False, True))), draw(st.sampled_from((False,) * 7 + (True,))))


@st.composite
def files(draw: st.DrawFn) -> Files:
    first = draw(st.lists(said(), max_size=7))
    second = draw(st.just([]) | st.lists(said(), min_size=1, max_size=6))
    if draw(st.booleans()):
        first = [*first, Said("security.enabled", draw(st.sampled_from(("true", "false"))), draw(st.booleans()))]
    if draw(st.booleans()):
        first = [*first, Said(HANDLER, draw(st.sampled_from((OWN + "BasicAuthenticationHandler", *HANDLERS))))]
    bypass = draw(st.sampled_from(("", "", "/open/.*", "/ping")))
    first = [*first, Said("router.bypass.auth.regex", bypass), Said("security.authentication.basic.realmfile", "realm")]
    found = {"cdap-site.xml": first} | ({"cdap-security.xml": second} if second else {})
    return dict(reversed(found.items())) if draw(st.booleans()) else found


# -- the model


def in_order(lists: Sequence[Sequence[Said]]) -> dict[str, Said]:
    """What Hadoop makes of these files: the last value counts, or the first that is final; an empty one does not count."""
    found: dict[str, Said] = {}
    finals: set[str] = set()
    for one in (one for several in lists for one in several):
        if one.value and one.name not in finals:
            found[one.name] = one
        if one.final:
            finals.add(one.name)
    return found


@attrs.frozen
class Original:
    """Possible values of what decides; None is a value that the files alone do not tell."""

    found: Mapping[str, Said]

    def value(self, name: str) -> str | None:
        one = self.found.get(name)
        if one is None:
            return ""
        if one.condition:
            return None
        match = re.fullmatch(r"\$\{(.*)\}", one.value)
        if match is None:
            return one.value
        other = self.found.get(match[1])
        if other is None or other.condition or "${" in other.value or match[1].startswith("user."):
            return None
        return other.value

    def on(self, name: str) -> bool:
        """Whether a switch may be on."""
        value = self.value(name)
        return value is None or value.lower() == "true"

    @property
    def security(self) -> bool:
        """Excerpts of the manual leave the switch out; the authentication server is there if anything is said of it."""
        return self.on("security.enabled") or "security.enabled" not in self.found

    @property
    def tls_only(self) -> bool:
        return self.on("ssl.external.enabled") or self.on("ssl.enabled")

    def address(self, name: str) -> str | None:
        """ "" for all interfaces; None for an address that the files do not tell, which only loopback is covered by."""
        value = self.value(name)
        if value in ("", "0.0.0.0", "::"):
            return ""
        return value if value is not None and re.fullmatch(r"[0-9.]+|[0-9a-f:]+", value) else None

    def plain(self, security: bool) -> Iterator[str | None]:
        """Addresses on which something answers without TLS; the authentication server does with ``security``."""
        if not self.tls_only:
            if not self.on("security.server.ssl.enabled"):
                yield self.address("router.bind.address")
            if security:
                yield self.address("security.auth.server.bind.address")

    def everywhere(self, security: bool) -> Iterator[str | None]:
        yield self.address("router.bind.address")
        if security:
            yield self.address("security.auth.server.bind.address")

    def open(self, path: str) -> bool:
        bypass = self.value("router.bypass.auth.regex") or ""
        return not self.on("security.enabled") or bool(bypass and re.fullmatch(bypass, path))


def originals(drawn: Files) -> list[Original]:
    """CDAP reads its two files apart; other programs of the kind read one after the other."""
    return [Original(in_order(list(drawn.values()))), Original(in_order([drawn["cdap-site.xml"]]))]


class ReachableTests(TestCase):
    def imported(self, drawn: Files) -> Imported:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        (directory / "realm").write_text("alice: {plain}wonderland\n")
        texts = {
            name: f"<configuration>{''.join(one.xml() for one in several)}</configuration>" for name, several in drawn.items()
        }
        gateway = Imported(directory, texts)
        self.addCleanup(gateway.close)
        return gateway

    def compare(self, drawn: Files) -> bool:
        """Compare the gateway with the originals. Returns whether it asks for credentials."""
        gateway = self.imported(drawn)
        # doubtful switches are on here, so that the authentication server is there: it admits no client without a password
        switches = [one for several in drawn.values() for one in several if one.name == "security.enabled"]
        security = not switches or any(one.value.lower() != "false" or one.condition for one in switches)
        for original in originals(drawn):
            for one in gateway.served():
                wide = list(original.everywhere(security) if one.tls else original.plain(security))
                self.assertTrue(
                    one.interface in ("127.0.0.1", "::1") or any(at is not None and covers(at, one.interface) for at in wide),
                    f"{one} of {drawn}, where the original answers on {wide}",
                )
                if one.serve is Serve.TOKENS:
                    self.assertTrue(original.security or gateway.config.perimeter.enabled, drawn)
                for path in PROBES:
                    if gateway.open_without_credentials(one.name, path):
                        self.assertTrue(original.open(path), f"{path} of {drawn}")
        handlers = [original.value(HANDLER) for original in originals(drawn)]
        if gateway.config.perimeter.enabled and not any(one and one.startswith(OWN + "Basic") for one in handlers):
            for listener in gateway.served():
                self.assertIsNone(gateway.principal(listener.name, "/apps", "Basic YWxpY2U6d29uZGVybGFuZA=="), drawn)
        return gateway.config.perimeter.enabled

    @reaches(50)
    @settings(
        max_examples=100,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(files())
    def test_attack_74_no_client_gets_further_than_in_reactor(self, drawn: Files) -> None:
        if self.compare(drawn):
            reached(self)

    def test_attack_74_a_final_value_holds_for_one_file_only(self) -> None:
        """A router that reads cdap-site.xml alone listens on one address, although the other file says final and everywhere."""
        self.compare(
            {
                "cdap-security.xml": [Said("router.bind.address", "0.0.0.0", final=True)],
                "cdap-site.xml": [
                    Said("router.bind.address", "10.1.2.3", final=True),
                    Said("security.auth.server.bind.address", "127.0.0.1"),
                ],
            }
        )

    def test_a_switch_that_both_files_write_in_another_case_is_no_doubt(self) -> None:
        drawn = {"cdap-site.xml": [Said("security.enabled", "false")], "cdap-security.xml": [Said("security.enabled", "FALSE")]}
        self.assertFalse(self.compare(drawn))

    def test_what_was_open_in_plain_words_stays_open(self) -> None:
        gateway = self.imported({"cdap-site.xml": [Said("security.enabled", "false")]})
        self.assertEqual([(one.name, one.interface, one.tls) for one in gateway.served()], [("router", "", False)])
        self.assertTrue(gateway.open_without_credentials("router", "/apps"))

    def test_a_user_of_the_realm_file_is_admitted(self) -> None:
        gateway = self.imported(
            {
                "cdap-site.xml": [
                    Said("security.enabled", "true"),
                    Said("security.authentication.handlerClassName", OWN + "BasicAuthenticationHandler"),
                    Said("security.authentication.basic.realmfile", "realm"),
                ]
            }
        )
        found = gateway.principal("router", "/apps", "Basic YWxpY2U6d29uZGVybGFuZA==")
        self.assertEqual(found.username if found else None, "alice")
        self.assertIsNone(gateway.principal("router", "/apps", "Basic YWxpY2U6d3Jvbmc="))
        self.assertFalse(gateway.open_without_credentials("router", "/apps"))
