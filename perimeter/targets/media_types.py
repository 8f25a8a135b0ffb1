"""The media type of a file name: from a table of the gateway's own, independent of the machine's ``/etc/mime.types``."""

from __future__ import annotations

import mimetypes

_DEFAULT = "application/octet-stream"

#: Text is served as UTF-8.
_TYPES = {
    ".atom": "application/atom+xml",
    ".avif": "image/avif",
    ".bz2": "application/x-bzip2",
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".log": "text/plain; charset=utf-8",
    ".map": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".rss": "application/rss+xml",
    ".svg": "image/svg+xml; charset=utf-8",
    ".tar": "application/x-tar",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xml": "text/xml; charset=utf-8",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}

# The library's built-in table, without the files that it would read from the machine.
_LIBRARY = mimetypes.MimeTypes(filenames=())


def content_type(name: str) -> str:
    """The value of Content-Type for a file of this name. A compressed file is a file, not an encoding of another one."""
    _, dot, extension = name.rpartition(".")
    own = _TYPES.get("." + extension.lower()) if dot else None
    if own is not None:
        return own
    guessed, encoding = _LIBRARY.guess_type(name, strict=True)
    if guessed is None or encoding is not None:
        return _DEFAULT
    return guessed + "; charset=utf-8" if guessed.startswith("text/") else guessed
