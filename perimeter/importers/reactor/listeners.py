"""Where Reactor listens, and with which certificates. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address

from perimeter.importers.draft import DraftSection, plain_name
from perimeter.importers.judgement import unfit_value
from perimeter.importers.reactor.properties import Properties

KEYSTORE_PASSWORD = "keystore.password"  # noqa: S105 - the name of a file
LOOPBACK = "127.0.0.1"

_REACTORS = "security.server.ssl.enabled"
_LATER = ("ssl.external.enabled", "ssl.enabled")
"""Properties that ask for TLS: Reactor's, and those of its later versions, which are called CDAP. With these there is no plain
port."""

_KEYSTORES = ("security.auth.server.ssl.", "security.server.ssl.")
_ROUTERS = "router.ssl."
_TYPES = ("", "JKS", "PKCS12")


class ReactorListeners(Properties):
    """Writes the listeners."""

    def plain_port(self) -> str:
        """The authentication server's port without TLS."""
        return self._port("10009", "security.auth.server.bind.port", "security.auth.server.port")

    def tls_port(self) -> str:
        """The authentication server's port with TLS."""
        return self._port("10010", "security.auth.server.ssl.bind.port", "security.server.ssl.port")

    def secure(self) -> str:
        """The property that asks for TLS, or "". Anything but a plain ``false`` asks for it (attack 48).

        One of CDAP's comes first, because CDAP then has no port without TLS.
        """
        asking = [name for name in (*_LATER, _REACTORS) if name in self.properties and not self.off(name)]
        return asking[0] if asking else ""

    def add(self, *, tokens: bool) -> None:
        """The router, and the authentication server if ``tokens``."""
        secure = self.secure()
        router = self.draft.section("listener", "router", "Reactor's router")
        origin = self.note(secure or self.first("router.bind.port", "router.server.port"))
        self.draft.put(router, "port", self.router_port(secure), origin)
        self.interface(router, self.first("router.bind.address", "router.server.address"))
        if tokens:
            self._authentication_server(secure)
        else:
            for name in ("security.auth.server.bind.address", "security.auth.server.address"):
                self.take(name)
            self.plain_port()
            self.tls_port()
        if secure:
            if secure not in _LATER:
                self.draft.remark(origin, "the router speaks TLS as well, on port 10443: tokens are worth as much as passwords")
            self.certificate(router, _ROUTERS, *_KEYSTORES)
        self._consume()

    def _authentication_server(self, secure: str) -> None:
        origin = self.note(secure or self.first("security.auth.server.bind.port", "security.auth.server.port"))
        address = self.first("security.auth.server.bind.address", "security.auth.server.address")
        port = self.plain_port()
        if secure not in _LATER:
            plain = self.draft.section("listener", "tokens", "the authentication server")
            self.draft.put(plain, "port", port, origin)
            self.draft.put(plain, "serve", "tokens", origin)
            if secure:
                self.draft.put(plain, "interface", LOOPBACK, origin)
                self.draft.remark(
                    origin, f"passwords would cross port {port} in plain text: it is on the loopback interface only"
                )
            else:
                self.interface(plain, address)
        port = self.tls_port()
        if secure:
            over_tls = self.draft.section("listener", "tokens-tls", "the authentication server" if secure in _LATER else "")
            self.draft.put(over_tls, "port", port, origin)
            self.draft.put(over_tls, "serve", "tokens", origin)
            self.interface(over_tls, address)
            self.certificate(over_tls, *_KEYSTORES, _ROUTERS)

    def _port(self, default: str, *names: str) -> str:
        found = default
        for name in names:
            value = self.take(name)
            if value and (fault := unfit_value("listener", "port", value)):
                self.draft.left(self.note(name), f"{name}: {fault}")
            elif value and found is default:
                found = value
        return found

    def interface(self, section: DraftSection, name: str) -> None:
        """Listen on the address of a property only, as the original did.

        Where the address is not known, the listener is on loopback until the operator writes it (attack 48).
        """
        address = self.take(name)
        if self.unclear(name):
            self.draft.put(section, "interface", LOOPBACK, self.note(name))
            return
        try:
            if address and not ip_address(address).is_unspecified:
                self.draft.put(section, "interface", address, self.note(name))
            return
        except ValueError:
            pass
        if address == "localhost" or ".bind." in name:
            self.draft.put(section, "interface", LOOPBACK, self.note(name))
        if address != "localhost" and ".bind." in name:
            self.draft.left(self.note(name), f"{name}: the gateway wants an IP address to listen on")
        elif address != "localhost":
            self.draft.remark(
                self.note(name), f"{name} is a host name: the gateway listens on all interfaces, and interface = … limits it"
            )

    def certificate(self, section: DraftSection, *prefixes: str) -> None:
        """TLS with the certificate that the first of ``prefixes`` has. Without any, the gateway makes one, as CDAP does."""
        self.draft.put(section, "tls", "yes", self.note(prefixes[0] + "keystore.path"))
        for prefix in prefixes:
            if self.properties.get(prefix + "cert.path") is not None and self.take(prefix + "cert.path"):
                self._pem(section, prefix)
                return
            if self.properties.get(prefix + "keystore.path") is not None and self.take(prefix + "keystore.path"):
                self._keystore(section, prefix + "keystore.")
                return

    def _pem(self, section: DraftSection, prefix: str) -> None:
        """CDAP 6: certificate and key in one PEM file."""
        if not self.put(section, "certificate", prefix + "cert.path", needs="file"):
            return
        self.put(section, "private_key", prefix + "cert.path", needs="file")
        self._secret(section, "private_key_password", prefix + "cert.password", "key.password")

    def _keystore(self, section: DraftSection, prefix: str) -> None:
        kind = self.take(prefix + "type").upper()
        if kind not in _TYPES:
            self.draft.left(self.note(prefix + "type"), f"{prefix}type: expected JKS or PKCS12; the gateway makes a certificate")
            return
        if not self.put(section, "keystore", prefix + "path", needs="file"):
            return
        password, key = self.take(prefix + "password"), self.take(prefix + "keypassword")
        if key and key != password:
            self.draft.left(
                self.note(prefix + "keypassword"), f"{prefix}keypassword: the key has the password of its keystore here"
            )
        self._secret(section, "keystore_password", prefix + "password", KEYSTORE_PASSWORD)

    def _secret(self, section: DraftSection, option: str, name: str, file: str) -> None:
        secret = self.take(name)
        if secret:
            if self.draft.files.get(file, secret) != secret:
                file = f"{plain_name(section.header)}.{file}"
            self.draft.put_secret(section, option, file, secret, self.note(name))

    def _consume(self) -> None:
        for prefix in (*_KEYSTORES, _ROUTERS):
            for last in ("path", "password", "type", "keypassword"):
                self.taken.add(f"{prefix}keystore.{last}")
            self.taken.update((f"{prefix}cert.path", f"{prefix}cert.password"))
            for last in ("path", "password", "type"):
                name = f"{prefix}truststore.{last}"
                if self.take(name) and last == "path":
                    self.draft.left(
                        self.note(name), f"{name}: client certificates: write the CAs of the truststore to a PEM file, client_ca"
                    )

    def router_port(self, secure: str) -> str:
        """The router's port, the one with TLS if ``secure``."""
        rule = self.take("router.forward.rule")
        match = re.fullmatch(r"([0-9]{1,5}):gateway(.*)", rule)
        if rule and (match is None or match[2]):
            self.draft.left(self.note("router.forward.rule"), f"router.forward.rule: {rule}: write a [route …] for each service")
        over_tls = self._port("10443", "router.ssl.bind.port", "router.ssl.server.port")
        if secure:
            self.taken.update(("router.bind.port", "router.server.port"))
            return over_tls
        plain = self._port("", "router.bind.port", "router.server.port")
        if not plain and match:
            plain = "" if unfit_value("listener", "port", match[1]) else match[1]
        return plain or ("11015" if "ssl.external.enabled" in self.properties else "10000")
