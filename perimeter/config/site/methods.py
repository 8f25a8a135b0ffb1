"""The methods of HTTP that are registered."""

from __future__ import annotations

from typing import Final

REGISTERED_METHODS: Final = (
    # RFC 9110, section 9.3, RFC 5789 (PATCH), RFC 2068 (LINK, UNLINK), and QUERY of the HTTP working group
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "LINK", "UNLINK", "QUERY"),
    # WebDAV: RFC 4918, RFC 3744 (ACL), RFC 5323 (SEARCH), RFC 3648 (ORDERPATCH)
    *("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "UNLOCK", "ACL", "SEARCH", "ORDERPATCH"),
    # its versions (RFC 3253), calendars (RFC 4791), redirects (RFC 4437) and bindings (RFC 5842)
    *("BASELINE-CONTROL", "CHECKIN", "CHECKOUT", "LABEL", "MERGE", "MKACTIVITY", "MKWORKSPACE", "REPORT", "UNCHECKOUT", "UPDATE"),
    *("VERSION-CONTROL", "MKCALENDAR", "MKREDIRECTREF", "UPDATEREDIRECTREF", "BIND", "REBIND", "UNBIND"),
)
"""The methods of IANA's HTTP Method Registry (RFC 9110, section 16.1), without PRI, which is not a method of requests."""
