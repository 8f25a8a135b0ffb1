"""The record of an exchange for the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perimeter.model import AccessRecord

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange


def access_record(exchange: Exchange, now: float) -> AccessRecord:
    """What the audit log may say of ``exchange``, which ends ``now`` (seconds since the epoch).

    If it is a proxy's question, the record shows the request that the question is about.
    """
    head = exchange.asked or exchange.head
    connection = exchange.connection
    decision = exchange.decision
    record = AccessRecord()
    record.time = exchange.time
    record.duration = now - exchange.time
    record.listener = connection.listener
    record.tls = connection.tls
    record.method = head.method
    record.target = head.target
    record.version = head.version
    record.host = head.host
    record.headers = head.headers
    record.status = exchange.status
    record.sent = exchange.sent
    record.received = exchange.received
    record.reason = exchange.reason
    if decision is None:
        record.address = connection.address
        record.principal = None
        record.route = record.upstream = ""
    else:
        record.address = decision.address
        record.principal = decision.principal
        record.route = decision.route.name
        record.upstream = exchange.upstream or decision.route.target.name
    return record
