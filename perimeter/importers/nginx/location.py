"""A location of nginx with what it inherits, and who may use it. Pure.

A location is open only if every directive in force there is known not to restrict clients
(`perimeter.importers.nginx.directives`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Network, ip_network
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import UNIX, URL_PATH
from perimeter.importers.nginx.directives import TRANSLATED, harmless
from perimeter.importers.nginx.expressions import unescaped
from perimeter.importers.nginx.headers import Fate, fate
from perimeter.importers.nginx.tree import Directive

PASS = re.compile(r"(https?)://(unix:/[^:$?,\s]*[^:$?,\s/]|[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?:?(/[^$?]*)?")
"""An argument of ``proxy_pass`` without variables: scheme, host (or ``unix:`` and the path of a socket), port, path."""

TLS_ON_SOCKET = "the gateway does not speak TLS on unix sockets"

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@/-]*")
_OF_ONE_LEVEL = frozenset(("alias", "internal", "try_files", "listen", "server_name", "location"))
_RULES = ("allow", "deny")


@attrs.frozen
class Standing:
    """Who may use a location without a user name and password, or with one.

    ``closes`` are the directives that cannot be translated, each with a reason: with any, the location is closed to all clients.
    ``asks``: nginx wants credentials. ``networks`` are the only ones that may come; None for any, () for none. ``methods``
    are the only ones that may be used; None for any. ``denied`` is an expression of ``deny``: the addresses that may not
    come, if no list of networks says who may.
    """

    closes: tuple[tuple[Directive, str], ...] = ()
    asks: bool = False
    networks: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    denied: str = ""

    @property
    def anonymous(self) -> bool:
        """Whether a client without credentials may get in, from some network at least."""
        return not self.closes and not self.asks and self.networks != ()

    @property
    def open(self) -> bool:
        """Whether all clients are admitted without credentials."""
        return self.anonymous and self.networks is None and self.methods is None and not self.denied

    def covers(self, other: Standing) -> bool:
        """Whether each client that gets in here gets in at ``other``, too."""
        if self.closes or self.networks == ():
            return True
        if other.closes or (other.asks and not self.asks):
            return False
        if other.methods is not None and not (self.methods is not None and set(self.methods) <= set(other.methods)):
            return False
        if other.denied and self.denied != other.denied:
            return False
        return other.networks is None or self.networks == other.networks


@attrs.define
class Location:
    """A location at a plain path. ``inherited`` are the directives around it that are in force inside of it too.

    With an ``expression``, it is for the paths below ``path`` that this matches, as a route has it.
    """

    path: str
    exact: bool
    hosts: tuple[str, ...]
    directive: Directive
    inherited: Sequence[Directive]
    standing: Standing = Standing()
    expression: str = ""
    #: its ``return``, and the options of a route that does the same
    answer: tuple[Directive, dict[str, str]] | None = None
    #: no regular expression further out is for its paths
    final: bool = False
    #: whether its password file was read, and the realm of its users if there are several
    found: bool = False
    realm: str = ""
    #: locations whose path is a prefix of names that this location's route would serve
    beside: list[Location] = attrs.field(factory=list)

    @property
    def route_path(self) -> str:
        """Its path, or that of its expression's directory, without a slash at the end."""
        return self.path.rstrip("/") or "/"

    @property
    def written(self) -> str:
        """The option ``path`` of its route."""
        return f"regex:{self.expression}" if self.expression else f"exact:{self.path}" if self.exact else self.route_path

    def of(self, name: str) -> list[Directive]:
        """The directives of that name in force: the location's own, otherwise the inherited ones."""
        return self.directive.all(name) or [one for one in self.inherited if one.name == name]

    def word(self, name: str) -> str:
        """The first argument of a directive, or ""."""
        found = self.of(name)
        return found[-1].args[0] if found and found[-1].args else ""

    @property
    def serves_anyone(self) -> bool:
        """Whether a client without credentials gets something."""
        return self.standing.anonymous or (self.answer is not None and not self.standing.closes)

    @property
    def variables(self) -> dict[str, str]:
        """What its ``auth_request_set`` set."""
        return {one.args[0]: one.args[1] for one in self.of("auth_request_set") if len(one.args) == 2}

    @property
    def proxied(self) -> bool:
        """Whether it has a ``proxy_pass`` of its own, which is in force; nginx does not inherit it."""
        return self.answer is None and bool(self.directive.all("proxy_pass"))

    @property
    def root(self) -> str:
        """The directory that a static location serves its path from."""
        if alias := self.directive.all("alias"):
            place = (alias[0].args[0].rstrip("/") or "/") if alias[0].args else ""
            return place.rpartition("/")[0] or "/" if self.exact else place
        root = self.word("root")
        below = self.path.rpartition("/")[0] if self.exact else self.path.rstrip("/")
        return f"{root.rstrip('/')}{below}" or "/" if root else ""

    def rules(self) -> list[Directive]:
        """Its ``allow`` and ``deny`` in their order."""
        own = [one for one in self.directive.block or () if one.name in _RULES]
        return own or [one for one in self.inherited if one.name in _RULES]


