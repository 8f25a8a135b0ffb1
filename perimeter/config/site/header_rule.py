"""Rules about headers of a route: ``set NAME VALUE``, ``add NAME VALUE`` and ``remove NAME``, one a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest, list_of
from perimeter.config.language.placeholders import Template, literal, template
from perimeter.config.language.section import SECRET_TEXT


class Verb(StrEnum):
    """What a rule does with its header.

    ``SET``: what came is removed, and the value takes its place. ``ADD``: the value is added to what came. ``REMOVE``: what came
    is removed.
    """

    SET = "set"
    ADD = "add"
    REMOVE = "remove"


@attrs.frozen
class HeaderRule:
    """One rule. ``secret``: the value came by reference, and is not shown."""

    verb: Verb
    name: str
    value: Template = attrs.field(factory=Template, repr=False)
    secret: bool = False

    def __str__(self) -> str:
        if self.verb is Verb.REMOVE:
            return f"{self.verb} {self.name}"
        return f"{self.verb} {self.name} {SECRET_TEXT if self.secret else self.value}"


def folded_name(name: str) -> str:
    """The name of a header as a very lax server could read it: in lower case, with hyphens."""
    return re.sub("[^a-z0-9]", "-", name.lower())


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")
_REFERRING = re.compile(r"(?:set|add)\s+[A-Za-z][A-Za-z0-9_-]*\s+(?=(?:file|env|credential):)")
_FORMS = "expected set NAME VALUE, add NAME VALUE or remove NAME"
_OWN_COOKIE = "__host-perimeter"

_CONNECTION = "belongs to one connection, and is the gateway's own decision"
_BODY = "describes the bytes of the body, which the gateway does not change"
_OWN = "is set by the gateway itself"
_FRAMING: Final = {
    **dict.fromkeys(
        ("connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer"),
        _CONNECTION,
    ),
    **dict.fromkeys(("transfer-encoding", "upgrade"), _CONNECTION),
    **dict.fromkeys(("content-encoding", "content-range"), _BODY),
    **dict.fromkeys(("x-request-id", "x-perimeter-hops"), _OWN),
}
_OF_REQUESTS: Final = {
    **_FRAMING,
    "host": "is set with upstream_host",
    "authorization": "is set with authorization or upstream_authorization",
    "proxy-authorization": "is for the gateway, and never passes",
    **dict.fromkeys(("forwarded", "traceparent", "tracestate", "x-real-ip", "x-forwarded-for", "x-forwarded-host"), _OWN),
    **dict.fromkeys(("x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"), _OWN),
    **dict.fromkeys(
        ("x-original-url", "x-original-uri", "x-rewrite-url"),
        "could be taken for the path of the request, which the gateway has judged",
    ),
    **dict.fromkeys(
        ("x-http-method", "x-http-method-override", "x-method-override"),
        "could be taken for the method of the request, which the gateway has judged",
    ),
}
_OF_RESPONSES: Final = {**_FRAMING, "date": _OWN}


def _words(text: str, taken: Mapping[str, str]) -> tuple[Verb, str, str]:
    """The verb, the name and the value of a rule ("" for none). Raises `BadValue`."""
    verb, _, rest = (part.strip() for part in text.replace("\t", " ").partition(" "))
    if verb not in list(Verb):
        named, colon, value = (part.strip() for part in text.partition(":"))
        if colon and _NAME.fullmatch(named):
            raise BadValue(_FORMS, f"set {named} {value}")
        near = closest(verb, tuple(Verb))
        raise BadValue(_FORMS, f"{near} {rest}" if near and rest else "")
    name, _, value = (part.strip() for part in rest.partition(" "))
    if not _NAME.fullmatch(name):
        bare = name.rstrip(":")
        hint = f"{verb} {bare} {value}".strip() if bare != name and _NAME.fullmatch(bare) else ""
        raise BadValue("expected the name of a header, of letters, digits and single hyphens", hint)
    why = taken.get(folded_name(name))
    if why is not None:
        raise BadValue(f"{name} {why}", complete=True)
    if verb == Verb.REMOVE and value:
        raise BadValue("expected a name alone after remove", f"remove {name}")
    if verb != Verb.REMOVE and not value:
        raise BadValue(f"expected a value after {name}", f"remove {name}" if verb == Verb.SET else "")
    return Verb(verb), name, value


def _rule(text: str, base: Path, *, taken: Mapping[str, str]) -> HeaderRule:
    verb, name, value = _words(text, taken)
    return _checked(HeaderRule(verb, name, template(value)))


def _secret_rule(text: str, base: Path, *, taken: Mapping[str, str]) -> HeaderRule:
    """A rule whose value came by reference: there are no placeholders in it, and no message shows it."""
    verb, name, value = _words(text, taken)
    return _checked(HeaderRule(verb, name, literal(value), secret=True))


def _checked(rule: HeaderRule) -> HeaderRule:
    text = rule.value.text
    if not text.isascii() or not text.isprintable():
        raise BadValue("expected ASCII characters in the value of a header, without control characters")
    if folded_name(rule.name) == "set-cookie" and text.lstrip(" =").lower().startswith(_OWN_COOKIE):
        raise BadValue("expected another name: a cookie of this one belongs to the gateway")
    return rule


def _whole(rules: tuple[HeaderRule, ...]) -> tuple[HeaderRule, ...]:
    """A header is set once, or removed, or added to."""
    verbs: dict[str, Verb] = {}
    for rule in rules:
        name = folded_name(rule.name)
        before = verbs.get(name)
        if before is rule.verb is not Verb.ADD:
            raise BadValue(f"{rule.name} has {rule.verb} twice")
        if before not in (None, rule.verb):
            raise BadValue(f"expected one rule for {rule.name}: there are {before} and {rule.verb}")
        verbs[name] = rule.verb
    return rules


def _whole_of_requests(rules: tuple[HeaderRule, ...]) -> tuple[HeaderRule, ...]:
    for rule in rules:
        if rule.verb is Verb.ADD and rule.value.of_user:
            # The service could not tell the value of the gateway from one that the client sent.
            raise BadValue(f"expected set for {rule.name}: with add, the service would also get what the client sends in it")
    return _whole(rules)


def _rules(
    label: str, taken: Mapping[str, str], whole: Callable[[tuple[HeaderRule, ...]], tuple[HeaderRule, ...]]
) -> Datatype[tuple[HeaderRule, ...]]:
    item = Datatype(
        "header rule",
        partial(_rule, taken=taken),
        HeaderRule(Verb.REMOVE, ""),
        before_reference=_REFERRING,
        referred=partial(_secret_rule, taken=taken),
    )
    return list_of(item, "\n", label, whole)


REQUEST_RULES = _rules("header rules, one a line", _OF_REQUESTS, _whole_of_requests)
RESPONSE_RULES = _rules("header rules, one a line", _OF_RESPONSES, _whole)
