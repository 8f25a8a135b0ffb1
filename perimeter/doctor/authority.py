"""The CA that the gateway gets certificates from: whether it answers, and whether it issues."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from perimeter.acme.fault import AcmeFault
from perimeter.acme.orders import Order, orders
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Subject

SECONDS: Final = 4.0
"""Time for the answer of the directory."""

MOST_NAMES: Final = 20
"""Names that are looked up."""

_SECTION: Final = "[acme]"


def see(subject: Subject) -> Iterator[Finding]:
    """What prevents the next order. Asks the directory, and looks up the names. Blocks."""
    ordered = orders(subject.config)
    for one in ordered:
        if one.fault:
            remedy = "correct what the CA names; the log of the gateway shows each try"
            yield Finding(Name.CERTIFICATE_REFUSED, _grade(one), _place(one), f"{', '.join(one.names)}: {one.fault}", remedy)
    yield from _directory(subject, min(map(_grade, ordered)))
    for one in ordered:
        for name in one.names[:MOST_NAMES]:
            yield from _unknown(name, one)


def _grade(one: Order) -> Grade:
    return Grade.SOON if one.there else Grade.FAILS


def _place(one: Order) -> str:
    return f"[listener {one.listeners[0]}]"


def _directory(subject: Subject, grade: Grade) -> Iterator[Finding]:
    from perimeter.acme.directory import Directory

    settings = subject.config.acme
    try:
        # the directory is asked without an account, so any key will do
        directory = Directory(settings, ec.generate_private_key(ec.SECP256R1()), SECONDS)
    except AcmeFault as fault:
        remedy = "correct directory or ca_certificate, or let this machine connect to the CA"
        yield Finding(Name.AUTHORITY_DOWN, grade, _SECTION, f"{settings.directory} cannot be used: {fault}", remedy)
        return
    if directory.asks_for_key_id and not settings.eab_key_id:
        message = f"{settings.directory} makes no account without a key that the CA has given out"
        yield Finding(
            Name.AUTHORITY_DOWN, grade, _SECTION, message, "set eab_key_id and eab_key to what the CA shows for your account"
        )


def _unknown(name: str, one: Order) -> Iterator[Finding]:
    try:
        socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        message = f"the name {name} of acme_names cannot be looked up ({error.strerror}), so the CA cannot connect to it"
        yield Finding(Name.NAME_UNKNOWN, _grade(one), _place(one), message, "add the name to DNS, or remove it from acme_names")
