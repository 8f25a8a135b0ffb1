"""Auth-o-tron's configuration inside other files: values of its Helm chart, and manifests of Kubernetes. Pure.

In values.yaml it is ``config``, as text or as a tree; in a ConfigMap or a Secret it is one of ``data``. ``extraEnv``, and the
environment of a container in a manifest, are read too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import attrs

from perimeter.importers.authotron import environment
from perimeter.importers.authotron.environment import Override
from perimeter.importers.draft import Draft, ImportFault, Note
from perimeter.importers.yaml_tree import Value, read, read_all

KEYS = frozenset(("providers", "augmenters", "jwt", "bind_address", "include_legacy_headers", "store", "services"))
"""What only a configuration of Auth-o-tron has at its top."""

_KEPT = ("ConfigMap", "Secret")
_CHART = {"server": {"host": "0.0.0.0", "port": "8080"}, "store": {"enabled": "false"}}  # noqa: S104 - the chart's default
_PLACEHOLDER = re.compile(r"\{\{.*\}\}|\A\$\{?[A-Za-z_][A-Za-z0-9_]*\}?\Z|\A\$\([A-Za-z_][A-Za-z0-9_]*\)\Z", re.DOTALL)


@attrs.frozen
class Found:
    """A configuration, and the variables beside it."""

    document: Value
    overrides: tuple[Override, ...] = ()


def looks_like(text: str) -> bool:
    """Whether this may be a file with such a configuration in it."""
    inside = re.search(r"\b(?:providers|jwt|bind_address|augmenters):", text) is not None
    kept = re.search(r"^kind:\s*['\"]?(?:ConfigMap|Secret|List)\b", text, re.MULTILINE) is not None
    return (inside or kept) and re.search(r"^\s*(?:config|data|stringData|items)\s*:", text, re.MULTILINE) is not None


def configuration(text: str, file: str, draft: Draft) -> Found:
    """The one configuration in ``text``, however it is wrapped. Raises `ImportFault`."""
    found: list[Value] = []
    overrides: list[Override] = []
    for document in _documents(read_all(text, file)):
        if not isinstance(document.data, dict):
            raise ImportFault(file, document.line, "expected a mapping")
        kind = document.table["kind"].text if "kind" in document.table else None
        if kind in _KEPT and "apiVersion" in document.table:
            found += _kept(document, file)
        elif "apiVersion" in document.table:
            overrides += _of_containers(document, file)
        elif "config" in document.table and not KEYS & document.table.keys():
            found.append(_value_of_chart(document, file, draft))
            overrides += environment.of_container(_items(document, "extraEnv"), file)
        else:
            found += _of_subcharts(document, file, draft, overrides) or [document]
    if len(found) != 1:
        raise ImportFault(
            file, 0, f"expected one configuration of Auth-o-tron, and there are {len(found)}" if text.strip() else "empty"
        )
    return Found(_without_placeholders(found[0], file, draft, ()), tuple(overrides))


def _documents(documents: list[Value]) -> Iterator[Value]:
    """The documents, with the items of lists of Kubernetes in their place."""
    for document in documents:
        kind = document.table.get("kind")
        if kind is not None and kind.text == "List":
            yield from _items(document, "items")
        else:
            yield document


def _items(document: Value, name: str) -> list[Value]:
    return document.table[name].items if name in document.table else []


def _of_subcharts(document: Value, file: str, draft: Draft, overrides: list[Override]) -> list[Value]:
    """The values of a chart that has Auth-o-tron's as a part: they are one level further down."""
    if KEYS & document.table.keys():
        return []
    found = []
    for part in document.table.values():
        if "config" in part.table and not KEYS & part.table.keys():
            inner = part.table["config"]
            if KEYS & inner.table.keys() or (inner.text is not None and "\n" in inner.text):
                found.append(_value_of_chart(part, file, draft))
                overrides += environment.of_container(_items(part, "extraEnv"), file)
    return found


def _value_of_chart(values: Value, file: str, draft: Draft) -> Value:
    """``config``, with what the chart sets if the values do not."""
    config = _inner(values.table["config"], file)
    table = dict(config.table)
    for name, default in _CHART.items():
        if name not in table and not (name == "server" and "bind_address" in table):
            table[name] = Value(config.line, {key: Value(config.line, _bool(text), text) for key, text in default.items()})
            draft.remark(Note(file, config.line, ""), f"{name} is not in config: the default of the chart")
    return attrs.evolve(config, data=table)


def _bool(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _inner(value: Value, file: str) -> Value:
    """A configuration as a tree, or as text in a block whose first line is below that of ``value``."""
    if isinstance(value.data, dict):
        return value
    if value.text is None:
        raise ImportFault(file, value.line, "expected a configuration")
    return _mapping(read(value.text, file, value.line), file)


def _mapping(value: Value, file: str) -> Value:
    if not isinstance(value.data, dict):
        raise ImportFault(file, value.line, "expected a mapping")
    return value


def _kept(document: Value, file: str) -> list[Value]:
    """The configurations in a ConfigMap or a Secret."""
    found = []
    for name in ("data", "stringData"):
        encoded = name == "data" and document.table["kind"].text == "Secret"
        for key, value in (document.table[name].table if name in document.table else {}).items():
            if isinstance(value.data, dict):
                found.append(value)
            elif key.endswith((".yaml", ".yml")) or key == "config":
                found.append(_decoded(value, file) if encoded else _inner(value, file))
    return found


def _decoded(value: Value, file: str) -> Value:
    try:
        text = base64.b64decode("".join((value.text or "").split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ImportFault(file, value.line, "expected base64") from None
    return _mapping(read(text, file), file)


def _of_containers(value: Value, file: str) -> list[Override]:
    """The variables of all containers in a manifest."""
    found = environment.of_container(_items(value, "env"), file)
    for inner in (*value.table.values(), *value.items):
        found += _of_containers(inner, file)
    return found


def _without_placeholders(value: Value, file: str, draft: Draft, path: tuple[str, ...]) -> Value:
    """The same without values that another program puts in later: as they are written, they would be well-known passwords."""
    if isinstance(value.data, dict):
        table = {key: _without_placeholders(one, file, draft, (*path, key)) for key, one in value.table.items()}
        return attrs.evolve(value, data=table)
    if isinstance(value.data, list):
        return attrs.evolve(value, data=[_without_placeholders(one, file, draft, path) for one in value.items])
    if value.text is not None and _PLACEHOLDER.search(value.text):
        draft.left(Note(file, value.line, ".".join(path)), f"{'.'.join(path)}: a placeholder, whose value is not here")
        return Value(value.line, None)
    return value
