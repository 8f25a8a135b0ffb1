"""``/authenticate``: another proxy asks whether it may pass a request on, and as which user (nginx calls it ``auth_request``).

A trusted proxy's question is about the client's own request (`perimeter.gate.original`), which the gate judges as if the client
had sent it to the gateway. Any other question is only about the user of the credentials in it: one from another peer, one that
names no request, and each one to a gateway without routes, which has no rules to judge by. Only a trusted proxy may ask with
the session of a browser, and gets cookies in the answer: a script of a service could read them.

The answer is 200 with the identity in headers, as an upstream would get them, or a refusal that every proxy understands:
401 if other credentials would help, 403 if not, 429 and 503 for "not now". What is 400 or 404 elsewhere is 403 here. A browser
that has to sign in gets 302, or what the proxy can make one of.
"""

from __future__ import annotations

from collections.abc import Awaitable

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from perimeter.audit.sink import IAuditSink
from perimeter.errors import (
    BadRequest,
    Challenges,
    CommandRefused,
    InvalidCredentialsRequest,
    LoginNeeded,
    LoginNeededBehindProxy,
    NoRoute,
    Refusal,
)
from perimeter.gate.access import Access, Restricted
from perimeter.gate.decision import Admitted
from perimeter.gate.factors import FactorDemand
from perimeter.gate.gate import Gate
from perimeter.gate.identity_lines import IdentityProfile
from perimeter.gate.original import original
from perimeter.gate.policy import Policy
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.http.cookies import others
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.targets.limited import LimitedTarget

#: The path of the endpoint. Envoy appends the path that it asks about.
ENDPOINT = b"/authenticate"
#: The audience of an assertion if no route names an upstream: ``upstream:forward-auth``.
AUDIENCE = "forward-auth"
#: Envoy does not remove a field just because the answer lacks it, as other proxies do, so the answer says so (attack 16).
_TO_REMOVE = b"X-Envoy-Auth-Headers-To-Remove: %b\r\n"
#: What nginx describes the request by (`perimeter.gate.original`), which passes on no redirect of its questions.
_OF_NGINX = (b"x-original-uri", b"x-original-url")
_SCHEMES = (b"http", b"https")


class Ambiguous(BadRequest):
    """The request that is asked about is malformed or ambiguous. The question itself is well formed."""

    status = 403
    reason = "bad_target"
    phrase = "The request target is malformed or ambiguous"
    close = False


class NoSuchRoute(NoRoute):
    """No route matches the request that is asked about, so it is refused."""

    status = 403


class MalformedCredentials(InvalidCredentialsRequest):
    """Malformed credentials count as missing, because nginx turns 400 into 500."""

    status = 401


