"""Certificates of listeners with the days that are left, and the keys that sign tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

from cryptography.x509 import Certificate

from perimeter.acme.orders import orders
from perimeter.config.site.token import Algorithm
from perimeter.net.certificates import SOON
from perimeter.web.endpoints.operator.section import Action, Asked, Section, moment

_SECONDS_A_DAY: Final = 86400


async def _certificates(asked: Asked) -> Mapping[str, Any]:
    now = datetime.fromtimestamp(asked.gateway.seconds(), UTC)
    identities = asked.gateway.identities()
    config = asked.gateway.assembly.config
    found = await asked.gateway.offload.run(orders, config) if config.orders_certificates else ()
    ordered = {name: one.text for one in found for name in one.listeners}
    return {
        "listeners": [
            {
                "name": name,
                "source": identity.source,
                "ordered": ordered.get(name, ""),
                "chain": [_certificate(one, now) for one in identity.chain],
            }
            for name, several in identities.items()
            for identity in several
        ],
        "plain": [one.name for one in asked.gateway.listeners() if one.name not in identities],
    }


def _certificate(one: Certificate, now: datetime) -> dict[str, Any]:
    left = (one.not_valid_after_utc - now).total_seconds()
    days = int(left // _SECONDS_A_DAY)
    if left < 0:
        state, word = "bad", "expired"
    elif now < one.not_valid_before_utc:
        state, word = "bad", "not valid yet"
    else:
        state = "warn" if left < SOON.total_seconds() else "good"
        word = f"{days} day left" if days == 1 else f"{days} days left"
    return {
        "subject": one.subject.rfc4514_string() or "-",
        "issuer": one.issuer.rfc4514_string() or "-",
        "since": moment(one.not_valid_before_utc.timestamp()),
        "until": moment(one.not_valid_after_utc.timestamp()),
        "state": state,
        "left": word,
    }


async def _keys(asked: Asked) -> Mapping[str, Any]:
    keyring = asked.gateway.assembly.keyring
    rows = []
    for entry in keyring.entries:
        key = keyring.verification_key(entry.jwk.kid)
        rows.append(
            {
                "state": str(entry.state),
                "algorithm": entry.jwk.algorithm,
                "kid": entry.jwk.kid,
                "created": moment(entry.created),
                "activated": moment(entry.activated or 0.0),
                "until": "over" if key is None else "-" if key.until == inf else moment(key.until),
            }
        )
    return {"keys": rows, "shared_secret": asked.gateway.assembly.config.token.algorithm is Algorithm.HS256}


async def _rotate(asked: Asked) -> str:
    assembly = asked.gateway.assembly
    await asked.gateway.offload.run(assembly.keyring.rotate)
    assembly.keys_changed()
    return "The next key signs from now on. Tokens that were signed before stay valid."


CERTIFICATES: Final = Section("certificates", "Certificates", "operator_certificates.html", _certificates)
KEYS: Final = Section("keys", "Signing keys", "operator_keys.html", _keys, actions={"rotate": Action("keys_rotate", _rotate)})
