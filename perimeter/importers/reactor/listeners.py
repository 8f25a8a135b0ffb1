"""Where Reactor listens, and with which keystores. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address

from perimeter.importers.draft import DraftSection, plain_name
from perimeter.importers.reactor.properties import Properties

KEYSTORE_PASSWORD = "keystore.password"  # noqa: S105 - the name of a file

_TLS = ("security.server.ssl.enabled", "ssl.external.enabled", "ssl.enabled")
"""Properties that ask for TLS: Reactor's, and those of its later versions, which are called CDAP. These have no plain port."""
_KEYSTORES = ("security.auth.server.ssl.keystore.", "security.server.ssl.keystore.")


class ReactorListeners(Properties):
    """Writes the listeners."""

    def plain_port(self) -> str:
        """The authentication server's port without TLS."""
        return self.take("security.auth.server.port") or self.take("security.auth.server.bind.port") or "10009"

    def tls_port(self) -> str:
        """The authentication server's port with TLS."""
        return self.take("security.server.ssl.port") or self.take("security.auth.server.ssl.bind.port") or "10010"

    def secure(self) -> str:
        """The property that asks for TLS, or "". Anything but a plain ``false`` asks for it (attack 48)."""
        found = ""
        for name in _TLS:
            if name in self.properties and self.take(name).lower() != "false":
                found = found or name
        return found

    def add(self) -> None:
        """The router and the authentication server."""
        secure = self.secure()
        later = secure in _TLS[1:]
        origin = self.note(secure or _TLS[0])
        router = self.draft.section("listener", "router", "Reactor's router")
        address = self.first("security.auth.server.bind.address", "security.auth.server.address")
        if not later:
            tokens = self.draft.section("listener", "tokens", "the authentication server")
            self.draft.put(tokens, "port", self.plain_port(), origin)
            self.draft.put(tokens, "serve", "tokens", origin)
            if secure:
                self.draft.put(tokens, "interface", "127.0.0.1", origin)
                self.draft.remark(
                    origin, f"passwords would cross port {self.plain_port()} in plain text: it is on the loopback interface only"
                )
            else:
                self.interface(tokens, address)
        self.plain_port()
        port = self.tls_port()
        self.draft.put(router, "port", self.router_port(secure), origin)
        self.interface(router, self.first("router.bind.address", "router.server.address"))
        if secure:
            over_tls = self.draft.section("listener", "tokens-tls", "the authentication server" if later else "")
            self.draft.put(over_tls, "port", port, origin)
            self.draft.put(over_tls, "serve", "tokens", origin)
            self.interface(over_tls, address)
            if not later:
                self.draft.remark(origin, "the router speaks TLS as well, on port 10443: tokens are worth as much as passwords")
            self.keystore(router, "router.ssl.keystore.", *_KEYSTORES)
            self.keystore(over_tls, *_KEYSTORES, "router.ssl.keystore.")
        for prefix in (*_KEYSTORES, "router.ssl.keystore."):
            for last in ("path", "password", "type", "keypassword"):
                self.taken.add(prefix + last)

    def interface(self, section: DraftSection, name: str) -> None:
        """Listen on the address of a property only, as the original did."""
        address = self.take(name)
        try:
            if address and not ip_address(address).is_unspecified:
                self.draft.put(section, "interface", address, self.note(name))
        except ValueError:
            if address == "localhost" or ".bind." in name:
                # a name of this machine: on loopback until its address is written (attack 48)
                self.draft.put(section, "interface", "127.0.0.1", self.note(name))
            if address != "localhost" and ".bind." in name:
                self.draft.left(self.note(name), f"{name}: the gateway wants an IP address to listen on")

    def keystore(self, section: DraftSection, *prefixes: str) -> None:
        """TLS with the keystore that the first of ``prefixes`` has."""
        self.draft.put(section, "tls", "yes", self.note(prefixes[0] + "path"))
        prefix = next((one for one in prefixes if self.properties.get(one + "path", ("", None))[0]), "")
        if not prefix:
            return
        self.put(section, "keystore", prefix + "path", needs="file")
        password, key = self.take(prefix + "password"), self.take(prefix + "keypassword")
        if key and key != password:
            self.draft.left(
                self.note(prefix + "keypassword"), f"{prefix}keypassword: the key has the password of its keystore here"
            )
        if password:
            file = KEYSTORE_PASSWORD
            if self.draft.files.get(file, password) != password:
                file = f"{plain_name(section.header)}.{KEYSTORE_PASSWORD}"
            self.draft.put_secret(section, "keystore_password", file, password, self.note(prefix + "password"))

    def router_port(self, secure: str) -> str:
        """The router's port, the one with TLS if ``secure``."""
        rule = self.take("router.forward.rule")
        match = re.fullmatch(r"([0-9]+):gateway(.*)", rule)
        if rule and (match is None or match[2]):
            self.draft.left(self.note("router.forward.rule"), f"router.forward.rule: {rule}: write a [route …] for each service")
        over_tls = self.take("router.ssl.bind.port") or self.take("router.ssl.server.port")
        plain = self.take("router.bind.port") or self.take("router.server.port")
        if secure:
            return over_tls or "10443"
        return plain or (match[1] if match else "10000")
