"""W3C Trace Context: what is a valid header, and what is passed on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.http.grammar import parse_block
from perimeter.model import HeaderBlock
from perimeter.traces.context import TraceContext, context_lines, context_of

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WHOLE = f"00-{TRACE}-{PARENT}-01"


def found(*lines: str) -> TraceContext | None:
    return context_of(parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode("latin-1"), 100))


class ReadTests(unittest.TestCase):
    def test_a_context(self) -> None:
        self.assertEqual(found(f"traceparent: {WHOLE}"), TraceContext(TRACE, PARENT, True))
        self.assertEqual(found(f"TraceParent: 00-{TRACE}-{PARENT}-00"), TraceContext(TRACE, PARENT, False))

    def test_the_flag_is_the_last_bit(self) -> None:
        for flags, sampled in (("00", False), ("01", True), ("02", False), ("03", True), ("fe", False), ("ff", True)):
            context = found(f"traceparent: 00-{TRACE}-{PARENT}-{flags}")
            assert context is not None
            self.assertEqual(context.sampled, sampled, flags)

    def test_a_later_version_may_have_more_parts(self) -> None:
        for value in (f"01-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01-more", f"fe-{TRACE}-{PARENT}-01-"):
            self.assertEqual(found(f"traceparent: {value}"), TraceContext(TRACE, PARENT, True), value)

    def test_what_is_no_context(self) -> None:
        for value in (
            "",
            TRACE,
            f"ff-{TRACE}-{PARENT}-01",
            f"00-{TRACE}-{PARENT}-01-more",
            f"01-{TRACE}-{PARENT}-01more",
            f"00-{TRACE.upper()}-{PARENT}-01",
            f"00-{'0' * 32}-{PARENT}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE}-{PARENT}-1",
            f"00-{TRACE[1:]}-{PARENT}-01",
            f"00-{TRACE}-{PARENT}0-01",
            f"0g-{TRACE}-{PARENT}-01",
            f"00-{TRACE}-{PARENT}-0x",
            f"{WHOLE}, {WHOLE}",
        ):
            self.assertIsNone(found(f"traceparent: {value}"), value)
        self.assertIsNone(found())
        self.assertIsNone(found("tracestate: a=b"))
        self.assertIsNone(found(f"traceparent: {WHOLE}", f"traceparent: {WHOLE}"))

    def state(self, *lines: str) -> bytes:
        context = found(f"traceparent: {WHOLE}", *(f"tracestate: {line}" for line in lines))
        assert context is not None
        return context.state

    def test_the_state_is_passed_on_as_it_is(self) -> None:
        for value in ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a@b=c", "1=2 , x*/-_=!", "a=" + "x" * 256, "a=b,,c=d"):
            self.assertEqual(self.state(value), value.encode())
        self.assertEqual(self.state("a=b", "c=d"), b"a=b,c=d")
        self.assertEqual(self.state("a=b", ""), b"a=b")

    def test_a_malformed_or_long_state_is_dropped_and_the_context_is_not(self) -> None:
        for value in (
            "x",
            "A=b",
            "a=b=c",
            "a=é",
            "a=" + "x" * 257,
            ",".join(["a=b"] * 33),
            "a=" + "x" * 254 + ",b=" + "x" * 254,
            "=b",
        ):
            self.assertEqual(self.state(value), b"", value)
        exactly = "a=" + "x" * 253 + ",b=" + "x" * 254
        self.assertEqual(len(exactly), 512)
        self.assertEqual(self.state(exactly), exactly.encode())
        self.assertEqual(self.state(exactly + "x"), b"")

    @given(st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=80))
    def test_attack_101_no_value_breaks_the_lines_for_the_service(self, value: str) -> None:
        context = context_of(HeaderBlock([(b"traceparent", WHOLE.encode()), (b"tracestate", value.encode("latin-1"))]))
        assert context is not None
        lines = context_lines(TRACE, PARENT, True, context.state)
        self.assertLessEqual(lines.count(b"\n"), 2)
        self.assertTrue(lines.isascii())


class MadeTests(unittest.TestCase):
    def test_lines(self) -> None:
        self.assertEqual(context_lines(TRACE, PARENT, True, b""), f"traceparent: {WHOLE}\r\n".encode())
        self.assertEqual(
            context_lines(TRACE, PARENT, False, b"a=b"), f"traceparent: 00-{TRACE}-{PARENT}-00\r\ntracestate: a=b\r\n".encode()
        )
