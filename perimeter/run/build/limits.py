"""The limits of a configured route: rules that count before the client is identified, and a target that counts after it."""

from __future__ import annotations

from functools import partial
from math import inf

from perimeter.config.site.limiting import Per, Rate
from perimeter.config.site.route import RouteSettings
from perimeter.gate.clients import client_of
from perimeter.gate.entry import EntryRule, within_rate
from perimeter.gate.target import ITarget
from perimeter.limits.rates import RateLimit
from perimeter.run.build.runtime import Runtime
from perimeter.targets.limited import ClientOf, FlightLimit, LimitedTarget, Limits, address_of, everybody

_CLIENT_OF: dict[Per, ClientOf] = {Per.USER: client_of, Per.ADDRESS: address_of, Per.ROUTE: everybody}


def counting_rules(settings: RouteSettings, runtime: Runtime) -> tuple[EntryRule, ...]:
    """The rules for the rates of addresses and of the whole route."""
    return tuple(
        within_rate(_limit("rate", one, settings, runtime), by_address=one.per is Per.ADDRESS)
        for one in settings.rate
        if one.per is not Per.USER
    )


def limited(target: ITarget, settings: RouteSettings, runtime: Runtime) -> ITarget:
    """``target``, within the other limits of the route; ``target`` itself if it has none."""
    limits = Limits(
        clock=runtime.reactor,
        deadlines=runtime.deadlines,
        rates=tuple(_limit("rate", one, settings, runtime) for one in settings.rate if one.per is Per.USER),
        flights=tuple(
            FlightLimit(
                runtime.limits.flights,
                runtime.limits.secret,
                place=f"in_flight {settings.name} {one.per}",
                name=str(one),
                most=one.most,
                client=_CLIENT_OF[one.per],
                count=partial(runtime.metrics.count_limited, settings.name, f"in_flight {one}"),
            )
            for one in settings.in_flight
        ),
        bodies=tuple((_limit("body_rate", one, settings, runtime), _CLIENT_OF[one.per]) for one in settings.body_rate),
        timeout=inf if settings.request_timeout is None else settings.request_timeout,
    )
    return LimitedTarget(target, limits) if limits.rates or limits.follow else target


def _limit(option: str, rate: Rate, settings: RouteSettings, runtime: Runtime) -> RateLimit:
    memory = runtime.limits
    return RateLimit(
        memory.buckets,
        memory.secret,
        place=f"{option} {settings.name} {rate.per} {rate.unit}",
        name=rate.name,
        amount=rate.amount,
        seconds=rate.seconds,
        burst=rate.burst,
        count=partial(runtime.metrics.count_limited, settings.name, f"{option} {rate.name}"),
    )
