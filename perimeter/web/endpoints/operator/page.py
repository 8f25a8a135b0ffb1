"""``/operator`` below the prefix of the gateway's pages, for the users with the role of ``[operator]``.

The gate checks the session and the role, as for any route. Every view and every action has a record with
its event in the audit log; what an action was about is in the URL of its form. Actions need a fresh sign-in and the token of
their form (attack 27).
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from perimeter.errors import MissingCredentials, NoRoute, NotWritten, StartupError, Unavailable
from perimeter.gate.access import session_only
from perimeter.web.endpoints.endpoint import reading, user_of
from perimeter.web.endpoints.operator.access import PATH, operator_policy
from perimeter.web.endpoints.operator.audit import AuditSearch, Searches
from perimeter.web.endpoints.operator.certificates import CERTIFICATES, KEYS
from perimeter.web.endpoints.operator.configuration import CONFIGURATION
from perimeter.web.endpoints.operator.events import STREAM, STREAM_PATH, Audience
from perimeter.web.endpoints.operator.gateway import Gateway
from perimeter.web.endpoints.operator.notes import Notes
from perimeter.web.endpoints.operator.overview import OVERVIEW
from perimeter.web.endpoints.operator.people import SESSIONS, TOKENS, WAITING
from perimeter.web.endpoints.operator.routing import EXPLAIN, ROUTES
from perimeter.web.endpoints.operator.section import Action, Asked, Refused, Section
from perimeter.web.endpoints.operator.services import AUTHENTICATORS, SERVICES
from perimeter.web.endpoints.page import PageEndpoint, Pages, query_fields
from perimeter.web.request import exchange_of, respond

#: The parameter of the first page after an action, if another worker process may serve it.
_DONE: Final = "done"


@attrs.frozen(eq=False)
class Desk:
    """The parts that all operators share, across reloads: the gateway, the streams, the turns of audit searches, the notes."""

    gateway: Gateway
    audience: Audience
    searches: Searches
    notes: Notes = attrs.field(factory=Notes)


class OperatorPage(PageEndpoint):
    """The page. Roles of ``directory_realms`` compare without case (`perimeter.gate.policy.Policy`)."""

    beneath = True

    def __init__(self, pages: Pages, desk: Desk, role: str, directory_realms: frozenset[str]) -> None:
        access = session_only(f"{pages.prefix}/login")
        super().__init__(PATH, {**reading(access), b"POST": access}, pages)
        self.otherwise = access
        self.policy = operator_policy(role, directory_realms)
        self._desk = desk
        self._sections = (
            OVERVIEW,
            SERVICES,
            AUTHENTICATORS,
            CERTIFICATES,
            SESSIONS,
            TOKENS,
            WAITING,
            ROUTES,
            EXPLAIN,
            AuditSearch(desk.searches).section(),
            CONFIGURATION,
            KEYS,
        )
        self._by_path = {section.path: section for section in self._sections}

    def _rest(self, request: Any) -> str:
        """What follows the page's own path."""
        path: bytes = request.path
        return path[len(self.path) :].strip(b"/").decode("ascii", "replace")

    def _url(self, section: Section) -> str:
        return f"{self.path}/{section.path}".rstrip("/")

    # -- looks

    def render_GET(self, request: Any) -> int:
        """A section."""
        section = self._by_path.get(self._rest(request))
        if section is None:
            raise NoRoute("the operator page does not have this section or action")
        exchange_of(request).event = section.event
        return respond(request, self._show(request, section))

    async def _show(self, request: Any, section: Section) -> bytes:
        session = self.session_of(request)
        if session is None:
            raise MissingCredentials("the session has ended meanwhile")
        values = await section.show(self._asked(request))
        done, note = await self._desk.notes.take(session.id, _DONE in query_fields(request))
        return self.render_page(
            request,
            section.template,
            section=section,
            sections=[(one.title, self._url(one), one is section) for one in self._sections],
            here=self._url(section),
            tokens={name: self.token_for(request, _purpose(section, name)) for name in section.actions},
            fresh=self.pages.sessions.fresh(session),
            done=done,
            note=note,
            stream=f"{self.pages.prefix}{STREAM_PATH}?token={self.token_for(request, STREAM)}",
            **values,
        )

    def _asked(self, request: Any) -> Asked:
        return Asked(self._desk.gateway, query_fields(request), user_of(request))

    # -- actions

    def render_POST(self, request: Any) -> int:
        """An action of a section."""
        path, _, name = self._rest(request).partition("/")
        section = self._by_path.get(path)
        action = None if section is None else section.actions.get(name)
        if section is None or action is None:
            raise NoRoute("the operator page does not have this section or action")
        exchange_of(request).event = action.event
        return respond(request, self._do(request, section, name, action))

    async def _do(self, request: Any, section: Section, name: str, action: Action) -> bytes:
        self.form(request, _purpose(section, name))
        session = self.session_of(request)
        assert session is not None  # else the form had no good token
        url = self._url(section)
        stale = self.stale(request, url)
        if stale is not None:
            return stale
        note = True, ""
        try:
            note = True, await action.do(self._asked(request))
        except Refused as refused:
            note = False, str(refused)
        except NotWritten as error:
            note = False, f"This is in force, but it is not written everywhere yet: {error.detail or error.phrase}"
        except Unavailable as error:
            note = False, f"Not done: {error.detail or error.phrase}"
        except StartupError as error:
            note = False, f"Not done: {error}"
        self._desk.notes.keep(session.id, note)
        return self.redirect(request, f"{url}?{_DONE}=1" if self._desk.notes.shared else url)


def _purpose(section: Section, action: str) -> str:
    return f"operator/{section.path}/{action}"
