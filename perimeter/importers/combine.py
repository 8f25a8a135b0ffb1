"""What only shows when every source has been read: who asks whom, who knows users, and where the gateway listens. Pure."""

from __future__ import annotations

from perimeter.importers.authotron.source import LISTENER
from perimeter.importers.draft import USERS, Draft, Note, Setting


def complete(draft: Draft) -> None:
    """Make a whole site of ``draft``."""
    _folded(draft)
    _users(draft)
    _listener(draft)
    if not draft.has("audit"):
        draft.section("audit").options["path"] = Setting("access.log")
    if not draft.has("perimeter"):
        draft.section("perimeter")
    draft.sections["perimeter"].options.setdefault("state_dir", Setting("var"))
    for header in [header for header, section in draft.sections.items() if not section.options]:
        del draft.sections[header]


def _folded(draft: Draft) -> None:
    """Auth-o-tron's port, where the only one to ask it was a proxy whose work is done here too."""
    own = draft.sections.get(f"listener {LISTENER}")
    if own is None or "port" not in own.options or int(own.options["port"].value) not in draft.asked_ports:
        return
    origin = own.options["port"].origin or Note("", 0, "")
    draft.remark(origin, f"port {own.options['port'].value} is not needed: nginx, which asked there, is in this site.ini as well")
    del draft.sections[own.header]


def _users(draft: Draft) -> None:
    """Routes that ask for a user need somebody who knows users: nobody, until the operator adds some."""
    if draft.has("authenticator"):
        return
    closed = [one for one in draft.sections.values() if one.header.startswith("route ") and "auth" not in one.options]
    if not closed:
        return
    section = draft.section("authenticator", "users", "nobody yet: perimeter password --user NAME prints a line")
    section.options["type"] = Setting("realmfile")
    section.options["path"] = Setting(USERS)
    draft.realms.setdefault(USERS, [])
    path = closed[0].options.get("path")
    draft.remark(
        path.origin if path is not None and path.origin is not None else Note("", 0, ""),
        f"who the users are is said elsewhere: import that as well, or add them to {USERS}",
    )


def _listener(draft: Draft) -> None:
    if draft.has("listener"):
        return
    section = draft.section("listener", "https", "no source says where to listen")
    section.options["port"] = Setting("9443")
    section.options["tls"] = Setting("yes")
