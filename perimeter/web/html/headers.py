"""The headers of the gateway's own pages. Pure.

A nonce for each response, and not ``'self'``: that would include all files of the services on the same host. Pages are never
framed or stored, and a page that opened them loses its handle: a script of a service on the same host must not read them
(attack 76). Referrer-Policy is ``same-origin``, because a form on a page with ``no-referrer`` sends ``Origin: null``, as foreign
pages do.
"""

from __future__ import annotations

from typing import Final

from perimeter.model import Field

_POLICY: Final = (
    b"default-src 'none'; script-src 'nonce-%(nonce)b'; style-src 'nonce-%(nonce)b'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

_OF_PAGES: Final[tuple[Field, ...]] = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"noopener-allow-popups"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)

ASSET_FIELDS: Final[tuple[Field, ...]] = (
    (b"Cache-Control", b"public, max-age=31536000, immutable"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    # an SVG picture that is opened as a document runs no script
    (
        b"Content-Security-Policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'",
    ),
)
"""The headers of an asset besides its Content-Type."""


def page_fields(nonce: str, hsts: int) -> tuple[Field, ...]:
    """The headers of a page whose style sheets and scripts have ``nonce``. ``hsts``: seconds (RFC 6797), or 0 for none."""
    policy = (b"Content-Security-Policy", _POLICY % {b"nonce": nonce.encode("ascii")})
    return (*_OF_PAGES, policy, *strict_transport(hsts))


def strict_transport(hsts: int) -> tuple[Field, ...]:
    """Strict-Transport-Security for ``hsts`` seconds; empty for 0."""
    return ((b"Strict-Transport-Security", b"max-age=%d" % hsts),) if hsts else ()
