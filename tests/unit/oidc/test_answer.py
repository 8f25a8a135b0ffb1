"""The answer that a browser brings back (attack O2)."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import TestCase

from perimeter.errors import ProviderDenied, ProviderMisconfigured, ProviderUnavailable, Rejected
from perimeter.oidc.answer import MAX_CODE, code_of
from perimeter.oidc.metadata import Metadata
from perimeter.oidc.token_request import MAX_SHOWN, shown

ISSUER = "https://sso.example.com"
METADATA = Metadata(ISSUER, "https://a/", "https://b/", "https://c/", names_issuer=True)
SILENT = attrs.evolve(METADATA, names_issuer=False)
ENTRA = attrs.evolve(SILENT, issuer="https://login.example/{tenantid}/v2.0")


class AnswerTests(TestCase):
    def test_the_code(self) -> None:
        self.assertEqual(code_of({"code": "c1", "iss": ISSUER, "session_state": "x"}, METADATA, "corp"), "c1")
        self.assertEqual(code_of({"code": "c1", "iss": ISSUER}, SILENT, "corp"), "c1")
        self.assertEqual(code_of({"code": "c1"}, SILENT, "corp"), "c1")
        self.assertEqual(code_of({"code": "c1", "iss": "anything"}, None, "corp"), "c1")
        self.assertEqual(code_of({"code": "c" * MAX_CODE}, None, "corp"), "c" * MAX_CODE)
        for code in ("", "c" * (MAX_CODE + 1), "a\nb", "\u00e9"):
            self.assertRaises(Rejected, code_of, {"code": code}, None, "corp")
        self.assertRaises(Rejected, code_of, {}, None, "corp")

    def test_attack_o2_the_issuer_comes_first(self) -> None:
        for answer in (
            {"code": "c1"},
            {"error": "access_denied"},
            {"code": "c1", "iss": ""},
            {"code": "c1", "iss": f"{ISSUER}/"},
        ):
            self.assertRaises(Rejected, code_of, answer, METADATA, "corp")
        for answer in ({"code": "c1", "iss": "https://other"}, {"error": "access_denied", "iss": "https://other"}):
            self.assertRaises(Rejected, code_of, answer, SILENT, "corp")

    def test_attack_o2_the_issuer_of_entra(self) -> None:
        self.assertEqual(code_of({"code": "c1", "iss": "https://login.example/8f2c/v2.0"}, ENTRA, "corp"), "c1")
        for issuer in (
            "https://login.example/8f2c/v1",
            "https://other/8f2c/v2.0",
            "https://login.example/a/b/v2.0",
            "https://login.example/v2.0",
        ):
            self.assertRaises(Rejected, code_of, {"code": "c1", "iss": issuer}, ENTRA, "corp")

    def test_errors(self) -> None:
        kinds = {
            "access_denied": ProviderDenied,
            "login_required": ProviderDenied,
            "consent_required": ProviderDenied,
            "interaction_required": ProviderDenied,
            "account_selection_required": ProviderDenied,
            "server_error": ProviderUnavailable,
            "temporarily_unavailable": ProviderUnavailable,
            "invalid_scope": ProviderMisconfigured,
            "unauthorized_client": ProviderMisconfigured,
            "": ProviderMisconfigured,
        }
        for error, kind in kinds.items():
            answer = {"error": error, "error_description": "because", "iss": ISSUER, "code": "c1"}
            found = self.assertRaises(kind, code_of, answer, METADATA, "the provider corp")
            self.assertIs(type(found), kind)
            self.assertEqual(
                found.detail, f"the provider corp answered: {error}: because" if error else "the provider corp answered: because"
            )

    def test_attack_o19_a_description_is_bounded_and_printable(self) -> None:
        self.assertEqual(shown("e\r\nx", "\x1b[31m\u202e<b>"), "e??x: ?[31m?<b>")
        self.assertEqual(len(shown("a" * 500, "b")), MAX_SHOWN)
        self.assertEqual(shown(None, 7), "")