def inherit(outer: Iterable[Directive], block: Iterable[Directive]) -> list[Directive]:
    """The directives in force in the blocks inside ``block``. A directive that is understood replaces its like further out, as in
    nginx; any other adds to it, because how it inherits is not known."""
    inner = [one for one in block if one.name != "location"]
    names = {name for one in inner for name in (_RULES if one.name in _RULES else (one.name,))}
    kept = [one for one in outer if one.name not in names or not known(one)]
    return [one for one in (*kept, *inner) if one.name not in _OF_ONE_LEVEL and not one.name.endswith("_pass")]


def known(directive: Directive) -> bool:
    """Whether the importer translates this directive, or may ignore it."""
    return directive.name in TRANSLATED or harmless(directive)


def asks(location: Location) -> bool:
    """Whether nginx asks for credentials here, which the gateway can do instead."""
    return any(location.word(name) not in ("", "off") for name in ("auth_request", "auth_basic", "auth_gss"))


def standing(location: Location) -> Standing:
    """Who may use ``location``, as far as its own and its inherited directives say."""
    wants = asks(location)
    own = location.directive.block or []
    stripped = stripping(location)
    methods, excepting = _methods(location)
    closes = [(one, "") for one in own if not known(one) and one not in (stripped and stripped[0], excepting)]
    # directives further out do not close a location that asks for users; only `return` does, which refuses every request
    closes += [(one, "") for one in location.inherited if not known(one) and (not wants or one.name == "return")]
    if location.proxied:
        missing = "a service may assign a request without it to another user" if not wants else ""
        for one in location.of("proxy_set_header"):
            found = fate(one, location.variables)
            if found is Fate.CLOSES:
                closes.append((one, "a client could send this header itself"))
            elif not wants and found in (Fate.MISSING, Fate.EMAIL):
                closes.append((one, missing))
    closes += _target(location)
    # with `satisfy any`, credentials are enough in nginx; here they are required from every network
    networks, denied, fault = (None, "", None) if either(location) else _networks(location.rules())
    if fault is not None:
        closes.append((fault, "expected addresses and networks"))
    if location.directive.all("internal"):
        networks = ()
    return Standing(tuple(closes), wants, networks, methods, denied)


def either(location: Location) -> bool:
    """Whether credentials or an address are enough for nginx, where it asks for credentials."""
    return asks(location) and location.word("satisfy") == "any"


def _methods(location: Location) -> tuple[tuple[str, ...] | None, Directive | None]:
    """The only methods that are admitted, and the ``limit_except`` that says so."""
    found = location.directive.all("limit_except")
    if len(found) != 1 or [(one.name, one.args) for one in found[0].block or ()] != [("deny", ("all",))]:
        return None, None
    named = [word.upper() for word in found[0].args]
    if not all(re.fullmatch("[A-Z]+", word) for word in named):
        return None, None
    # where nginx admits GET, it admits HEAD
    return tuple(dict.fromkeys((*named, *(["HEAD"] if "GET" in named else [])))), found[0]


def stripping(location: Location) -> tuple[Directive, str] | None:
    """The ``rewrite`` of a location that only replaces the beginning of the path, and what the path of its route becomes; None
    without such a ``rewrite``."""
    found = location.directive.all("rewrite")
    passes = location.directive.all("proxy_pass")
    match = PASS.fullmatch(passes[0].args[0]) if passes and passes[0].args else None
    # nginx uses the path of `proxy_pass` where the expression does not match
    whole = match is not None and (match[4] is None or location.path.endswith("/"))
    if location.exact or len(found) != 1 or not whole or len(found[0].args) != 3 or found[0].args[2] != "break":
        return None
    expression, replacement, _ = found[0].args
    expression = expression.removeprefix("^").removesuffix("$") if expression.startswith("^") else "("
    for ending, kept in (("/(.*)", "/$1"), ("/?(.*)", "/$1"), ("(/.*)", "$1")):
        before = unescaped(expression.removesuffix(ending)) if expression.endswith(ending) else None
        path, prefix = location.route_path, replacement.removesuffix(kept)
        if before is None or not replacement.endswith(kept) or path == "/" or (prefix and not plain_path(prefix)):
            continue
        if f"{path}/".startswith(f"{before}/") and (before or ending != "/?(.*)"):
            return found[0], prefix + path[len(before) :] or "/"
    return None


