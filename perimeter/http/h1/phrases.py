"""The reason phrases of status lines. HTTP/2 has none (RFC 9113, section 8.3.2)."""

#: Reason phrases (RFC 9110, section 15) of the answers that the gateway itself makes; other statuses get an empty one.
PHRASES = {
    200: b"OK", 201: b"Created", 204: b"No Content", 206: b"Partial Content", 301: b"Moved Permanently", 302: b"Found",
    303: b"See Other", 304: b"Not Modified", 307: b"Temporary Redirect", 308: b"Permanent Redirect", 400: b"Bad Request",
    401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    409: b"Conflict", 412: b"Precondition Failed", 413: b"Content Too Large", 414: b"URI Too Long",
    416: b"Range Not Satisfiable", 417: b"Expectation Failed", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout", 505: b"HTTP Version Not Supported",
    508: b"Loop Detected",
}  # fmt: skip
