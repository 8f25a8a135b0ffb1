"""Formats the answer of the running gateway to ``status`` as text (`perimeter.run.operations`). Pure.

A table has the rows that have a problem first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from perimeter.cli.table import columns, duration

_GOOD = frozenset({"serving", "up", "up, slowly", "in use", "-"})
"""States without a problem."""


def lines(answer: Mapping[str, Any], now: float, before: Mapping[str, Any] | None = None) -> list[str]:
    """All lines. ``now`` is in epoch seconds. ``before`` is an earlier answer, for the requests per second since then."""
    found = [f"problem: {one['subject']} {one['name']}: {one['message']}" for one in answer.get("problems", ())]
    if found:
        found.append("")
    found += [
        f"perimeter {answer['version']}, process {answer['pid']}, up for {duration(answer['uptime'])}",
        f"configuration {answer['config']}, {_reload(answer.get('last_reload'))}",
        *_upgrade(answer),
        _requests(answer, before),
        f"sessions of browsers: {answer['sessions']}",
        *_redis(answer),
    ]
    for rows in (
        _nodes(answer),
        _workers(answer, now),
        _listeners(answer),
        _upstreams(answer),
        _authenticators(answer),
        _certificates(answer),
        _limits(answer),
        _orders(answer),
        _waiting(answer),
    ):
        if rows:
            found += ["", *columns(rows)]
    return found


def _reload(reload: Mapping[str, Any] | None) -> str:
    if reload is None:
        return "not reloaded since the start"
    return f"last reload {reload['at']}, {'refused' if reload['refused'] else 'in force'}"


def _upgrade(answer: Mapping[str, Any]) -> list[str]:
    if not answer.get("upgrading"):
        return []
    fault = answer.get("upgrade_fault")
    return [f"an upgrade is under way{f', and the new workers do not start: {fault}' if fault else ''}"]


def _requests(answer: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    counts: Mapping[str, int] | None = answer.get("requests")
    if counts is None:
        return "requests: not counted, because there is neither a metrics listener nor an operator page"
    total, since, seconds = sum(counts.values()), "since the start", float(answer["uptime"])
    earlier: Mapping[str, int] = {}
    if before is not None and before["pid"] == answer["pid"] and answer["uptime"] > before["uptime"]:
        earlier, since = before.get("requests") or {}, "now"
        seconds = answer["uptime"] - before["uptime"]
    rate = max(0, total - sum(earlier.values())) / max(seconds, 1.0)
    kinds = ", ".join(f"{count} {_class(name)}" for name, count in counts.items() if count)
    return f"requests: {total}{f' ({kinds})' if kinds else ''}, {rate:.1f} per second {since}"


def _class(name: str) -> str:
    return "without an answer" if name == "none" else name


def _rows(
    answer: Mapping[str, Any], name: str, heading: Sequence[str], row: Callable[[Mapping[str, Any]], Sequence[object]], state: int
) -> list[Sequence[object]]:
    """A heading and a row for each entry of ``name``; those whose column ``state`` is not a good one come first."""
    return _table(heading, (row(one) for one in answer.get(name, ())), state)


def _table(
    heading: Sequence[str], rows: Iterable[Sequence[object]], state: int, good: frozenset[str] = _GOOD
) -> list[Sequence[object]]:
    made = sorted(rows, key=lambda row: row[state] in good)
    return [heading, *made] if made else []


def _redis(answer: Mapping[str, Any]) -> list[str]:
    """Where the state is that several machines share."""
    redis = answer.get("redis")
    if redis is None:
        return []
    where = f"Redis {redis['version']} at {redis['primary']}" if redis["primary"] else f"not connected ({redis['problem']})"
    return [f"state: {where}; this is node {redis['node']}"]


def _nodes(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("NODE", "STATE", "VERSION", "CONFIGURATION", "HEARD", "CLOCK", "ADDRESS", "UP")
    return _rows(
        answer,
        "nodes",
        heading,
        lambda one: (
            one["name"],
            one["state"] if one["state"] != "silent" else f"silent for {duration(one['age'])}",
            one["version"] or "-",
            one["configuration"] or "-",
            _seconds(one["heard"], ""),
            _seconds(one["clock"], "+"),
            one["address"] or "-",
            "-" if one["up"] is None else duration(one["up"]),
        ),
        1,
    )


def _seconds(value: float | None, sign: str) -> str:
    return "-" if value is None else f"{value:{sign}.3f} s"


def _workers(answer: Mapping[str, Any], now: float) -> list[Sequence[object]]:
    heading = ("WORKER", "STATE", "PROCESS", "CONNECTIONS", "UP", "RESTARTS", "CONFIGURATION")
    return _rows(
        answer,
        "workers",
        heading,
        lambda one: (
            one["slot"],
            "slow" if one.get("slow") else one["state"],
            one["pid"],
            one["connections"],
            duration(max(0.0, now - one["since"])) if one["since"] else "-",
            one["restarts"],
            one["generation"],
        ),
        1,
    )


def _listeners(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("LISTENER", "PORT", "CONNECTIONS")
    return [heading, *((one["name"], one.get("path") or one["port"], one["connections"]) for one in answer["listeners"])]


def _upstreams(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("UPSTREAM", "SERVER", "STATE", "BUSY", "IDLE", "WAITING", "FAULT")
    rows = [
        (
            upstream["name"],
            server["url"] + (" (backup)" if server["backup"] else ""),
            server["state"],
            server["busy"],
            server["idle"],
            upstream["waiting"],
            server["fault"],
        )
        for upstream in answer.get("upstreams", ())
        for server in upstream["servers"]
    ]
    return _table(heading, rows, 2, _GOOD | {"starting"})


def _authenticators(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("AUTHENTICATOR", "STATE", "TYPE", "REALM")
    return _rows(answer, "authenticators", heading, lambda one: (one["name"], _authenticator(one), one["type"], one["realm"]), 1)


def _authenticator(one: Mapping[str, Any]) -> str:
    if one["down"]:
        return f"down, next try in {one['next_try']} s"
    return "cannot be used at the moment" if one.get("fault") else "in use"


def _certificates(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("CERTIFICATE OF", "DAYS LEFT", "UNTIL", "NAME", "FILE")
    rows = sorted(answer.get("certificates", ()), key=lambda one: int(one["days"]))
    made = [(one["listener"], one["days"], one["until"][:10], one["subject"], one["source"]) for one in rows]
    return [heading, *made] if made else []


def _limits(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    made = [(one["route"], one["limit"], one["refused"]) for one in answer.get("limited", ())]
    return [("LIMIT OF ROUTE", "LIMIT", "REFUSED"), *made] if made else []


def _orders(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("ORDERED FOR", "LISTENER", "STATE")
    made = [
        (
            ", ".join(one["names"]),
            ", ".join(one["listeners"]),
            "failed" if one["fault"] else f"renewed at {one['renew']}" if one["renew"] else "to be ordered",
        )
        for one in answer.get("orders", ())
    ]
    return [heading, *made] if made else []


def _waiting(answer: Mapping[str, Any]) -> list[Sequence[object]]:
    heading = ("WRONG PASSWORDS", "OF", "REALM", "COUNT", "STATE")
    made = [
        (
            one["value"],
            one["kind"],
            one["realm"] or "-",
            one["wrong_passwords"],
            f"refused for {one['seconds']} s" if one["seconds"] else "may try once more",
        )
        for one in sorted(answer["waiting"], key=lambda one: -one["seconds"])
    ]
    return [heading, *made] if made else []
