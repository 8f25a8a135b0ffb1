"""The values that the packages pass to each other. Pure: no I/O, no clock, no configuration.

What comes over the wire stays `bytes`. `str` is what the gateway itself has established: names, realms, roles, addresses.
Classes on the hot path are slotted and written by hand. The others are frozen attrs.
"""

from perimeter.model.identity import (
    TOKEN_PREFIX,
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ConnectionCredentials,
    Credentials,
    Grant,
    GrantKind,
    NegotiateCredentials,
    Principal,
    Recollection,
    Restriction,
    SessionUse,
    VouchedCredentials,
    discard_explanation,
)
from perimeter.model.reasons import EarlyEnd
from perimeter.model.record import AccessRecord
from perimeter.model.wire import (
    UNIX_PEER,
    ClientConnection,
    Field,
    HeaderBlock,
    RequestHead,
    ResponseHead,
    Version,
    canonical_address,
    network_of,
)

__all__ = [
    "TOKEN_PREFIX",
    "UNIX_PEER",
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
    "GrantKind",
    "HeaderBlock",
    "NegotiateCredentials",
    "Principal",
    "Recollection",
    "RequestHead",
    "ResponseHead",
    "Restriction",
    "SessionUse",
    "Version",
    "VouchedCredentials",
    "canonical_address",
    "discard_explanation",
    "network_of",
]
