"""Where the requests of a route go: to an upstream, to files, or nowhere, because the gateway answers by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import FILE_NAME, TEXT, BadValue, Datatype, file_path, list_of, optional
from perimeter.config.language.net_types import checked_host
from perimeter.config.language.option import option
from perimeter.config.language.section import Named, Section
from perimeter.config.site.captures import REWRITE, Captures, captures
from perimeter.config.site.route_path import PathKind
from perimeter.config.site.route_requests import RouteRequests

_REDIRECTS = (301, 302, 303, 307, 308)
_LINE = re.compile(r"([0-9]{3})(?:\s+(.*))?", re.DOTALL)
#: What comes before the path has to be a whole scheme, host and port, so that no part of a request becomes a part of a host.
_SITE = re.compile(
    r"https?://(%\{host\}|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=$|[/?#]|%\{(?:uri|path|rest|query)\})"
)
_ON_THIS_HOST = re.compile(r"/(?![/\\])|%\{(?:uri|path|rest)\}")
_UNSAFE = re.compile(r"[^!#-;=?-\[\]_a-z~{}]")
#: They need header fields, or a request, that a fixed response does not have (RFC 9110, sections 11.6, 14, 15).
_NEED_MORE = frozenset((205, 206, 207, 208, 226, 401, 405, 407, 416, 426))
_MOST = 64 * 1024
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(?:; ?[a-z]+=[A-Za-z0-9-]+)*")


@attrs.frozen
class Redirect:
    """A status from 301 to 308, and where to: a path of this host, or a whole URL."""

    status: int
    location: Captures

    @property
    def elsewhere(self) -> bool:
        """Whether it names scheme and host."""
        return self.location.text.startswith("http")

    def __str__(self) -> str:
        return f"{self.status} {self.location.text}"


@attrs.frozen
class Response:
    """A status and the body, which is empty for 204."""

    status: int
    body: bytes = b""

    def __str__(self) -> str:
        return str(self.status)


def _redirect(text: str, base: Path) -> Redirect:
    match = _LINE.fullmatch(text)
    if match is None or int(match[1]) not in _REDIRECTS or not match[2]:
        raise BadValue("expected 301, 302, 303, 307 or 308 and a URL or path, such as 308 https://new.example.com%{uri}")
    location = match[2]
    if _UNSAFE.search(location):
        raise BadValue("expected a URL without blanks, quotes, backslashes and characters that are not ASCII")
    found = captures(location)
    site = _SITE.match(location)
    if site is not None and not site[1].startswith("%"):
        checked_host(site[1])
    if site is None and not _ON_THIS_HOST.match(location):
        raise BadValue(
            "expected https://HOST/… or /…: no part of a request can be a part of the host, except %{host} as all of it"
        )
    return Redirect(int(match[1]), found)


def _response(text: str, base: Path) -> Response:
    match = _LINE.fullmatch(text)
    status = 0 if match is None else int(match[1])
    if match is None or status not in tuple(HTTPStatus) or not (200 <= status < 300 or 400 <= status < 600):
        raise BadValue("expected a status such as 204 or 404, perhaps with a text", "redirect" if 300 <= status < 400 else "")
    if status in _NEED_MORE:
        raise BadValue(f"{status} needs more than a fixed response has", complete=True)
    if match[2] and status == 204:
        raise BadValue("204 has no body", complete=True)
    body = (match[2] or ("" if status == 204 else f"{HTTPStatus(status).phrase}\n")).encode("utf-8")
    if len(body) > _MOST:
        raise BadValue(f"expected a text of at most {_MOST} bytes: use static for files", complete=True)
    return Response(status, body)


def _media_type(text: str, base: Path) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        raise BadValue("expected a media type such as text/plain")
    return text


REDIRECT: Datatype[Redirect | None] = optional(Datatype("STATUS URL", _redirect, Redirect(308, captures("/"))))
RESPONSE: Datatype[Response | None] = attrs.evolve(
    optional(Datatype("STATUS TEXT", _response, Response(204))), before_reference=re.compile(r"[0-9]{3}\s+")
)
MEDIA_TYPE: Datatype[str] = Datatype("media type", _media_type, "")


@attrs.frozen(kw_only=True, slots=False)
class RouteTarget(RouteRequests):
    """The options of ``[route NAME]`` about its target. Exactly one of ``upstream``, ``static``, ``redirect`` and ``respond`` is
    set."""

    upstream: str | None = option(optional(TEXT), "name of the `[upstream]` section that requests are forwarded to", default="")
    static: Path | None = option(
        optional(file_path("directory")), "instead of `upstream`: directory with files to serve", default=""
    )
    index: tuple[str, ...] = option(
        list_of(FILE_NAME),
        "with `static`: names of files that are served for a directory; the first that exists",
        default="index.html, index.htm",
    )
    rewrite: str | None = option(
        optional(REWRITE),
        "with `upstream`: path that replaces `path` in forwarded requests; `/` removes it. With `regex:` it replaces the whole "
        "path, and `$1` to `$9` are the groups of the expression",
        default="",
    )
    redirect: Redirect | None = option(
        REDIRECT,
        "instead of `upstream`: status and URL of a redirect, such as `308 https://new.example.com%{uri}`. `%{path}`, `%{query}` "
        "with its `?`, `%{uri}` (both), `%{rest}` (what follows `path`) and `%{host}` are those of the request, `$1` to `$9` the "
        "groups of a `regex:` path",
        default="",
    )
    respond: Response | None = option(
        RESPONSE,
        "instead of `upstream`: status of each response, and perhaps its text, such as `404 no such page`; the text may be "
        "`file:PATH`",
        default="",
    )
    respond_type: str = option(MEDIA_TYPE, "with `respond`: media type of the text", default="text/plain; charset=utf-8")

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(RouteTarget)
        self._check_groups(section, its.rewrite, self.rewrite or "")
        if self.redirect is not None:
            self._check_groups(section, its.redirect, self.redirect.location.text)
        if self.respond is None or not self.respond.body:
            section.refuse([its.respond_type], "is only allowed with respond and a text")

    def check_target(self, section: Section, of_services: Iterable[Named]) -> None:
        """Report on ``section`` if there is not exactly one target, and options that belong to another one.

        ``of_services`` are the options that are for an upstream only.
        """
        its = attrs.fields(RouteTarget)
        targets = [one for one in (its.upstream, its.static, its.redirect, its.respond) if section.given(one)]
        if not targets:
            section.problem("", "a route needs a target: upstream = NAME, static = DIRECTORY, redirect or respond")
        elif len(targets) > 1:
            section.problem(targets[1], "set only one of upstream, static, redirect and respond")
        elif targets != [its.upstream]:
            section.refuse((its.rewrite, *of_services), "is only allowed with upstream")
        if targets != [its.static]:
            section.refuse([its.index], "is only allowed with static")

    def _check_groups(self, section: Section, option: Named, text: str) -> None:
        used, known = captures(text).groups, 0 if self.path.expression is None else self.path.expression.groups
        if used > known and not section.faulty("path") and not section.faulty(option):
            found = f"the expression of path has {known}" if self.path.kind is PathKind.REGEX else "only a regex: path has groups"
            section.problem(option, f"there is no group ${used}: {found}")

    @property
    def answer(self) -> str:
        """What the gateway answers, in words; "" if it does not answer by itself."""
        if self.redirect is not None:
            return f"redirect {self.redirect}"
        return "" if self.respond is None else f"respond {self.respond}"
