"""The values that the packages hand to each other. Pure: no I/O, no clock, no configuration.

Bytes of the wire stay bytes. Text (`str`) is what the gateway itself decided on: names, realms, roles, addresses.
Classes of the hot path are slotted and written by hand; the rest are frozen attrs.
"""

from perimeter.model.identity import (
    TOKEN_PREFIX,
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ConnectionCredentials,
    Credentials,
    Grant,
    Principal,
    Recollection,
    Restriction,
    unheard,
)
from perimeter.model.reasons import EarlyEnd
from perimeter.model.record import AccessRecord
from perimeter.model.wire import ClientConnection, Field, HeaderBlock, RequestHead, ResponseHead, Version, canonical_address

__all__ = [
    "TOKEN_PREFIX",
    "AccessRecord",
    "AuthenticationRequest",
    "BasicCredentials",
    "BearerCredentials",
    "ClientConnection",
    "ConnectionCredentials",
    "Credentials",
    "EarlyEnd",
    "Field",
    "Grant",
    "HeaderBlock",
    "Principal",
    "Recollection",
    "RequestHead",
    "ResponseHead",
    "Restriction",
    "Version",
    "canonical_address",
    "unheard",
]
