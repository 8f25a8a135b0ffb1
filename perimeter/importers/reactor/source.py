"""Continuuity Reactor's security: ``continuuity-site.xml``. Pure. Its ``logback.xml`` is `perimeter.importers.logback`'s.

Names and defaults are those of Reactor's manual, and of CDAP, the name of later versions (``cdap-site.xml``,
``cdap-security.xml``). Properties that have nothing to do with security or the router stay where they are, and are named in one
remark.
"""

from __future__ import annotations

from collections.abc import Sequence

from perimeter.importers.draft import Draft, Note
from perimeter.importers.judgement import Judge, accept
from perimeter.importers.reactor.authentication import HANDLER, ReactorAuthentication
from perimeter.importers.reactor.listeners import ReactorListeners
from perimeter.importers.reactor.properties import CONSUMED, Properties
from perimeter.importers.reactor.site_files import properties

UPSTREAM = "http://127.0.0.1:11015"
OTHER_UPSTREAM = "http://127.0.0.1:11016"
"""The service where the gateway itself listens on the port of `UPSTREAM`."""

_OURS = ("security.", "router.", "ssl.")
_THEIRS = (
    *("security.store.", "security.keytab.", "security.internal.", "security.runtime.", "ssl.internal.", "router.audit."),
    *("security.authorization.", "security.authentication.propagate."),
)
"""What the services behind the perimeter need for themselves."""

_LIVES = {
    "security.server.token.expiration.ms": "lifetime",
    "security.server.extended.token.expiration.ms": "extended_lifetime",
    "security.token.digest.key.expiration.ms": "key_lifetime",
}
_ANNOUNCED = "security.auth.server.announce."


def looks_like(text: str) -> bool:
    """Whether this is XML with Hadoop's properties in it."""
    return text.lstrip("\ufeff \t\r\n").startswith("<") and "<property" in text


def convert(text: str, file: str, draft: Draft, judge: Judge = accept) -> None:
    """Add what the properties in ``text`` say to ``draft``. Raises `ImportFault`."""
    convert_all([(text, file)], draft, judge)


def convert_all(sources: Sequence[tuple[str, str]], draft: Draft, judge: Judge = accept) -> None:
    """Add the properties of several files (text and name of each), which belong together. Raises `ImportFault`.

    An authenticator that ``judge`` does not accept is left out.
    """
    draft.source = "reactor"
    found = properties(sources, draft)
    _PropertiesImport(sources[0][1], found, draft, set(CONSUMED)).all(judge)


class _PropertiesImport(Properties):
    def all(self, judge: Judge) -> None:
        """Everything that the properties say."""
        self.listening = ReactorListeners(self.file, self.properties, self.draft, self.taken)
        enabled = self.perimeter()
        self.listening.add(tokens=enabled)
        ReactorAuthentication(self.file, self.properties, self.draft, self.taken, judge).add()
        self.token()
        self.route()
        self.others()

    # -- the sections

    def perimeter(self) -> bool:
        """The gateway as a whole. Returns whether security is on."""
        section = self.draft.section("perimeter")
        # security is off where the file says so in plain words only (attack 48)
        off = self.off("security.enabled")
        if off:
            self.put(section, "enabled", "security.enabled", "no")
            self.draft.remark(
                self.note("security.enabled"), "Reactor has no authentication server while security is off: no listener for it"
            )
        elif "security.enabled" in self.properties:
            self.put(section, "enabled", "security.enabled", "yes")
        else:
            # Reactor's default is false. It is not taken over: a missing line must not turn security off.
            self.draft.remark(
                Note(self.file, 0, ""), "security.enabled is missing, which Reactor takes for false; here security is on"
            )
        self.put(section, "realm", "security.realm")
        name, urls = self.announced()
        if urls:
            self.put(section, "announce", name, urls)
        return not off

    def announced(self) -> tuple[str, str]:
        """The URLs of the authentication server that Reactor tells clients, and the property that says so."""
        name = _ANNOUNCED + "urls"
        urls = [f"{url.strip().rstrip('/')}/token" for url in self.take(name).split(",") if url.strip()]
        if urls:
            return name, ", ".join(urls)
        secure = self.listening.secure()
        scheme, port = ("https", self.listening.tls_port()) if secure else ("http", self.listening.plain_port())
        if place := self.take(_ANNOUNCED + "address"):
            return _ANNOUNCED + "address", f"{scheme}://{place}/token"
        for name in ("security.auth.server.address", "security.auth.server.bind.address"):
            address = self.take(name)
            if address in ("0.0.0.0", "::"):  # noqa: S104 - read, not bound
                return name, ""
            if address:
                host = f"[{address}]" if ":" in address else address
                return name, f"{scheme}://{host}:{port}/token"
        return name, ""

    def token(self) -> None:
        section = self.draft.section("token")
        for name, option in _LIVES.items():
            value = self.take(name)
            if value and not (value.isascii() and value.isdigit() and len(value) <= 15):
                self.draft.left(self.note(name), f"{name}: expected milliseconds")
            elif value:
                self.put(section, option, name, f"{int(value) // 1000}s" if int(value) % 1000 == 0 else f"{value}ms")
        idle = self.take("router.connection.idle.timeout.secs")
        if idle:
            self.put(self.draft.section("limits"), "idle_timeout", "router.connection.idle.timeout.secs", f"{idle}s")

    def route(self) -> None:
        origin = Note(self.file, 0, "the router")
        port = self.draft.sections["listener router"].options["port"].value
        servers = OTHER_UPSTREAM if UPSTREAM.endswith(f":{port}") else UPSTREAM
        upstream = self.draft.section("upstream", "reactor")
        self.draft.put(upstream, "servers", servers, origin)
        route = self.draft.section("route", "reactor")
        self.draft.put(route, "path", "/", origin)
        self.draft.put(route, "upstream", "reactor", origin)
        self.draft.put(route, "challenge", "bearer", origin)  # as Reactor's clients know it
        self.draft.remark(origin, f"Reactor's router finds its services by itself; here [upstream reactor] names them: {servers}")
        if self.take("router.bypass.auth.regex"):
            self.draft.left(
                self.note("router.bypass.auth.regex"),
                "router.bypass.auth.regex: write a [route …] with auth = none for each path",
            )
        mode = "security.authentication.mode"
        header = self.take("security.authentication.proxy.user.identity.header")
        if self.take(mode).upper() not in ("", "MANAGED") or self.unclear(mode):
            self.draft.left(
                self.note(mode),
                f"{mode}: an authenticator with type = trusted-header takes the user from {header or 'CDAP-UserId'}, "
                "from the addresses in trusted_proxies",
            )
        name = "security.authorization.enabled"
        if name in self.properties and not self.off(name):
            self.draft.left(
                self.note(name), f"{name}: here only allow and deny of [route reactor]; services decide for themselves"
            )

    def others(self) -> None:
        foreign = []
        for name, found in self.properties.items():
            if name in self.taken:
                continue
            if name.startswith(HANDLER):
                self.draft.left(found.note, f"{name}: it is an option of a Java class, and this one is not known here")
            elif name.startswith(_OURS) and not name.startswith(_THEIRS):
                self.draft.left(found.note, f"{name}: there is nothing like it here")
            else:
                foreign.append(name)
        if foreign:
            shown = ", ".join(foreign[:5]) + (", …" if len(foreign) > 5 else "")
            self.draft.remark(
                Note(self.file, 0, ""),
                f"{len(foreign)} properties do not belong to Reactor's security and stay with Reactor: {shown}",
            )
