"""Runs importers on a text, and reads the results for tests."""

from __future__ import annotations

from pathlib import Path

from perimeter.importers.authotron import source as authotron
from perimeter.importers.authotron.file import Abilities
from perimeter.importers.draft import Draft
from perimeter.importers.nginx import source as nginx
from perimeter.importers.reactor import source as reactor

DATA = Path(__file__).parents[2] / "data"
ABILITIES = Abilities(
    {"ecmwf-api": frozenset({"uri", "cache"}), "jwt": frozenset({"cert_uri", "issuer", "audience"})},
    {"match": frozenset(), "plain": frozenset()},
)


def options(draft: Draft, header: str) -> dict[str, str]:
    return {name: setting.value for name, setting in draft.sections[header].options.items()}


def left(draft: Draft) -> list[str]:
    return [f"{note.line}: {note.text}" for note in draft.remainder]


def yaml(text: str) -> Draft:
    draft = Draft()
    authotron.convert(text, "config.yaml", draft, ABILITIES)
    return draft


def conf(text: str) -> Draft:
    draft = Draft()
    nginx.convert(text, "nginx.conf", draft)
    return draft


def location(body: str, path: str = "/a", outer: str = "") -> Draft:
    return conf(f"server {{\nlisten 80;\n{outer}\nlocation {path} {{\n{body}\n}}\n}}\n")


def site_xml(**properties: str) -> Draft:
    draft = Draft()
    rows = [f"<property><name>{name}</name><value>{value}</value></property>" for name, value in properties.items()]
    reactor.convert("\n".join(rows), "site.xml", draft)
    return draft
