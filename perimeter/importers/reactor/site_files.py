"""The properties of Reactor's site files, by Hadoop's rules for repeated and final properties. Pure.

A file is a list of properties. In one file the last one of a name counts, or the first one that is ``<final>``. CDAP reads
``cdap-security.xml`` apart from ``cdap-site.xml``, so of two values in two files it cannot be known here which one counts: such a
property is in doubt, and what depends on it stays closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from perimeter.importers.draft import Draft, ImportFault, Note
from perimeter.importers.xml_tree import Element, read


@attrs.frozen
class Property:
    """A property. ``doubt`` says why its value is not known, "" if it is. ``others`` are its values in other files."""

    value: str = attrs.field(repr=False)
    note: Note
    final: bool = False
    doubt: str = ""
    others: tuple[str, ...] = attrs.field(default=(), repr=False)


def properties(sources: Sequence[tuple[str, str]], draft: Draft) -> dict[str, Property]:
    """The properties of several files (text and name of each) by name, in their order. Raises `ImportFault`."""
    found: dict[str, Property] = {}
    for text, file in sources:
        there = False
        own: dict[str, Property] = {}
        twice: dict[str, int] = {}
        for element in _flat(read(text, file), file):
            if element.name != "property":
                draft.left(Note(file, element.line, f"<{element.name}>: expected <property>"))
                continue
            there = True
            name, one = _property(element, file, draft)
            if name in own:
                twice[name] = element.line
                own[name] = _later(own[name], one)
            elif name:
                own[name] = one
        if not there:
            raise ImportFault(file, 0, "there is no <property>")
        if twice:
            shown = ", ".join(list(twice)[:5]) + (", …" if len(twice) > 5 else "")
            draft.remark(
                Note(file, next(iter(twice.values())), ""),
                f"there twice, and the last one counts unless the first one is final, as in Hadoop: {shown}",
            )
        for name, one in own.items():
            found[name] = _of_another_file(found[name], one) if name in found else one
    return found


def _flat(elements: Sequence[Element], file: str) -> Iterator[Element]:
    """The elements, with those of nested ``<configuration>`` elements in their place, as Hadoop reads them."""
    for element in elements:
        for one in (element, *element.children):
            if one.name.rpartition(":")[2] in ("include", "fallback"):
                raise ImportFault(
                    file, one.line, f"<{one.name}>: includes are not followed; name the other file as well, and remove this line"
                )
        if element.name == "configuration":
            yield from _flat(element.children, file)
        else:
            yield element


def _property(element: Element, file: str, draft: Draft) -> tuple[str, Property]:
    children = {child.name: child for child in element.children}
    doubt = ""
    name, value = (children[word].text if word in children else "" for word in ("name", "value"))
    if element.attributes:
        # later versions of Hadoop read these, CDAP does not
        name, value = (given or element.attributes.get(word, "") for given, word in ((name, "name"), (value, "value")))
        doubt = "attributes of <property> are read by some versions only"
    if "activation" in children:
        doubt = "it has a condition (<activation>)"
    note = Note(file, element.line, name)
    if not name:
        draft.left(note, "<property> without a <name>")
    final = "final" in children and children["final"].text == "true"
    return name, Property(value, note, final, doubt)


def _later(before: Property, now: Property) -> Property:
    """Which of two of one name in one file counts. An empty value does not replace one, as in Hadoop."""
    if before.doubt or now.doubt:
        return attrs.evolve(now, doubt=before.doubt or now.doubt, final=before.final or now.final)
    if before.final:
        return before
    return now if now.value else attrs.evolve(before, final=now.final)


def _same(one: str, other: str) -> bool:
    """Whether two values mean the same; Hadoop reads a switch in any case."""
    return one == other or (one.lower() == other.lower() and one.lower() in ("true", "false"))


def _of_another_file(before: Property, now: Property) -> Property:
    if _same(before.value, now.value) or not now.value:
        return attrs.evolve(before, doubt=before.doubt or now.doubt)
    if not before.value and not before.final and not before.doubt:
        return now
    # CDAP reads its files apart, other programs one after the other, where the first that is final counts.
    counts, other = (before, now) if before.final else (now, before)
    doubt = before.doubt or now.doubt or f"it has another value in {other.note.file}, line {other.note.line}"
    return attrs.evolve(counts, doubt=doubt, others=(*before.others, other.value))
