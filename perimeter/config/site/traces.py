"""``[traces]``: traces of requests, for OpenTelemetry."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import SECRET, TEXT, BadValue, Datatype, duration, file_path, integer, optional
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings

_RATIO = re.compile(r"0(?:\.[0-9]{1,9})?|1(?:\.0{1,9})?", re.ASCII)
_NEAR = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?=[:/]|$)", re.IGNORECASE)
_FIELD_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)


def _ratio(text: str, base: Path) -> float:
    if not _RATIO.fullmatch(text):
        raise BadValue("expected a number from 0 to 1, such as 0.05")
    return float(text)


RATIO: Datatype[float] = Datatype("ratio", _ratio, 0.0)


@attrs.frozen
class TraceSettings(Settings):
    """``[traces]``. ``endpoint`` is "" without traces. ``timeout`` is in seconds."""

    endpoint: str = option(
        URL,
        "URL of an OpenTelemetry collector to which spans are sent (OTLP over HTTP, as JSON), such as "
        "`http://127.0.0.1:4318/v1/traces`; not set: no traces, and `traceparent` passes as any other header",
        default="",
    )
    ratio: float = option(
        RATIO,
        "share of the requests that the gateway records, from 0 to 1. For requests that a trusted proxy (`trusted_proxies`) "
        "sends with `traceparent`, the gateway follows the decision of the proxy",
        default="0.05",
    )
    limit: int = option(
        integer(1, 100_000), "largest number of requests that are recorded in a second; more are only counted", default="100"
    )
    queue: int = option(
        integer(100, 1_000_000), "largest number of spans that wait to be sent; more are dropped, and counted", default="10000"
    )
    timeout: float = option(duration(), "longest time for one exchange with the collector", default="5s")
    service_name: str = option(TEXT, "name of this gateway in the traces (`service.name`)", default="perimeter")
    authorization: str = option(SECRET, "`Authorization` header for the collector; not set: none", default="")
    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "PEM file of trusted CAs, for an https:// endpoint; not set: the CAs of the system",
        default="",
        renewed=True,
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        fields = attrs.fields(TraceSettings)
        secure = self.endpoint.lower().startswith("https://")
        if self.ca_certificate is not None and not secure:
            section.problem(fields.ca_certificate, "is only allowed with https")
        if self.authorization and not _FIELD_VALUE.fullmatch(self.authorization):
            section.problem(fields.authorization, "has characters that a header cannot have")
        elif self.authorization and self.endpoint and not secure and not _NEAR.match(self.endpoint):
            section.problem(fields.authorization, "would cross the network in plain text: use an https:// endpoint")


KIND = SectionKind(
    "traces",
    TraceSettings,
    "Traces of requests for OpenTelemetry: a span for each request, for its authentication, and for the request to the service.",
    "endpoint = http://127.0.0.1:4318/v1/traces\nratio = 0.1\n",
)
