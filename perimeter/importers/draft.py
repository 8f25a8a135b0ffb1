"""A site.ini in the making: what importers write into, and its text in the end.

An importer does one of four things with each directive of its source. It sets options of a section. It ignores the directive,
because the gateway does the same by default. It adds a remark, if the result is the same but reached in another way. Or it adds
the directive to the remainder, which the operator has to translate by hand. No directive is dropped without one of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import attrs

from perimeter.errors import PerimeterError

_UNFIT_FOR_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_COMMENT = re.compile(r"(?:^|\s)[;#]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
USERS = "users.realm"
"""A realm file for users that no source names."""

NO_CLIENT = "255.255.255.255/32"
"""``networks`` of a route that is closed to all clients: no client has this address."""

CLOSED_UPSTREAM = "http://127.0.0.1:9"
"""Upstream of routes that are closed to all clients."""

_REFERENCE = re.compile(r"(?:env|file|credential):")
#: the order of sections in the text
_ORDER = (
    *("perimeter", "limits", "listener", "acme", "authenticator", "authentication", "augmenter"),
    *("token", "upstream", "route", "audit", "logging", "metrics", "errors"),
)


class ImportFault(PerimeterError):
    """A source that cannot be read at all. ``line`` counts from 1; 0 means none."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}" if file else message)


