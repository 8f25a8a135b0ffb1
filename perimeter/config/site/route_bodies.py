"""The options of a route about what the bodies of requests say: for the audit log, and for users who may only read."""

from __future__ import annotations

from pathlib import Path

import attrs

from perimeter.config.language.datatypes import TEXT, BadValue, Datatype, list_of
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.expression import EXPRESSIONS, Expression
from perimeter.json_prefix import Pointer, pointer

_PREFIX = "json:"


def _member(text: str, base: Path) -> Pointer:
    path = text.removeprefix(_PREFIX)
    try:
        if path == text:
            raise ValueError
        return pointer(path)
    except ValueError:
        near = path if path.startswith("/") else "/" + path.removeprefix("$").replace(".", "/").strip("/")
        good = near.replace("/", "").replace("_", "").isalnum()
        raise BadValue(
            "expected json: and a JSON Pointer (RFC 6901), such as json:/command/name", good * f"json:{near}"
        ) from None


MEMBER: Datatype[Pointer] = Datatype("json:POINTER", _member, ())


@attrs.frozen(kw_only=True, slots=False)
class RouteBodies(Settings):
    """The options about bodies. The parts of one of ``read_only_commands`` are separated by colons."""

    audit_body: tuple[Pointer, ...] = option(
        list_of(MEMBER),
        "with `upstream`: members of a JSON body that the audit log shows as the command of the request, such as "
        "`json:/command/name`; several are separated by colons there. The gateway looks at the first 8 KiB of a body of type "
        "`application/json`, and forwards it as it comes",
        default="",
    )
    read_only: tuple[Expression, ...] = option(
        EXPRESSIONS,
        "with `audit_body`: users who may send only the commands in `read_only_commands`, whatever else they may do, written "
        "like `deny`. Their requests need a JSON body of at most 8 KiB that has only one reading; others get 403",
        default="",
    )
    read_only_commands: tuple[str, ...] = option(
        list_of(TEXT),
        "with `read_only`: the commands, as the audit log shows them; `Ping` is also for commands such as `Ping:1`, whose first "
        "part it is",
        default="",
    )

    def check_bodies(self, section: Section, anonymous: bool) -> None:
        """Report what contradicts each other. ``anonymous``: the route also admits clients that have no credentials."""
        its = attrs.fields(RouteBodies)
        section.needs(its.read_only, its.audit_body)
        section.needs(its.read_only, its.read_only_commands)
        section.needs(its.read_only_commands, its.read_only)
        if anonymous and self.read_only:
            section.problem(its.read_only, "needs auth = required: a client without credentials would not be restricted")
        for command in self.read_only_commands if self.audit_body else ():
            if command.count(":") >= len(self.audit_body):
                shown = section.quote(its.read_only_commands, command)
                section.problem(its.read_only_commands, f"{shown} has more parts than audit_body has members")


OF_BODIES = tuple(attrs.fields_dict(RouteBodies).values())
"""The options that only a route with an upstream has."""
