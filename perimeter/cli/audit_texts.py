"""The report and the verdicts of ``perimeter audit``, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from perimeter.audit.report import Report, Tally
from perimeter.audit.verify import Verdict


def _tallies(report: Report) -> dict[str, Tally]:
    return {
        "users": report.users,
        "attempted users": report.attempted,
        "addresses": report.addresses,
        "routes": report.routes,
        "paths": report.paths,
        "reasons": report.reasons,
        "events": report.events,
    }


def report_members(report: Report, unknown: int, top: int) -> dict[str, object]:
    """A report for programs, with the ``top`` entries of each list."""
    return {
        "first": None if report.first is None else report.first.isoformat(),
        "last": None if report.last is None else report.last.isoformat(),
        "requests": report.requests,
        "sent": report.sent,
        "unknown": unknown,
        "classes": report.classes(),
        "statuses": dict(sorted(report.statuses.items())),
        **{name.replace(" ", "_"): dict(tally.top(top)) for name, tally in _tallies(report).items()},
        "slowest": [{"seconds": one.seconds, "time": one.time, "user": one.user, "target": one.target} for one in report.slowest],
        "exact": not any(tally.dropped for tally in _tallies(report).values()),
    }


def report_lines(report: Report, top: int) -> Iterator[str]:
    """A report for people."""
    if report.first is None or report.last is None:
        yield "no requests"
    else:
        yield f"{report.requests} requests from {report.first.isoformat()} to {report.last.isoformat()}, {report.sent} bytes sent"
        yield "status: " + ", ".join(f"{name} {count}" for name, count in report.classes().items())
        for name, tally in _tallies(report).items():
            entries = tally.top(top)
            if entries:
                yield f"{name}:"
                yield from (f"  {count:>9}  {value or '(none)'}" for value, count in entries)
                if tally.dropped:
                    yield f"  {tally.dropped:>9}  of rare ones, so the counts above may be too low"
        if report.slowest:
            yield "slowest:"
            yield from (f"  {one.seconds:>8.3f}s  {one.time} {one.user} {one.target}" for one in report.slowest)


def verdict_members(verdict: Verdict) -> dict[str, object]:
    """A verdict for programs."""
    return {
        "file": str(verdict.path),
        "lines": verdict.lines,
        "good": verdict.good,
        "odd": {str(name): count for name, count in verdict.odd.items()},
        "places": [{"line": line, "what": str(what)} for line, what in verdict.places],
        "open_end": verdict.open_end,
        "fault": verdict.fault,
        "clean": verdict.clean,
    }


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """A verdict for people."""
    odd = ", ".join(f"{count} {what}" for what, count in verdict.odd.items())
    text = f"{verdict.path}: {verdict.good} of {verdict.lines} lines are good"
    yield text + (f"; {odd}" if odd else "") + ("; the last line has no end yet" if verdict.open_end and not odd else "")
    if verdict.fault:
        yield f"{verdict.path}: {verdict.fault}"
    yield from (f"{verdict.path}:{line}: {what}" for line, what in verdict.places)
