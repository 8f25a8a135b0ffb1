"""A User-Agent in a few words, for a list of sessions. Pure.

The header can be wrong or false. It only helps users to recognise their own browsers.
"""

from __future__ import annotations

import re
from typing import Final

#: Products by which browsers are recognised, the most special one first: almost all of them name Chrome and Safari, too.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("EdgA", "Edge"),
    ("EdgiOS", "Edge"),
    ("OPR", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Vivaldi", "Vivaldi"),
    ("FxiOS", "Firefox"),
    ("Firefox", "Firefox"),
    ("CriOS", "Chrome"),
    ("HeadlessChrome", "Chrome"),
    ("Chrome", "Chrome"),
    ("Version", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_PRODUCT: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,40})(?:/([0-9]{1,10}))?")


def browser_in_words(agent: str) -> str:
    """The browser and its system (``Firefox 140 on Linux``), else the first product of ``agent`` (``curl 8``; RFC 9110, section
    10.1.5), else ``unknown``."""
    products = dict(re.findall(r"([A-Za-z]+)/([0-9]{1,10})", agent))
    first = _PRODUCT.match(agent)
    name = next((f"{words} {products[product]}" for product, words in _BROWSERS if product in products), "")
    if not name or first is None or first[1] != "Mozilla":
        return "unknown" if first is None else " ".join(part for part in first.groups() if part)
    system = next((words for mark, words in _SYSTEMS if mark in agent), "")
    return f"{name} on {system}" if system else name
