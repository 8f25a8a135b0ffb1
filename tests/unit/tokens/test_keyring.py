"""Keys are kept safe, change in time, and are never lost by accident."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SkipTest, TestCase

from perimeter.config.site.token import TokenSettings
from perimeter.errors import InvalidToken, StartupError
from perimeter.tokens.jwk import load_jwk_set
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.rotation import GRACE
from perimeter.tokens.verifier import TokenVerifier
from tests.unit.doubles.tokens_site import NOW, SECRET, TokenCase, parts

DAY = 86400.0


def open_and_rotate(state_dir: str, times: int) -> None:
    """Run in a process of its own: rotate again and again."""
    clock = Clock()
    clock.advance(NOW)
    keyring = Keyring.open(Path(state_dir), TokenSettings(), clock)
    for _ in range(times):
        keyring.rotate()


class KeyringCase(TokenCase):
    @property
    def file(self) -> Path:
        return self.state_dir / "keyring.json"

    def states(self) -> list[str]:
        return [entry.state for entry in self.keyring.entries]

    def fails(self, text: str, state_dir: Path | None = None, settings: TokenSettings | None = None) -> str:
        error = self.assertRaises(
            StartupError, Keyring.open, state_dir or self.state_dir, settings or TokenSettings(), self.clock
        )
        self.assertIn(text, str(error))
        self.assertNotIn("\n", str(error))
        return str(error)


class FileTests(KeyringCase):
    def test_modes(self) -> None:
        self.assertEqual(stat.S_IMODE(self.state_dir.stat().st_mode), 0o700)
        for path in self.state_dir.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        self.assertEqual({path.name for path in self.state_dir.iterdir()}, {"keyring.json", "keyring.lock"})

    def test_modes_do_not_depend_on_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.state_dir = self.state_dir.with_name("open")
        self.use(TokenSettings())
        self.test_modes()

    def test_survives_a_restart(self) -> None:
        token, kid = self.token(), self.key.kid
        before = self.file.read_bytes()
        self.use(TokenSettings())
        self.assertEqual(self.key.kid, kid)
        self.assertEqual(self.verifier.verify(token).principal.username, "alice")
        self.assertEqual(self.file.read_bytes(), before)

    def test_attack_41_keyring_that_others_may_read(self) -> None:
        for mode in (0o640, 0o604, 0o620, 0o602, 0o644):
            self.file.chmod(mode)
            self.fails("keyring.json: others may read or write it (chmod 600 ")
        self.file.chmod(0o600)
        self.use(TokenSettings())

    def test_attack_41_keyring_of_another_user(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file away")
        os.chown(self.file, 65534, -1)
        self.fails("keyring.json: belongs to user 65534, not to user 0")

    def test_attack_41_state_dir_of_another_user(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a directory away")
        os.chown(self.state_dir, 65534, -1)
        self.fails("belongs to user 65534, not to user 0")

    def test_attack_41_state_dir_that_others_may_write_to(self) -> None:
        for mode in (0o770, 0o707, 0o1777):
            self.state_dir.chmod(mode)
            self.fails(f"state_dir {self.state_dir}: others may write to it")
        self.state_dir.chmod(0o755)
        self.use(TokenSettings())

    def test_attack_41_keyring_that_is_no_plain_file(self) -> None:
        elsewhere = self.file.with_name("elsewhere.json")
        self.file.rename(elsewhere)
        self.file.symlink_to(elsewhere)
        self.fails("keyring.json: cannot be read")
        self.file.unlink()
        self.file.mkdir()
        self.fails("keyring.json: not a regular file")
        self.file.rmdir()
        os.mkfifo(self.file, 0o600)
        self.fails("keyring.json: not a regular file")

    def test_state_dir_not_writable(self) -> None:
        self.fails(f"state_dir {self.file}: not a directory", self.file)
        self.fails(f"state_dir {self.file / 'below'}: cannot be used: Not a directory", self.file / "below")

        def refuse(*_args: Any, **_kwargs: Any) -> bool:
            return False

        self.patch(os, "access", refuse)
        self.fails(f"state_dir {self.state_dir}: not writable")

    def test_a_lack_of_descriptors_is_named(self) -> None:
        def exhausted(*_args: Any, **_kwargs: Any) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "open", exhausted)
        self.fails(f"state_dir {self.state_dir}: cannot be used: no file descriptor is free: the limit is ")

    def test_state_dir_not_writable_for_a_plain_user(self) -> None:
        if os.geteuid() != 0:
            self.state_dir.chmod(0o500)
            self.addCleanup(self.state_dir.chmod, 0o700)
            self.fails(f"state_dir {self.state_dir}: not writable")
            return
        self.state_dir.parents[1].chmod(0o711)  # only its owner may read a file from mktemp
        for path in self.state_dir.parents:
            if not path.stat().st_mode & stat.S_IXOTH:
                raise SkipTest("a plain user cannot get here")
        self.state_dir.chmod(0o555)
        os.seteuid(65534)
        self.addCleanup(os.seteuid, 0)
        self.fails(f"state_dir {self.state_dir}: not writable")

    def test_attack_41_damaged_keyring_is_never_replaced(self) -> None:
        good = self.file.read_text()
        document = json.loads(good)

        def changed(change: Any) -> str:
            copy = json.loads(good)
            change(copy)
            return json.dumps(copy)

        damaged = {
            "": "not JSON",
            good[:-40]: "not JSON",
            "[" * 100_000: "not JSON",
            "[]": "not a keyring of version 1",
            "{}": "not a keyring of version 1",
            changed(lambda doc: doc.update(version=2)): "not a keyring of version 1",
            changed(lambda doc: doc["keys"].append(doc["keys"][0])): "same name",
            changed(lambda doc: doc["keys"][1].update(activated=1.0)): "two keys want to sign",
            changed(lambda doc: doc["keys"][0].update(activated=None)): "two keys want to sign",
            changed(lambda doc: doc["keys"][0].update(created="x")): "not a number of seconds",
            changed(lambda doc: doc["keys"][0].update(activated=-1)): "not a number of seconds",
            changed(lambda doc: doc["keys"][0].update(created=None)): "when its life began",
            changed(lambda doc: doc["keys"].append("key")): "not a JSON object",
            changed(lambda doc: doc["keys"][0].pop("jwk")): "not a JSON object",
            changed(lambda doc: doc["keys"][0]["jwk"].update(kid="other")): "name (kid) of its numbers",
            changed(lambda doc: doc["keys"][0]["jwk"].update(d=doc["keys"][1]["jwk"]["d"])): "numbers",
            changed(lambda doc: doc["keys"][0]["jwk"].update(use="enc")): "use of a key",
            changed(lambda doc: doc["keys"][0]["jwk"].update(key_ops=["verify"])): "key_ops of a key",
            changed(lambda doc: doc["keys"][0]["jwk"].update(alg="none")): "symmetric or none",
            changed(lambda doc: doc["keys"][0]["jwk"].pop("d")): "private half",
            changed(lambda doc: doc["keys"][0].update(jwk={"kty": "oct", "k": "AAAA"})): "symmetric",
            good + " " * 2**20: "larger than",
        }
        for text, told in damaged.items():
            self.file.write_text(text)
            message = self.fails(told)
            self.assertIn(str(self.file), message)
            self.assertNotIn(document["keys"][0]["jwk"]["d"], message)
            self.assertEqual(self.file.read_text(), text)

    def test_a_write_that_fails_loses_nothing(self) -> None:
        before, kid = self.file.read_bytes(), self.key.kid

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        patched = self.patch(os, "fsync", full)
        error = self.assertRaises(StartupError, self.keyring.rotate)
        self.assertEqual(str(error), f"{self.file}: cannot be written (No space left on device)")
        self.assertEqual((self.file.read_bytes(), self.key.kid), (before, kid))
        patched.restore()
        self.keyring.rotate()
        self.assertNotEqual(self.key.kid, kid)

    def test_retired_keys_lose_their_private_half(self) -> None:
        secret = json.loads(self.file.read_text())["keys"][0]["jwk"]["d"]
        self.keyring.rotate()
        self.assertNotIn(secret, self.file.read_text())
        self.assertIsNone(self.keyring.entries[-1].jwk.private)

    def test_several_processes_rotate_at_once(self) -> None:
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=open_and_rotate, args=(str(self.state_dir), 10)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            self.assertEqual(process.exitcode, 0)
        self.assertTrue(self.keyring.rotate_if_due())
        self.assertEqual(self.states(), ["signing", "next"] + ["retired"] * 30)


class RotationTests(KeyringCase):
    def test_nothing_to_do(self) -> None:
        self.assertEqual(self.states(), ["signing", "next"])
        self.clock.advance(30 * DAY - 1)
        self.assertFalse(self.keyring.rotate_if_due())

    def test_next_key_was_known_before_it_signs(self) -> None:
        published = [key["kid"] for key in self.keyring.jwks()["keys"]]
        token = self.token()
        self.clock.advance(30 * DAY)
        self.assertTrue(self.keyring.rotate_if_due())
        self.assertEqual(self.key.kid, published[1])
        self.assertEqual(self.states(), ["signing", "next", "retired"])
        self.assertEqual(parts(self.token())[0]["kid"], published[1])
        self.assertEqual(parts(token)[0]["kid"], published[0])

    def test_rotation_is_due_at_the_start_too(self) -> None:
        kid = self.key.kid
        self.clock.advance(31 * DAY)
        self.use(TokenSettings())
        self.assertNotEqual(self.key.kid, kid)

    def test_retired_key_verifies_until_its_last_token_has_expired(self) -> None:
        self.clock.advance(30 * DAY)
        kid, token = self.key.kid, self.token(7 * DAY)
        self.keyring.rotate_if_due()
        self.clock.advance(7 * DAY)
        self.assertEqual(self.verifier.verify(token).principal.username, "alice")
        self.assertFalse(self.keyring.rotate_if_due())
        self.clock.advance(GRACE)
        self.assertIsNone(self.keyring.verification_key(kid))
        self.assertNotIn(kid, [key["kid"] for key in self.keyring.jwks()["keys"]])
        self.refused(token, "unknown or too old")
        self.assertIn(kid, self.file.read_text())
        self.assertTrue(self.keyring.rotate_if_due())
        self.assertNotIn(kid, self.file.read_text())

    def test_the_longer_of_both_lifetimes_counts(self) -> None:
        self.use(TokenSettings(lifetime=9 * DAY, extended_lifetime=DAY))
        token = self.token(9 * DAY)
        self.keyring.rotate()
        self.clock.advance(9 * DAY - 1)
        self.assertFalse(self.keyring.rotate_if_due())
        self.assertEqual(self.verifier.verify(token).principal.username, "alice")

    def test_other_algorithm(self) -> None:
        tokens = [self.token()]
        for algorithm in ("EdDSA", "RS256", "ES256"):
            self.use(TokenSettings(algorithm=algorithm))
            self.assertEqual(self.key.algorithm, algorithm)
            self.assertEqual([entry.jwk.algorithm for entry in self.keyring.entries[:2]], [algorithm, algorithm])
            tokens.append(self.token())
        for token in tokens:
            self.assertEqual(self.verifier.verify(token).principal.username, "alice")
        self.assertEqual(self.states(), ["signing", "next", "retired", "retired", "retired"])

    def test_to_hs256_and_back(self) -> None:
        first = self.token()
        self.use(TokenSettings(algorithm="HS256", secret=SECRET))
        self.assertEqual((self.states(), self.key.algorithm), (["retired"], "HS256"))
        second = self.token()
        for token in (first, second):
            self.assertEqual(self.verifier.verify(token).principal.username, "alice")
        self.assertRaises(StartupError, self.keyring.rotate)
        self.use(TokenSettings())
        self.assertEqual(self.states(), ["signing", "next", "retired"])
        self.assertEqual(self.verifier.verify(first).principal.username, "alice")
        self.refused(second, "unknown or too old")

    def test_unknown_algorithm(self) -> None:
        for algorithm in ("none", "HS512", "PS256"):
            self.assertRaises(ValueError, TokenSettings, algorithm=algorithm)

    def test_other_process_rotated(self) -> None:
        other = Keyring.open(self.state_dir, TokenSettings(), self.clock)
        other.rotate()
        token = self.token()
        self.issuer._keyring = other
        newer = self.token()
        self.assertEqual(self.verifier.verify(newer).principal.username, "alice", "the next key was known already")
        self.assertTrue(self.keyring.rotate_if_due())
        self.assertFalse(self.keyring.rotate_if_due())
        self.assertEqual(self.key.kid, other.signing_key.kid)
        self.assertEqual(TokenVerifier(other, TokenSettings(), self.clock).verify(token).principal.username, "alice")

    def test_discarded_keys_verify_nothing(self) -> None:
        token = self.token()
        other = Keyring.open(self.state_dir, TokenSettings(), self.clock)
        published = {key["kid"] for key in self.keyring.jwks()["keys"]}
        other.rotate(discard=True)
        self.assertTrue(published.isdisjoint(key["kid"] for key in other.jwks()["keys"]))
        self.assertTrue(self.keyring.rotate_if_due())
        self.assertRaises(InvalidToken, self.verifier.verify, token)

    def test_file_gone_at_run_time(self) -> None:
        token = self.token()
        self.file.unlink()
        error = self.assertRaises(StartupError, self.keyring.rotate_if_due)
        self.assertIn("keyring.json: is gone", str(error))
        self.assertEqual(self.verifier.verify(token).principal.username, "alice")
        self.assertFalse(self.file.exists())

    async def test_threads_take_turns(self) -> None:
        from twisted.internet import reactor

        pool = ThreadPool(4, 4)
        pool.start()
        self.addCleanup(pool.stop)
        waiting = [deferToThreadPool(reactor, pool, self.keyring.rotate) for _ in range(20)]
        for one in waiting:
            await one
        self.assertEqual(self.states(), ["signing", "next"] + ["retired"] * 20)


class PublishedKeysTests(KeyringCase):
    def test_only_public_halves(self) -> None:
        self.keyring.rotate()
        for algorithm in ("ES256", "RS256", "EdDSA"):
            self.use(TokenSettings(algorithm=algorithm))
            keys = self.keyring.jwks()["keys"]
            self.assertEqual(len(load_jwk_set({"keys": keys}).keys), len(self.keyring.entries))
            for key in keys:
                self.assertTrue({"d", "p", "q", "dp", "dq", "qi", "k"}.isdisjoint(key))
                self.assertEqual((key["use"], key["key_ops"]), ("sig", ["verify"]))
            self.assertEqual((keys[0]["kid"], keys[0]["alg"]), (self.key.kid, algorithm))

    def test_attack_35_secret_is_not_published(self) -> None:
        self.use(TokenSettings(algorithm="HS256", secret=SECRET))
        published = json.dumps(self.keyring.jwks())
        self.assertNotIn(self.key.kid, published)
        self.assertNotIn("oct", published)
        self.assertNotIn(SECRET, repr(self.key) + repr(self.keyring.verification_key(self.key.kid)))


class SecretTests(KeyringCase):
    def test_short_secret(self) -> None:
        for secret in (None, "", "x" * 31):
            self.fails("at least 32 bytes for HS256", settings=TokenSettings(algorithm="HS256", secret=secret))

    def test_attack_35_public_key_for_a_secret(self) -> None:
        pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
        self.fails("found a key or certificate", settings=TokenSettings(algorithm="HS256", secret=pem))

    def test_name_follows_the_secret(self) -> None:
        names = set()
        for secret in (SECRET, SECRET + "x", SECRET):
            self.use(TokenSettings(algorithm="HS256", secret=secret))
            names.add(self.key.kid)
        self.assertEqual(len(names), 2)

    def test_another_secret_ends_all_tokens(self) -> None:
        self.use(TokenSettings(algorithm="HS256", secret=SECRET))
        token = self.token()
        self.use(TokenSettings(algorithm="HS256", secret=SECRET + "x"))
        self.refused(token, "unknown or too old")


class ReadTests(KeyringCase):
    def test_looks_and_changes_nothing(self) -> None:
        token = self.token()
        before = self.file.read_bytes()
        self.clock.advance(31 * DAY)
        seen = Keyring.read(self.state_dir, TokenSettings(), self.clock)
        self.assertEqual(seen.signing_key.kid, parts(token)[0]["kid"])
        self.assertEqual(self.file.read_bytes(), before)

    def test_there_is_none(self) -> None:
        empty = self.state_dir.with_name("empty")
        error = self.assertRaises(StartupError, Keyring.read, empty, TokenSettings(), self.clock)
        self.assertEqual(str(error), f"{empty / 'keyring.json'}: there is no keyring yet")
        self.assertFalse(empty.exists())
        with_secret = TokenSettings(algorithm="HS256", secret=SECRET)
        self.assertEqual(Keyring.read(empty, with_secret, self.clock).signing_key.algorithm, "HS256")

    def test_no_key_signs(self) -> None:
        self.use(TokenSettings(algorithm="HS256", secret=SECRET))
        seen = Keyring.read(self.state_dir, TokenSettings(), self.clock)
        self.assertRaises(StartupError, lambda: seen.signing_key)


class ClockTests(TestCase):
    def test_reactor_is_a_clock(self) -> None:
        clock = Clock()
        keyring = Keyring.open(Path(self.mktemp()).absolute(), TokenSettings(), clock)
        self.assertEqual(keyring.entries[0].activated, 0.0)
