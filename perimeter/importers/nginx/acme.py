"""Certificates that nginx gets by itself (its module acme): ``acme_names`` of a listener, and the section ``[acme]``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from perimeter.config.language.datatypes import BadValue
from perimeter.config.site.acme import ACME_NAMES
from perimeter.importers.draft import DraftSection
from perimeter.importers.nginx.file import NginxFile
from perimeter.importers.nginx.servers import Server
from perimeter.importers.nginx.tree import Directive

_CHALLENGES: Final = {"http": "http-01", "http-01": "http-01", "tls-alpn": "tls-alpn-01", "tls-alpn-01": "tls-alpn-01"}
_OWN_WAY: Final = ("state_path", "ssl_verify", "resolver", "resolver_timeout")
"""Directives of an issuer of which the gateway does the same in its own way."""


class NginxAcme(NginxFile):
    """Writes ``acme_names``. ``common`` are the directives outside of servers."""

    common: Sequence[Directive] = ()

    def order(self, section: DraftSection, servers: Sequence[Server]) -> None:
        """The certificate of the listener ``section`` for those of ``servers`` whose certificate is ordered."""
        names: dict[str, None] = {}
        asking = [(server, one) for server in servers for one in server.directive.all("acme_certificate")[:1]]
        for server, one in asking:
            if not self._issuer(one):
                return
            given = [word for word in one.args[1:] if not word.startswith("key=")]
            for name in given or server.names:
                self._name(one, name, names)
        if names:
            self.draft.put(section, "acme_names", ", ".join(names), self.note(asking[0][1]))

    def _name(self, one: Directive, name: str, names: dict[str, None]) -> None:
        try:
            names |= dict.fromkeys(ACME_NAMES.convert(name, Path()))
        except BadValue as fault:
            self.left(one, f"{name}: {fault.message}")

    def _issuer(self, one: Directive) -> bool:
        """Write the issuer that a certificate names. Returns whether it is known, and its terms are accepted."""
        found = [issuer for issuer in self.common if issuer.name == "acme_issuer" and issuer.args == one.args[:1]]
        if not found:
            self.left(one, "its acme_issuer is not there")
            return False
        if not found[0].all("accept_terms_of_service"):
            self.left(found[0], "it does not accept the terms of service, so no certificate is ordered")
            return False
        section = self.draft.section("acme")
        for directive in found[0].block or ():
            self._option(section, directive)
        return True

    def _option(self, section: DraftSection, one: Directive) -> None:
        value, note = " ".join(one.args), self.note(one)
        if one.name == "uri":
            self.draft.put(section, "directory", value, note)
        elif one.name == "accept_terms_of_service":
            self.draft.put(section, "terms_agreed", "yes", note)
        elif one.name == "contact" and "@" in value:
            self.draft.put(section, "contact", value.removeprefix("mailto:"), note)
        elif one.name == "challenge" and value in _CHALLENGES:
            self.draft.put(section, "challenge", _CHALLENGES[value], note)
        elif one.name == "ssl_trusted_certificate":
            self.draft.put(section, "ca_certificate", value, note, "file")
        elif one.name not in _OWN_WAY:
            self.left(one)