@attrs.frozen(order=True)
class Note:
    """A message to the operator about a line of a source, without secrets."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"
        return _CONTROL.sub("?", text)


@attrs.frozen
class RealmUser:
    """A user of a realm file: exactly one of ``password`` (still to be hashed) and ``hashed`` is set."""

    name: str
    password: str | None = attrs.field(default=None, repr=False)
    hashed: str | None = attrs.field(default=None, repr=False)
    roles: tuple[str, ...] = ()


@attrs.frozen
class Setting:
    """One option. ``needs`` is "file", "directory" or "parent" if the value is a path that must exist when the gateway starts;
    if it does not exist, the option is written as a comment."""

    value: str
    needs: str = ""
    origin: Note | None = None


@attrs.define
class DraftSection:
    """A section: its options in order, and a remark above it. ``source`` is the kind of source that it comes from."""

    header: str
    options: dict[str, Setting] = attrs.field(factory=dict)
    about: str = ""
    source: str = ""


@attrs.frozen
class Guard:
    """Closes ``section`` if there are files whose paths begin as ``path`` does, and which nginx shows to fewer people."""

    section: DraftSection
    path: str
    origin: Note


@attrs.define
class Draft:
    """Everything that was found in the sources so far.

    ``files`` are secrets and ``realms`` are realm files; both are written beside the site.ini.
    """

    sections: dict[str, DraftSection] = attrs.field(factory=dict)
    #: the kind of source that is being read
    source: str = ""
    files: dict[str, str] = attrs.field(factory=dict, repr=False)
    realms: dict[str, list[RealmUser]] = attrs.field(factory=dict, repr=False)
    remainder: list[Note] = attrs.field(factory=list)
    remarks: list[Note] = attrs.field(factory=list)
    #: each route that was closed, and why; part of the remainder too
    closed: list[str] = attrs.field(factory=list)
    guards: list[Guard] = attrs.field(factory=list)
    #: ports on which nginx asks Auth-o-tron
    asked_ports: set[int] = attrs.field(factory=set)
    #: the notes of both lists: a hostile source has very many
    _noted: set[tuple[str, Note]] = attrs.field(factory=set, init=False, repr=False)

    # -- what importers call

    def section(self, kind: str, name: str = "", about: str = "") -> DraftSection:
        """The section ``[kind name]``, created if necessary."""
        header = f"{kind} {plain_name(name)}" if name else kind
        return self.sections.setdefault(header, DraftSection(header, about=about, source=self.source))

    def has(self, kind: str) -> bool:
        """Whether there is a section of this kind."""
        return any(header.partition(" ")[0] == kind for header in self.sections)

    def free_name(self, kind: str, name: str) -> str:
        """``name``, with a number appended if that section exists."""
        wanted = plain_name(name)
        number = 2
        found = wanted
        while f"{kind} {found}" in self.sections:
            found, number = f"{wanted}-{number}", number + 1
        return found

    def put(self, section: DraftSection, option: str, value: str, origin: Note, needs: str = "") -> bool:
        """Set an option, unless its value is not possible in a site.ini or another source has set another value."""
        if fault := unfit(value):
            self.left(origin, f"{origin.text}: {fault}")
            return False
        before = section.options.get(option)
        if before is not None and before.value != value:
            self.left(origin, f"{origin.text}: [{section.header}] {option} is {before.value} already")
            return False
        section.options[option] = Setting(value, needs, origin)
        return True

    def put_secret(self, section: DraftSection, option: str, file: str, secret: str, origin: Note) -> None:
        """Set an option to a file of its own that holds a secret."""
        if not secret or "\n" in secret or "\r" in secret or len(secret) > 4096:
            self.left(origin, f"{origin.text}: expected a secret of one line")
        elif self.files.setdefault(file, secret) != secret:
            self.left(origin, f"{origin.text}: another source has a different one")
        else:
            self.put(section, option, f"file:{file}", origin)

    def left(self, origin: Note, text: str = "") -> None:
        """Add a note to the remainder."""
        note = attrs.evolve(origin, text=text or origin.text)
        if ("left", note) not in self._noted:
            self._noted.add(("left", note))
            self.remainder.append(note)

    def remark(self, origin: Note, text: str) -> None:
        """Add a message that needs no work of the operator; each message once."""
        note = attrs.evolve(origin, text=text)
        if ("remark", note) not in self._noted:
            self._noted.add(("remark", note))
            self.remarks.append(note)

    def close(self, section: DraftSection, reasons: Sequence[tuple[Note, str]]) -> None:
        """Close a route to all clients. ``reasons`` are the directives that could not be translated, and why not."""
        if self.has("authenticator"):
            section.options.pop("auth", None)
        section.options["networks"] = Setting(NO_CLIENT, "", reasons[0][0])
        path = section.options["path"].value
        for origin, why in reasons:
            known = [note for note in self.remainder if (note.file, note.line) == (origin.file, origin.line)]
            if not any(note.text.startswith(origin.text) for note in known):
                self.left(origin, f"{origin.text}{why and ': ' + why}; {path} is closed to all clients")
        first = str(attrs.evolve(reasons[0][0], text=f"{reasons[0][0].text}{reasons[0][1] and ': ' + reasons[0][1]}"))
        section.about = f"closed to all clients by networks, because this is not translated: {first}"
        self.closed.append(f"[{section.header}] {path}: {first}")

    def guard(self, section: DraftSection, root: str, path: str, other: str, origin: Note) -> None:
        """Close a route of files at ``path`` if ``root`` has files whose paths begin as ``other`` does, when that is known."""
        self.guards.append(Guard(section, f"{root.rstrip('/')}/{other[len(path.rstrip('/')) + 1 :]}", origin))

    # -- the result

    def settle(self, there: Callable[[str, str], bool]) -> None:
        """Turn options into comments if their files do not exist. ``there(path, needs)`` says whether they do; for ``needs``
        "beginning" it says whether a longer name exists that begins with that of ``path``."""
        for guard in self.guards:
            if guard.section.options.get("networks", Setting("")).value != NO_CLIENT and there(guard.path, "beginning"):
                why = f"there are files beside {guard.path} whose names begin like it, for which nginx uses this too"
                self.close(guard.section, [(guard.origin, why)])
        for section in self.sections.values():
            for option, setting in list(section.options.items()):
                if option in section.options and not all(there(path, setting.needs) for path in _paths(setting)):
                    self._missing(section, option, setting)
        self._settle_errors()

    def _settle_errors(self) -> None:
        """An error page needs a route: without one the gateway would not start."""
        errors = self.sections.get("errors")
        paths = [
            one.options["path"].value
            for one in self.sections.values()
            if one.header.startswith("route ") and {"path", "static"} <= one.options.keys()
        ]
        exact = [path.removeprefix("exact:") for path in paths]
        if errors is None or "page" not in errors.options:
            return
        pages = [line.rpartition(" ")[2] for line in errors.options["page"].value.split("\n    ")]
        if not all(page in exact or any(path == "/" or page.startswith(f"{path}/") for path in paths) for page in pages):
            setting = errors.options.pop("page")
            errors.options[";page"] = _commented(setting)
            self.remark(setting.origin or Note("", 0, ""), "no route serves the error page: it is a comment until there is one")

    def _missing(self, section: DraftSection, option: str, setting: Setting) -> None:
        assert setting.origin is not None
        del section.options[option]
        what = "directory for" if setting.needs == "parent" else setting.needs
        if setting.needs == "parent":
            # keep a log, beside the site.ini
            section.options[option] = Setting(setting.value.rpartition("/")[2], "", setting.origin)
            self.remark(setting.origin, f"there is no {what} {setting.value} on this machine: the log is beside the site.ini")
            return
        if section.header.startswith("authenticator ") and option == "path":
            section.options[option] = Setting(USERS)
            self.realms.setdefault(USERS, [])
            self.remark(setting.origin, f"there is no {what} {setting.value} on this machine: {USERS} is used, without users")
            return
        if option == "static" and ("auth" not in section.options or "networks" in section.options):
            # without the route, a wider one would serve its path, and may be open
            section.options[option] = attrs.evolve(setting, needs="")
            self.remark(
                setting.origin, f"there is no {what} {setting.value} on this machine: the gateway does not start without it"
            )
            return
        if option == "client_ca" and "client_certificate" in section.options:
            if section.options["client_certificate"].value == "required":
                section.options[option] = attrs.evolve(setting, needs="")
                self.remark(
                    setting.origin, f"there is no {what} {setting.value} on this machine: the gateway does not start without it"
                )
                return
            section.options[";client_certificate"] = section.options.pop("client_certificate")
        section.options[f";{option}"] = _commented(setting)
        self.remark(
            setting.origin, f"there is no {what} {setting.value} on this machine: {option} is a comment until there is one"
        )
        if option in ("certificate", "keystore"):
            for other in ("private_key", "private_key_password", "keystore_password"):
                if other in section.options:
                    section.options[f";{other}"] = _commented(section.options.pop(other))
        if option == "static":
            section.options = {f";{name.lstrip(';')}": value for name, value in section.options.items()}
            section.about = "not in force, because a file that it needs does not exist"

    def text(self) -> str:
        """The site.ini. Ends with the remainder as comments."""
        lines = ["; Made by perimeter import. Judge it with perimeter check before it is used.", ""]
        for section in sorted(self.sections.values(), key=_place):
            dead = bool(section.options) and all(name.startswith(";") for name in section.options)
            if section.about:
                lines.append(f"; {_CONTROL.sub('?', section.about)}")
            lines.append(f"{';' if dead else ''}[{section.header}]")
            lines += [_line(name, setting.value) for name, setting in section.options.items()]
            lines.append("")
        if self.remainder:
            lines += ["; Not translated:", *(f"; {note}" for note in self.remainder), ""]
        return "\n".join(lines)


def _line(name: str, value: str) -> str:
    """An option, or a comment of as many lines if its name begins with a semicolon."""
    text = f"{name} = {value}".replace("= \n", "=\n")
    return text.replace("\n    ", "\n;    ") if name.startswith(";") else text


def _place(section: DraftSection) -> int:
    return _ORDER.index(section.header.partition(" ")[0])


def plain_name(text: str) -> str:
    """``text`` as the name of a section."""
    return _UNFIT_FOR_NAME.sub("-", text).strip("-._")[:60] or "unnamed"


def _paths(setting: Setting) -> list[str]:
    """The paths that have to exist; one in each line."""
    return setting.value.split("\n    ") if setting.needs else []


def _commented(setting: Setting) -> Setting:
    """``setting`` as the value of a comment. The lines after the first one need a semicolon of their own."""
    return attrs.evolve(setting, value=setting.value.replace("\n    ", "\n;    "))


def unfit(value: str) -> str:
    """Why ``value`` is not possible in a site.ini, or ""."""
    bare = value.removeprefix("\n    ")
    if not bare.strip() or bare != bare.strip():
        return "an empty value, or white space at its ends"
    if _CONTROL.search(value.replace("\n    ", "")):
        return "a control character"
    if _COMMENT.search(value):
        return "; or # after white space would begin a comment"
    return ""


def literal(value: str) -> str:
    """Why ``value``, which is literal in its source, would have another meaning in a site.ini, or ""."""
    return "it would be a reference to another place" if _REFERENCE.match(value) else ""
