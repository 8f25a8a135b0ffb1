"""Reactor's audit log: ``logback.xml``. Pure.

The loggers ``http-access`` and ``external-auth-access`` are the audit log; where else Reactor writes is Reactor's business.
"""

from __future__ import annotations

import re

from perimeter.importers.draft import Draft, DraftSection, Note
from perimeter.importers.xml_tree import Element, read

AUDIT_LOGGERS = ("http-access", "external-auth-access")
_SIZE = re.compile(r"([0-9]+)\s*([KMG])B", re.IGNORECASE)


def looks_like(text: str) -> bool:
    """Whether this is XML with appenders or loggers in it."""
    return text.lstrip("\ufeff \t\r\n").startswith("<") and ("<appender" in text or "<logger" in text)


def convert(text: str, file: str, draft: Draft) -> None:
    """Add the audit log that ``text`` describes to ``draft``. Raises `perimeter.importers.draft.ImportFault`."""
    elements = read(text, file)
    appenders = {element.attributes.get("name", ""): element for element in elements if element.name == "appender"}
    used: dict[str, Note] = {}
    for element in elements:
        note = Note(file, element.line, f"logger {element.attributes.get('name', '')}")
        if element.name == "logger" and element.attributes.get("name") in AUDIT_LOGGERS:
            if element.attributes.get("level", "TRACE").upper() == "OFF":
                draft.left(note, f"{note.text} is off; the gateway's audit log is on where [audit] has a path")
            for reference in element.children:
                used[reference.attributes.get("ref", "")] = note
        elif element.name != "appender":
            draft.remark(note, f"<{element.name} {element.attributes.get('name', '')}".rstrip() + ">: not of the audit log")
    if not used:
        draft.left(Note(file, 0, f"there is no logger {AUDIT_LOGGERS[0]}: no audit log is set up by this file"))
    for name, note in used.items():
        if name not in appenders:
            draft.left(note, f"{note.text}: there is no appender {name}")
        elif draft.has("audit"):
            draft.left(note, f"{note.text}: a second appender; the gateway has one audit log, and one for each route")
        else:
            _Appender(file, appenders[name], draft).audit()
    for name, element in appenders.items():
        if name not in used:
            draft.remark(Note(file, element.line, ""), f"<appender {name}>: not of the audit log")


class _Appender:
    def __init__(self, file: str, element: Element, draft: Draft) -> None:
        self.file = file
        self.element = element
        self.draft = draft
        self.section: DraftSection = draft.section("audit")

    def put(self, option: str, value: str, element: Element, needs: str = "") -> None:
        self.draft.put(self.section, option, value, Note(self.file, element.line, f"<{element.name}>"), needs)

    def left(self, element: Element, text: str = "") -> None:
        self.draft.left(Note(self.file, element.line, f"<{element.name}>{text and ': ' + text}"))

    def audit(self) -> None:
        path = self.element.child("file")
        if path is None or not path.text or "${" in path.text:
            self.left(path or self.element, "the audit log has no plain file name")
        else:
            self.put("path", path.text, path, "parent" if "/" in path.text else "")
        self.put("format", "reactor", self.element)
        for child in self.element.children:
            if child.name in ("rollingPolicy", "triggeringPolicy"):
                self.policy(child, path.text if path else "")
            elif child.name == "encoder":
                pattern = child.child("pattern")
                if pattern is None or pattern.text not in ("%msg%n", "%message%n", "%m%n"):
                    self.left(child, "a line is what format = reactor writes, without anything around it")
            elif child.name != "file":
                self.left(child)

    def policy(self, policy: Element, path: str) -> None:
        kind = policy.attributes.get("class", "").rpartition(".")[2]
        if kind not in ("TimeBasedRollingPolicy", "SizeBasedTriggeringPolicy"):
            self.left(policy, f"{kind}: roll is daily or a size")
            return
        if kind == "TimeBasedRollingPolicy":
            self.put("roll", "daily", policy)
        for child in policy.children:
            if child.name == "fileNamePattern":
                if child.text != f"{path}.%d{{yyyy-MM-dd}}":
                    self.left(child, f"rolled files are called {path}.YYYY-MM-DD here")
            elif child.name == "maxHistory" and child.text.isdigit() and int(child.text):
                self.put("keep", child.text, child)
            elif child.name == "maxFileSize" and (match := _SIZE.fullmatch(child.text)):
                self.put("roll", f"{match[1]}{match[2].upper()}iB", child)
            else:
                self.left(child)
