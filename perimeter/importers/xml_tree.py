"""Hadoop's and logback's XML, with the line of each element. Pure.

Manuals show excerpts without an outer element, so one is added around the text. A document type is refused (attack: entity bombs,
external entities).
"""

from __future__ import annotations

import io
import re
from typing import Any
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler  # only the interface; the parser is defusedxml's
from xml.sax.xmlreader import AttributesImpl, Locator

import attrs
from defusedxml import DefusedXmlException
from defusedxml.sax import make_parser

from perimeter.importers.draft import ImportFault

MAX_SIZE = 4 << 20
MAX_DEPTH = 30
MAX_ELEMENTS = 100_000
_PROLOGUE = re.compile(r"\A\ufeff?\s*<\?xml[^>]*\?>")


@attrs.define
class Element:
    """An element: its attributes, its children, and the trimmed text directly inside it."""

    name: str
    line: int
    attributes: dict[str, str] = attrs.field(factory=dict, repr=False)
    children: list[Element] = attrs.field(factory=list, repr=False)
    parts: list[str] = attrs.field(factory=list, repr=False)

    @property
    def text(self) -> str:
        """Its text."""
        return "".join(self.parts).strip()

    def child(self, name: str) -> Element | None:
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)


class _Refused(Exception):
    pass


class _Builder(ContentHandler):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", 0)
        self.stack = [self.root]
        self.locator: Locator | None = None
        self.count = 0

    def setDocumentLocator(self, locator: Locator) -> None:
        self.locator = locator

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.count += 1
        if len(self.stack) > MAX_DEPTH:
            raise _Refused(f"more than {MAX_DEPTH} levels deep")
        if self.count > MAX_ELEMENTS:
            raise _Refused(f"more than {MAX_ELEMENTS} elements")
        line = (self.locator.getLineNumber() if self.locator is not None else None) or 0
        element = Element(name, line, dict(attrs.items()))
        self.stack[-1].children.append(element)
        self.stack.append(element)

    def endElement(self, name: str) -> None:
        self.stack.pop()

    def characters(self, content: str) -> None:
        self.stack[-1].parts.append(content)


def read(text: str, file: str) -> list[Element]:
    """The outermost elements, or those inside a ``configuration`` element if it is the only one. Raises `ImportFault`."""
    if len(text) > MAX_SIZE:
        raise ImportFault(file, 0, f"larger than {MAX_SIZE >> 20} MiB")
    # line breaks in place of the declaration keep the line numbers
    wrapped = "<excerpt>" + _PROLOGUE.sub(lambda match: "\n" * match[0].count("\n"), text) + "</excerpt>"
    builder = _Builder()
    parser: Any = make_parser()
    parser.forbid_dtd = True
    parser.setContentHandler(builder)
    try:
        parser.parse(io.StringIO(wrapped))
    except DefusedXmlException:
        raise ImportFault(file, 0, "a document type or entities: remove them") from None
    except SAXParseException as error:
        raise ImportFault(file, error.getLineNumber() or 0, f"not XML: {error.getMessage()}") from None
    except SAXException:
        raise ImportFault(file, 0, "not XML") from None
    except _Refused as refused:
        raise ImportFault(file, 0, str(refused)) from None
    elements = builder.root.children[0].children
    if len(elements) == 1 and elements[0].name == "configuration":
        return elements[0].children
    return elements