@implementer(ITarget)
class ForwardAuthTarget:
    """Answers the questions of proxies.

    ``gate`` has the configured routes, without the gateway's own endpoints; ``rules`` is False without routes. ``pages``
    is the path of the gateway's own pages (``/.perimeter``), if people sign in on them: then the answer has the cookies that are
    not the gateway's own, for the proxy to send on. ``demand`` says who needs a second factor if there are no routes.
    """

    name = AUDIENCE

    def __init__(
        self, gate: Gate, audit: IAuditSink, *, rules: bool, pages: bytes = b"", demand: FactorDemand | None = None
    ) -> None:
        self._gate = gate
        self._rules = rules
        self._pages = pages
        self._bare = Route(
            name=ENDPOINT[1:].decode("ascii"),
            prefix=ENDPOINT,
            target=self,
            audit=audit,
            # The question does not say what the client is about to do, so a restricted API token is not enough for it.
            access=Access(restricted=Restricted.NOTHING, stranger=Challenges.BOTH),
            policy=Policy(factors=demand),
            identity=IdentityProfile(audience=AUDIENCE),
            # nor from which page the client does it: it is for the proxy to judge
            cross_site=None,
        )
        # Only for a proxy: a script of a service in a browser could read the assertion and the HttpOnly cookies of
        # the answer (attack 76).
        self._by_client = attrs.evolve(self._bare, access=attrs.evolve(self._bare.access, by_session=False))

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``. Never raises."""
        exchange.upstream = self.name
        try:
            admitted = self._judge(exchange)
            if isinstance(admitted, Admitted):
                self._answer(exchange, admitted)
            else:
                Deferred.fromCoroutine(self._answer_later(exchange, admitted))
        except Exception as error:  # after any failure of the decision, the answer is not 200 (attack 41)
            refuse_on_error(exchange, _as_refusal(error, exchange))

    def _judge(self, exchange: Exchange) -> Admitted | Awaitable[Admitted]:
        asking = exchange.decision
        assert isinstance(asking, Admitted)
        head = exchange.head
        behind = asking.target[len(ENDPOINT) :]
        if not asking.relayed:  # not a trusted proxy
            if behind.startswith(b"/"):
                raise NoSuchRoute("only a trusted proxy may ask about a path")
            return self._gate.judge(exchange, head, self._by_client, asking)
        asked = original(head, behind)
        if asked is None:
            return self._gate.judge(exchange, head, self._bare, asking)
        if self._pages and asked.target.startswith(self._pages + b"/"):
            # the login page would need a login
            raise NoSuchRoute("the proxy asked about one of the gateway's own pages: it has to forward these requests instead")
        exchange.asked = asked
        return self._gate.judge(exchange, asked, None if self._rules else self._bare, asking)

    def _answer(self, exchange: Exchange, admitted: Admitted) -> None:
        if exchange.ended:  # the proxy gave up while an authenticator was asked
            return
        if admitted.route.answers:  # the proxy would send the request to a service (attack 129)
            raise NoSuchRoute("the gateway answers the request by itself: the proxy has to forward it instead")
        exchange.decision = admitted
        asked = exchange.asked
        if asked is not None and admitted.route.reads_only(admitted.principal, asked.method, admitted.address):
            raise CommandRefused("a proxy asks without the body, which names the command")
        target = admitted.route.target
        if isinstance(target, LimitedTarget):
            target.count(admitted)
        lines = admitted.identity
        absent = []
        headers = exchange.head.headers
        sent = headers.authorization if admitted.route.passes_authorization else ()
        if sent:  # the proxy passes on what the answer has, and not what the client sent
            lines += b"Authorization: %b\r\n" % sent[0]
        elif b"\nAuthorization: " not in b"\n" + lines:
            absent.append(b"authorization")
        if self._pages:
            # only for a proxy: a script that asks by itself could read them
            cookies = others(headers) if admitted.relayed else b""
            if cookies:
                lines += b"Cookie: %b\r\n" % cookies
            else:
                absent.append(b"cookie")
        if absent:
            lines += _TO_REMOVE % b", ".join(absent)
        exchange.answer(200, exchange.date_line() + b"Cache-Control: no-store\r\n" + lines, b"")

    async def _answer_later(self, exchange: Exchange, later: Awaitable[Admitted]) -> None:
        try:
            self._answer(exchange, await later)
        except Exception as error:
            refuse_on_error(exchange, _as_refusal(error, exchange))


def _as_refusal(error: Exception, exchange: Exchange) -> Exception:
    """``error`` as a refusal that proxies pass on, with all challenges in one line. nginx makes 500 of all but 401 and 403."""
    if isinstance(error, BadRequest):
        error = Ambiguous(error.detail)
    elif isinstance(error, NoRoute):
        error = NoSuchRoute(error.detail)
    elif isinstance(error, InvalidCredentialsRequest):
        malformed, error = error, MalformedCredentials(error.detail)
        error.stranger = malformed.stranger
    elif isinstance(error, LoginNeeded):
        error = _login_needed(error, exchange)
    if isinstance(error, Refusal):
        error.one_line = True
    return error


def _login_needed(needed: LoginNeeded, exchange: Exchange) -> LoginNeeded:
    """A redirect in the way that the proxy passes on.

    nginx gets 401 with the path in a header. Traefik resolves a path as one of the gateway, so it gets the whole URL; the scheme
    and host are those that the client used.
    """
    asked, headers = exchange.asked, exchange.head.headers
    if any(headers.get(name) is not None for name in _OF_NGINX):
        return LoginNeededBehindProxy(needed.location, needed)
    scheme = (headers.get(b"x-forwarded-proto") or b"").partition(b",")[0].strip().lower()
    if asked is not None and headers.get(b"x-forwarded-uri") is not None and scheme in _SCHEMES:
        return LoginNeeded(b"%b://%b%b" % (scheme, asked.host, needed.location), needed)
    return needed
