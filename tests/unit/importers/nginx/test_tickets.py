"""``auth_gss`` of nginx: users with Kerberos tickets."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.importers.draft import Draft
from perimeter.importers.nginx import source as nginx
from perimeter.importers.nginx.tree import read
from tests.unit.doubles.drafts import conf, left, options
from tests.unit.importers.nginx.test_closed import PASS, every, standing
from tests.unit.importers.nginx.test_translated import HASH

GSS = "auth_gss on; auth_gss_realm EXAMPLE.ORG; auth_gss_keytab /etc/http.keytab; auth_gss_service_name HTTP/gw.example.org;"


def server(words: str) -> Draft:
    return conf(f"server {{ listen 80;\n{words} }}")


class TicketTests(TestCase):
    def test_an_authenticator(self) -> None:
        draft = server(f"location /a {{ {GSS} auth_gss_allow_basic_fallback off; {PASS} }}")
        self.assertEqual(every(draft), {"/a": "asks"})
        self.assertEqual(
            options(draft, "authenticator kerberos"),
            {
                "type": "kerberos",
                "keytab": "/etc/http.keytab",
                "kerberos_realm": "EXAMPLE.ORG",
                "service": "HTTP/gw.example.org",
            },
        )
        self.assertEqual(draft.sections["authenticator kerberos"].options["keytab"].needs, "file")
        self.assertEqual(draft.remainder, [])
        self.assertIn("auth_gss: a password in place of a ticket is not tried with the KDC", str(draft.remarks))

    def test_what_the_module_takes_by_itself(self) -> None:
        draft = server(
            f"auth_gss on; auth_gss_realm EXAMPLE.ORG; location /a {{ {PASS} }} location /b {{ auth_gss off; {PASS} }}"
        )
        self.assertEqual(every(draft), {"/a": "asks", "/b": "open"})
        expected = {"type": "kerberos", "keytab": "/etc/krb5.keytab", "kerberos_realm": "EXAMPLE.ORG"}
        self.assertEqual(options(draft, "authenticator kerberos"), expected)

    def test_attack_48_what_cannot_be_translated_is_closed(self) -> None:
        for words, why in (
            ("auth_gss on;", "without auth_gss_realm, krb5.conf names the realm"),
            (f"{GSS} auth_gss_authorized_principal joe@EXAMPLE.ORG;", "only some principals may use it: write allow = user:NAME"),
            (f"{GSS} auth_gss_authorized_principal_regex ^j.*;", "only some principals may use it"),
            (f"{GSS} auth_basic x; auth_basic_user_file /u;", "it asks for a ticket and for a password"),
            (f"{GSS} auth_request /q;", "it asks for a ticket and for a password"),
        ):
            for text in (f"location /a {{ {words} {PASS} }}", f"{words} location /a {{ {PASS} }}"):
                draft = server(text)
                self.assertEqual(every(draft), {"/a": "closed"}, text)
                self.assertEqual(draft.has("authenticator"), False, text)
                self.assertIn(f"auth_gss on: {why}", "".join(left(draft)))
        draft = server(f"location /a {{ {GSS} auth_gss_map_to_local on; {PASS} }}")
        self.assertEqual(every(draft), {"/a": "closed"})

    def convert(self, text: str, **files: str) -> Draft:
        draft = Draft()
        found = {name: (content, f"dir/{name}") for name, content in files.items()}
        nginx.convert_all([read(f"server {{ listen 80; {text} }}", "nginx.conf")], "nginx.conf", draft, found.get)
        return draft

    def test_attack_48_users_of_realms_and_of_a_file(self) -> None:
        other = GSS.replace("EXAMPLE.ORG", "OTHER.ORG")
        words = {"a": GSS, "b": "auth_basic x; auth_basic_user_file staff;", "c": other, "d": GSS}
        text = " ".join(f"location /{name} {{ {of} {PASS} }}" for name, of in words.items())
        draft = self.convert(text, staff=f"alice:{HASH}")
        self.assertEqual(
            [options(draft, f"route {name}").get("allow") for name in "abcd"],
            ["realm:kerberos", "realm:htpasswd", "realm:kerberos-2", "realm:kerberos"],
        )
        self.assertEqual(draft.closed, [])

    def test_attack_48_users_whom_only_others_know_are_not_joined_by_further_ones(self) -> None:
        basic = f"location /b {{ auth_basic x; auth_basic_user_file staff; {PASS} }}"
        tickets = f"location /c {{ {GSS} {PASS} }}"
        draft = self.convert(f"{tickets.replace('/c', '/a')} {basic} {tickets}")  # the file is not there
        self.assertEqual(standing(draft, "b"), "closed")
        self.assertEqual([options(draft, f"route {name}").get("allow") for name in "ac"], ["realm:kerberos"] * 2)
        for first in (f"location /a {{ auth_request /q; {PASS} }}", basic.replace("/b", "/a").replace("staff", "others")):
            draft = self.convert(f"{first} {basic} {tickets}", staff=f"alice:{HASH}")
            self.assertEqual([standing(draft, name) for name in "abc"], ["asks", "closed", "closed"])
            self.assertFalse(draft.has("authenticator"))