def plain_path(path: str) -> bool:
    """Whether a route can have ``path``."""
    if not _PLAIN_PATH.fullmatch(path) or "//" in path or {"..", "."} & set(path.split("/")):
        return False
    try:
        URL_PATH.convert(path.rstrip("/") or "/", Path())
    except BadValue:
        return False
    return True


def _target(location: Location) -> list[tuple[Directive, str]]:
    """Why a location cannot become a route to the same resources."""
    directive = location.directive
    files = directive.all("try_files")
    if location.proxied:
        one = directive.all("proxy_pass")[0]
        match = PASS.fullmatch(one.args[0] if one.args else "")
        if match is None:
            return [(one, "expected http://host:port/path, without variables")]
        fault = "" if stripping(location) else rewriting(location, match[4])[1]
        if match[1] == "https" and match[2].startswith(UNIX):
            fault = TLS_ON_SOCKET
        found = [(other, "files before a service") for other in files]
        return [(one, fault), *found] if fault else found
    if not location.root:
        said = directive.all("internal") or any(not known(one) for one in directive.block or ())
        said = said or (_networks(location.rules()) == ((), "", None) and not either(location))
        return [] if said else [(directive, "it has neither proxy_pass nor root")]
    found = [(one, "the first file is $uri") for one in files if one.args[:1] != ("$uri",)]
    for one in directive.all("alias"):
        if one.args and location.path.endswith("/") != one.args[0].endswith("/"):
            found.append((one, f"{location.path} and {one.args[0]} have to end alike"))
        elif one.args and location.exact and location.path.rpartition("/")[2] != one.args[0].rpartition("/")[2]:
            found.append((one, "a file has the name that its path ends with"))
        elif location.expression:
            found.append((one, "a directory of an expression is its root"))
    if location.exact and location.path.endswith("/"):
        found.append((directive, "nginx serves the index of a directory by another location"))
    if "$" in location.root:
        found += [(one, "a directory without variables") for one in directive.all("alias") or location.of("root")]
    return found


def rewriting(location: Location, uri: str | None) -> tuple[str | None, str]:
    """The option ``rewrite`` for a ``proxy_pass`` with the path ``uri`` in ``location``, or why there is none."""
    path = location.path
    if location.exact and uri not in (None, path):
        assert uri is not None
        plain = plain_path(uri) and (uri == "/" or not uri.endswith("/"))
        return (uri, "") if plain else (None, "rewrite is a plain path")
    if uri is None or uri.rstrip("/") == path.rstrip("/"):
        return None, ""
    if uri != "/" and path.endswith("/") != uri.endswith("/"):
        return None, f"{path} and {uri} have to end alike"
    if not plain_path(uri):
        return None, "rewrite is a plain path"
    return uri.rstrip("/") or "/", ""


def _networks(rules: Sequence[Directive]) -> tuple[tuple[str, ...] | None, str, Directive | None]:
    """The networks that ``rules`` allow (None for any), what is denied, and the rule to report if this cannot be said."""
    decisive: list[tuple[bool, str]] = []
    for rule in rules:
        named = _network(rule.args[0]) if len(rule.args) == 1 else None
        if named is None:
            return (), "", rules[0]
        decisive.append((rule.name == "allow", named))
        if named == _ALL:  # those after it are never reached
            break
    if not decisive or decisive[0] == (True, _ALL):
        return None, "", None
    *before, (allows, last) = decisive
    if not allows and last == _ALL and all(allowed for allowed, _ in before):
        return tuple(named for _, named in before), "", None
    denied = _denied(decisive)
    return ((), "", None) if denied == _ALL else (None, denied, rules[0] if len(decisive) > _MOST_RULES else None)


_ALL = "all"
#: Rules whose expression may have brackets within each other.
_MOST_RULES = 40


def _network(word: str) -> str | None:
    """A network as the gateway writes it, `_ALL`, or None for another word."""
    if word == _ALL:
        return _ALL
    try:
        found = ip_network(word, strict=False)
    except ValueError:
        return None
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped is not None:
        return None
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def _denied(rules: Sequence[tuple[bool, str]]) -> str:
    """An expression for the addresses whose first match among ``rules`` denies; `_ALL` for all of them, "" for none.

    nginx allows addresses that no rule matches.
    """
    denied = ""
    for allows, group in reversed([(allows, [named for _, named in same]) for allows, same in groupby(rules, itemgetter(0))]):
        if _ALL in group:
            denied = "" if allows else _ALL
            continue
        named = " or ".join(f"network:{one}" for one in group)
        if not allows:
            denied = named if not denied else denied if denied == _ALL else f"{named} or {denied}"
        elif denied:
            others = f"not ({named})" if len(group) > 1 else f"not {named}"
            denied = others if denied == _ALL else f"{others} and ({denied})"
    return denied
