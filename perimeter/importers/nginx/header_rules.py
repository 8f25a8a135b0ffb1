"""``proxy_set_header``, ``add_header`` and ``proxy_hide_header`` of nginx as rules about headers. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from perimeter.config.language.datatypes import BadValue, Datatype
from perimeter.config.site.header_rule import REQUEST_RULES, RESPONSE_RULES, HeaderRule, Verb
from perimeter.importers.draft import literal, unfit
from perimeter.importers.nginx.tree import Directive

PLACEHOLDERS = {
    "$remote_addr": "%{address}",
    "$realip_remote_addr": "%{address}",
    "$host": "%{host}",
    "$http_host": "%{host}",
    "$scheme": "%{scheme}",
    "$request_id": "%{request_id}",
}
"""Variables of nginx with what stands for the same in a rule."""

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")


def value_in_rule(value: str) -> str | None:
    """``value`` as the value of a rule; None if it has a variable that no placeholder stands for."""
    parts = []
    at = 0
    for match in _VARIABLE.finditer(value):
        found = PLACEHOLDERS.get(f"${match[1] or match[2]}")
        if found is None:
            return None
        parts += [value[at : match.start()].replace("%", "%%"), found]
        at = match.end()
    rest = "".join((*parts, value[at:].replace("%", "%%")))
    return None if "$" in rest else rest


def request_rule(name: str, value: str) -> str | None:
    """The rule for what ``proxy_set_header`` sets, which removes the header if the value is empty; None if there is none."""
    return _rule(Verb.SET if value else Verb.REMOVE, name, value, REQUEST_RULES)


def _rule(verb: Verb, name: str, value: str, kind: Datatype[tuple[HeaderRule, ...]]) -> str | None:
    text = value_in_rule(value)
    if text is None or literal(text):
        return None
    rule = f"{verb} {name} {text}".strip()
    try:
        assert kind.item is not None
        kind.item.convert(rule, Path())
    except BadValue:
        return None
    return None if unfit(rule) else rule


def response_rules(hidden: list[Directive], added: list[Directive], left: Callable[[Directive], None]) -> list[str]:
    """The rules for ``proxy_hide_header`` and ``add_header``; ``left`` takes the directives that have none.

    What nginx hides and adds is set.
    """
    names: Mapping[str, Directive] = {one.args[0].lower(): one for one in hidden if one.args}
    rules: dict[tuple[Verb, str], list[str]] = {}
    for one in added:
        words = one.args[:-1] if one.args[2:] == ("always",) else one.args
        if len(words) != 2:
            left(one)
            continue
        name, value = words
        if not value:  # nginx adds no empty header
            continue
        verb = Verb.SET if name.lower() in names and (Verb.SET, name.lower()) not in rules else Verb.ADD
        rule = _rule(verb, name, value, RESPONSE_RULES)
        if rule is None or (verb is Verb.ADD and (Verb.SET, name.lower()) in rules):
            left(one)
        else:
            rules.setdefault((verb, name.lower()), []).append(rule)
    for name, one in names.items():
        if (Verb.SET, name) not in rules:
            rule = _rule(Verb.REMOVE, one.args[0], "", RESPONSE_RULES)
            if rule is None:
                left(one)
            else:
                rules[Verb.REMOVE, name] = [rule]
    return [rule for several in rules.values() for rule in several]
