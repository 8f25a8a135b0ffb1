"""Checks of ``acme_names`` and ``[acme]`` across sections; see `perimeter.config.site.crosscheck`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from perimeter.config.language.section import Section
from perimeter.config.site.acme import AcmeSettings, ChallengeKind
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings, Serve

_ANSWERS: Final = (Serve.GATEWAY, Serve.TOKENS, Serve.REDIRECT)


def check(config: SiteConfig, sections: Sequence[Section]) -> None:
    """Report what contradicts ``acme_names`` of listeners, on their ``sections``."""
    option = attrs.fields(ListenerSettings).acme_names
    seen: dict[str, ListenerSettings] = {}
    for listener, section in zip(config.listeners, sections, strict=True):
        if not listener.acme_names or section.faulty(option):
            continue
        if not config.acme.terms_agreed:
            section.problem(
                option, "also needs terms_agreed = yes in [acme]: the CA issues certificates only on its terms of service"
            )
        earlier = seen.setdefault(listener.acme_names[0], listener)
        if set(earlier.acme_names) != set(listener.acme_names):
            section.problem(
                option,
                f"[listener {earlier.name}] has a certificate with the same first name and other names: begin the list with "
                "another name, or give both listeners the same names",
            )


def warnings(config: SiteConfig) -> list[str]:
    """What an operator should know about certificates from a CA."""
    if not config.orders_certificates:
        return ["[acme] has no effect: no listener has acme_names"] if config.acme != AcmeSettings() else []
    plain = any(not listener.tls and listener.serve in _ANSWERS for listener in config.listeners)
    if config.acme.challenge is ChallengeKind.HTTP_01 and not plain:
        return [
            "[acme] challenge = http-01: no listener without TLS could answer the CA, which connects to port 80 of each name: "
            "add one with serve = redirect, or set challenge = tls-alpn-01"
        ]
    return []
