"""Looks after one certificate: decides whether it is due, orders it, checks it and stores it. Blocks: for a thread."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.acme import schedule
from perimeter.acme.fault import AcmeFault
from perimeter.acme.record import Record, read_record, record_file, write_record
from perimeter.config.site.acme import AcmeSettings, certificate_file
from perimeter.config.site.config import SiteConfig
from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.net.certificates import replace_file
from perimeter.net.contexts import dns_names
from perimeter.net.keystores import load_chain, load_key

if TYPE_CHECKING:  # the library takes 0.2 s to import
    from perimeter.acme.directory import Directory, Show

SECONDS: Final = 180.0
"""Time for one order."""

_LOCK: Final = "lock"
_SIX_HOURS: Final = 6 * 3600.0


@attrs.frozen
class Wanted:
    """A certificate for ``names`` in the file ``path``, from the CA of ``settings``."""

    names: tuple[str, ...]
    path: Path
    settings: AcmeSettings

    @property
    def record(self) -> Path:
        """Where it is noted when the certificate is to be renewed."""
        return record_file(self.path)

    @property
    def account(self) -> Path:
        """The file of the account's key, one for each CA."""
        digest = hashlib.sha256(self.settings.directory.encode()).hexdigest()[:16]
        return self.path.with_name(f"account-{digest}.key")

    @property
    def digest(self) -> str:
        """Differs if anything differs that an order depends on."""
        parts = [*self.names, *map(str, attrs.astuple(self.settings, recurse=False))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def wanted(config: SiteConfig) -> tuple[Wanted, ...]:
    """The certificates that listeners want, each once."""
    paths = {
        certificate_file(config.perimeter.state_dir, listener.acme_names): listener.acme_names
        for listener in config.listeners
        if listener.acme_names
    }
    return tuple(Wanted(names, path, config.acme) for path, names in paths.items())


def require_library(config: SiteConfig) -> None:
    """Raise `StartupError` if a listener wants a certificate and the library acme is not installed."""
    if find_spec("acme") is None and config.orders_certificates:
        raise StartupError("certificates from a CA need the library acme (pip install 'perimeter-gateway[acme]')")


def _connect(settings: AcmeSettings, key: ec.EllipticCurvePrivateKey, seconds: float) -> Directory:
    from perimeter.acme.directory import Directory

    return Directory(settings, key, seconds)


@attrs.frozen
class Means:
    """What a renewal needs besides files: how to ``connect`` to a CA, the time in epoch seconds, random numbers from 0 to 1."""

    connect: Callable[[AcmeSettings, ec.EllipticCurvePrivateKey, float], Directory] = _connect
    now: Callable[[], float] = time.time
    share: Callable[[], float] = random.random


def attend(one: Wanted, show: Show, means: Means | None = None) -> Record | None:
    """Order the certificate if it is due, or ask the CA when it is due. Returns the new record, None if there was nothing to do.

    The record of a failure says why, and when the next try is; the certificate stays as it is then. Raises `AcmeFault` if nothing
    can be stored.
    """
    try:
        with _locked(one.path.parent) as free:
            return _attend(one, show, means or Means()) if free else None
    except OSError as error:
        raise AcmeFault(f"{one.path.parent}: cannot be used: {system_reason(error)}") from None


def _attend(one: Wanted, show: Show, means: Means) -> Record | None:
    record, now = read_record(one.record), means.now()
    if record.failures and record.tried != one.digest:
        # the operator has changed what the order depends on
        record = attrs.evolve(record, failures=0, fault="", try_at=0.0)
    if record.failures and now < record.try_at:
        return None
    leaf = _leaf(one.path)
    order = due(one, record, leaf, now)
    ask = not order and now >= record.ask_at
    if ask and leaf is not None:
        record = _ask(one, record, leaf, means)
        order = due(one, record, leaf, now)
    if order:
        # If this process ends before the order does, or nothing can be stored, no order follows at once.
        write_record(one.record, _failed(one, record, "", 0.0, means))
        try:
            record = _order(one, record, leaf, show, means)
        except _Failed as failed:
            record = _failed(one, record, str(failed), failed.pause, means)
    elif not ask:
        return None
    write_record(one.record, record)
    return record


def _failed(one: Wanted, record: Record, fault: str, pause: float, means: Means) -> Record:
    failures = record.failures + 1
    try_at = schedule.next_try(means.now(), failures, pause, means.share())
    return attrs.evolve(record, failures=failures, fault=fault, try_at=try_at, tried=one.digest)


class _Failed(AcmeFault):
    """An order has failed. The CA wants to be left alone for ``pause`` seconds."""

    def __init__(self, why: str, pause: float) -> None:
        super().__init__(why)
        self.pause = pause


def due(one: Wanted, record: Record, leaf: x509.Certificate | None, now: float) -> bool:
    """Whether to order the certificate now: there is none, it is another one than is wanted, or its time has come."""
    if leaf is None or record.directory != one.settings.directory:
        return True
    return set(dns_names(leaf)) != set(one.names) or now >= record.renew_at


def _leaf(path: Path) -> x509.Certificate | None:
    """The certificate in ``path``, if its key is there, too."""
    try:
        chain, key = load_chain(path), load_key(path, None)
    except StartupError:
        return None
    return chain[0] if chain[0].public_key() == key.public_key() else None


def _order(one: Wanted, record: Record, leaf: x509.Certificate | None, show: Show, means: Means) -> Record:
    from perimeter.acme.directory import certificate_id

    directory: Directory | None = None
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        replaced = certificate_id(leaf) if leaf is not None and record.directory == one.settings.directory else ""
        directory = means.connect(one.settings, account_key(one.account), SECONDS)
        directory.sign_in()
        chain = directory.order(_request(key, one.names), one.names, replaced, show)
        new = checked(chain, key, one.names, means.now())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(one.path, pem + chain, 0o600)
    except AcmeFault as fault:
        raise _Failed(str(fault), directory.pause if directory is not None else 0.0) from None
    record = Record(directory=one.settings.directory, ordered_at=means.now())
    return _suggested(record, new, directory, means)


def _ask(one: Wanted, record: Record, leaf: x509.Certificate, means: Means) -> Record:
    try:
        return _suggested(record, leaf, means.connect(one.settings, account_key(one.account), SECONDS), means)
    except AcmeFault:
        # The time that was set before holds; a CA that cannot be reached matters when the certificate is due.
        return attrs.evolve(record, ask_at=schedule.next_question(means.now(), _SIX_HOURS))


def _suggested(record: Record, leaf: x509.Certificate, directory: Directory, means: Means) -> Record:
    """``record`` with the time that the CA suggests, or else the usual one."""
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    try:
        moment, wait = directory.suggestion(leaf)
    except AcmeFault:
        moment, wait = record.renew_at, _SIX_HOURS
    moment = moment or record.renew_at or schedule.renewal_time(start, end, means.share())
    renew_at = max(moment, schedule.earliest(record.ordered_at, start, end))
    return attrs.evolve(record, renew_at=renew_at, ask_at=schedule.next_question(means.now(), wait))


def account_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key of the account in ``path``; made if there is none. Raises `AcmeFault`, and OSError if it cannot be stored."""
    if path.exists():
        try:
            key = load_key(path, None)
        except StartupError as error:
            raise AcmeFault(f"{error}; move the file away to begin with a new account") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AcmeFault(f"{path}: not the key of an account, which is of EC P-256")
        return key
    made = ec.generate_private_key(ec.SECP256R1())
    replace_file(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return made


def _request(key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> x509.CertificateSigningRequest:
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256())


def checked(chain: bytes, key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: float) -> x509.Certificate:
    """The first certificate of ``chain`` (PEM), if it is what was ordered. Raises `AcmeFault`."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public, alternatives = leaf.public_key(), set(dns_names(leaf))
    except (ValueError, IndexError):
        raise AcmeFault("the CA has issued something that is not a certificate") from None
    if public != key.public_key():
        raise AcmeFault("the CA has issued a certificate for another key")
    if alternatives != set(names):
        raise AcmeFault("the CA has issued a certificate for other names")
    moment = datetime.fromtimestamp(now, UTC)
    if not leaf.not_valid_before_utc <= moment < leaf.not_valid_after_utc:
        raise AcmeFault("the CA has issued a certificate that is not valid now: is the clock of this machine right?")
    return leaf


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Whether no other process orders certificates: then none does in the block. Makes the directory. Raises OSError."""
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
