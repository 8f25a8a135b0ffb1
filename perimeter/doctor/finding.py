"""The findings of `perimeter doctor`: each has a stable name, a sentence, and a remedy."""

from __future__ import annotations

from enum import IntEnum, StrEnum

import attrs


class Grade(IntEnum):
    """What a finding means, the worst first."""

    OPEN = 0
    """Other people can bypass the gateway, or read or replace its secrets."""

    DOWN = 1
    """No request is served, or none will be after the next start."""

    FAILS = 2
    """Some requests fail."""

    SOON = 3
    """Everything works now, but may fail later."""

    ADVICE = 4
    """Everything works, and could be better."""

    @property
    def word(self) -> str:
        """The grade for people and programs."""
        return self.name.lower()


class Name(StrEnum):
    """The names of findings. They do not change; the documentation lists all of them."""

    AUDIT_SHARED = "audit-shared"
    AUTHENTICATOR_DOWN = "authenticator-down"
    AUTHORITY_DOWN = "authority-down"
    CA_EXPIRES = "ca-expires"
    CERTIFICATE_EXPIRES = "certificate-expires"
    CERTIFICATE_INCOMPLETE = "certificate-incomplete"
    CERTIFICATE_NAME = "certificate-name"
    CERTIFICATE_REFUSED = "certificate-refused"
    CERTIFICATE_UNUSED = "certificate-unused"
    CERTIFICATE_WEAK = "certificate-weak"
    CLOCK_BEHIND = "clock-behind"
    CLOCK_DIFFERS = "clock-differs"
    CLOCK_FREE = "clock-not-synchronised"
    CONFIGURATION_FAULT = "configuration-fault"
    CONFIGURATION_WARNING = "configuration-warning"
    DESCRIPTORS_FEW = "descriptors-few"
    DIRECTORY_WRITABLE = "directory-writable"
    DISK_FULL = "disk-full"
    FILE_READABLE = "file-readable"
    FILE_UNREADABLE = "file-unreadable"
    FILE_UNWRITABLE = "file-unwritable"
    FILE_WRITABLE = "file-writable"
    INTERPRETER_SLOW = "interpreter-slow"
    LOOK_FAILED = "look-failed"
    LOOK_LATE = "look-late"
    NAME_SLOW = "name-slow"
    NAME_UNKNOWN = "name-unknown"
    NODE_DIFFERS = "node-differs"
    NODE_REFUSES = "node-refuses"
    NODE_SILENT = "node-silent"
    NODE_UNREADABLE = "node-unreadable"
    NOT_RUNNING = "not-running"
    PASSWORD_GUESSED = "password-guessed"  # noqa: S105  # the name of a finding
    PROVIDER_DOWN = "provider-down"
    PROVIDER_LACKS = "provider-lacks"
    PROVIDER_REFUSES = "provider-refuses"
    REDIS_DOWN = "redis-down"
    REDIS_EVICTS = "redis-evicts"
    REDIS_OPEN = "redis-open"
    REDIS_PLAIN = "redis-without-tls"
    REDIS_REPLICAS = "redis-replicas"
    REDIS_USER = "redis-user"
    REDIS_VOLATILE = "redis-volatile"
    RUNNING_PROBLEM = "running-problem"
    RUNNING_VERSION = "running-version"
    SECRET_WEAK = "secret-weak"  # noqa: S105
    SERVER_CERTIFICATE_EXPIRES = "server-certificate-expires"
    SERVICE_ANSWERS_ALL = "service-answers-all"
    SERVICE_LISTENS = "service-listens"
    SERVICE_OPEN = "service-open"
    STATE_SHARED = "state-shared"
    STATE_VOLATILE = "state-volatile"
    UPSTREAM_DOWN = "upstream-down"


@attrs.frozen
class Finding:
    """``subject`` is a section, a file or a server. ``message`` and ``remedy`` are sentences."""

    name: Name
    grade: Grade
    subject: str
    message: str
    remedy: str
