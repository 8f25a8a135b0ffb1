"""Traefik: ``forwardAuth``, as a file of dynamic configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from perimeter.emit.plan import METHOD_HEADERS, Listen, Place, Plan, folded_forms, refuse_sockets, refuse_wildcards
from perimeter.errors import StartupError

_HEAD = """\
# Asks Perimeter before each request: for the file provider (Traefik 3).
http:
  middlewares:
    perimeter:
      forwardAuth:
        address: "{address}"
        trustForwardHeader: false
        # those of a client are removed, even if the answer has none
        authResponseHeaders: [{taken}]
        authResponseHeadersRegex: '{pattern}'
    perimeter-clear:
      headers:
        # an empty value removes the header
        customRequestHeaders:
{cleared}
        customResponseHeaders:
{hidden}
    perimeter-method:
      headers:
        customRequestHeaders:
{overrides}
"""

_IDENTITY = """\
    perimeter-identity:
      headers:
        customRequestHeaders:
{identity}
"""

_NOTHING = """\
    # not for another proxy: 418
    perimeter-{number}-{name}:
      rule: "{rule}"
      priority: {priority}
      service: noop@internal
"""

_PAGES = """\
    # the gateway's own pages, on which people sign in
    perimeter-pages:
      rule: "PathPrefix(`{path}/`)"
      priority: {priority}
      middlewares: [perimeter-clear, perimeter-identity]
      service: perimeter-gateway
"""


def render(plan: Plan) -> str:
    """The configuration."""
    refuse_wildcards(plan, "Traefik")
    refuse_sockets(plan, "Traefik")
    gateway = plan.gateway
    if plan.listens != (Listen("", 80),):
        raise StartupError("Traefik listens where its static configuration says: --listen is not for it")
    whole, beginnings = folded_forms((*plan.headers, *plan.dropped))
    forms = [form.replace("-", "[^a-z0-9]") for form in (*whole, *(f"{one}.*" for one in beginnings))]
    telling = ("X-Original-URI", "X-Original-URL", "X-Original-Method", "X-Rewrite-URL", "Forwarded")
    text = _HEAD.format(
        taken="Authorization, Cookie" if plan.pages else "Authorization",
        address=f"{gateway.scheme}://{gateway.authority}/authenticate",
        pattern=f"(?i)^({'|'.join(forms)})$",
        cleared=_empty(telling),
        hidden=_empty(plan.headers),
        overrides=_empty(METHOD_HEADERS),
    )
    if plan.pages:
        text += _IDENTITY.format(identity=_empty(name for name in (*plan.headers, *plan.dropped) if not name.endswith("*")))
    text += "".join(_rewrite(place) for place in plan.places if place.rewrite is not None)
    text += "  routers:\n"
    for number, (host, places) in enumerate(plan.hosts):
        text += "".join(_router(place, host, number, len(plan.hosts)) for place in places)
    if plan.pages:
        text += _PAGES.format(path=plan.pages, priority=(len(plan.hosts) + 1) * 10000)
    text += "  services:\n"
    if plan.pages:
        url = f"{gateway.scheme}://{gateway.authority}"
        text += f'    perimeter-gateway:\n      loadBalancer:\n        servers:\n          - url: "{url}"\n'
    for place in plan.places:
        servers = "".join(f'          - url: "{place.scheme}://{address}"\n' for address in place.addresses)
        text += f"    perimeter-{place.name}:\n      loadBalancer:\n        servers:\n{servers}"
    return text


def _empty(names: Iterable[str]) -> str:
    return "\n".join(f'          {name}: ""' for name in names)


def _router(place: Place, host: str, number: int, levels: int) -> str:
    below = "" if place.exact else f" || PathPrefix(`{place.prefix}/`)"
    rule = f"(Path(`{place.prefix}`){below})" if place.prefix else "PathPrefix(`/`)"
    if host != "*":
        rule = f"Host(`{host}`) && {rule}"
    if not place.servers:
        return _NOTHING.format(
            number=number,
            name=place.name,
            rule=rule,
            priority=(levels - number) * 10000 + len(place.prefix) + 1 + place.exact * 5000,
        )
    chain = ["perimeter-clear", "perimeter", *(["perimeter-method"] if place.by_method else [])]
    if place.rewrite is not None:
        chain.append(f"perimeter-rewrite-{place.name}")
    return (
        f"    perimeter-{number}-{place.name}:\n"
        f'      rule: "{rule}"\n'
        f"      priority: {(levels - number) * 10000 + len(place.prefix) + 1 + place.exact * 5000}\n"
        f"      middlewares: [{', '.join(chain)}]\n"
        f"      service: perimeter-{place.name}\n"
    )


def _rewrite(place: Place) -> str:
    return (
        f"    perimeter-rewrite-{place.name}:\n"
        "      replacePathRegex:\n"
        f"        regex: '^{re.escape(place.prefix)}{'$' if place.exact else '/?(.*)$'}'\n"
        f"        replacement: '{place.rewrite}{'' if place.exact else '/$1'}'\n"
    )
