"""Every way a client can be wrong, and how the notification server says so."""

import pathlib
import re
import sys
import tempfile
import unittest

from bgb_client import (CONFIRM, DISCONNECT, KEEP_ALIVE, NEGOTIATION, NONE, REQUEST, RESPONSE, SIGN_IN,
                        Client, Codec, Identity, Server, stamp)

folder = tempfile.TemporaryDirectory()
me, other, blocked, waiting, stranger = (Identity(folder.name) for _ in range(5))
directory = [me.entry(), other.entry(), blocked.entry(blocked=True), waiting.entry(approved=False)]

STAYS, CLOSED = "stays", "closed"


def utf16(xml):
    return xml.encode("utf-16-le")


# What a signed-in client says instead of a KeepAlive: (code, section, bytes from (client, codec), fate).
ONLINE = [
    # The header.
    ("frame.oversize", "8.2", lambda c, k: k.frame(KEEP_ALIVE, payload_size=(1 << 20) + 1), CLOSED),
    ("frame.oversize", "8.2", lambda c, k: k.frame(KEEP_ALIVE, payload_size=0xffffffff), CLOSED),
    ("frame.header_size", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16(c.keep_alive_xml()), header_size=0), CLOSED),
    ("frame.header_size", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16(c.keep_alive_xml()), header_size=5000), CLOSED),
    ("frame.channel", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16(c.keep_alive_xml()), channel=8), STAYS),
    ("frame.kind_mismatch", "8.2", lambda c, k: k.frame(RESPONSE, utf16(c.keep_alive_xml())), STAYS),
    ("frame.empty", "2.2", lambda c, k: k.frame(KEEP_ALIVE), STAYS),
    ("frame.unexpected_payload", "2.1", lambda c, k: k.frame(DISCONNECT, utf16(c.keep_alive_xml())), STAYS),
    # The text.
    ("text.encoding", "2.3", lambda c, k: k.frame(KEEP_ALIVE, c.keep_alive_xml().encode()), CLOSED),
    ("text.encoding", "2.3", lambda c, k: k.frame(KEEP_ALIVE, c.keep_alive_xml().encode("utf-16-be")), CLOSED),
    ("text.bom", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16("\ufeff" + c.keep_alive_xml())), CLOSED),
    ("text.nul", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16(c.keep_alive_xml() + "\0")), CLOSED),
    ("text.invalid", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16(c.keep_alive_xml()) + b"\x00\xd8"), CLOSED),
    ("text.invalid", "2.3", lambda c, k: k.frame(KEEP_ALIVE, utf16(c.keep_alive_xml()) + b">"), CLOSED),
    ("text.compression", "2.3", lambda c, k: k.frame(KEEP_ALIVE, b"\x78\x9c" + b"\0" * 20), CLOSED),
    # The XML.
    ("xml.declaration", "2.2", lambda c, k: k.message(KEEP_ALIVE, '<?xml version="1.0"?>' + c.keep_alive_xml()), CLOSED),
    ("xml.dtd", "8.2", lambda c, k: k.message(KEEP_ALIVE, '<!DOCTYPE x [<!ENTITY a "b">]>' + c.keep_alive_xml()), CLOSED),
    ("xml.entity", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(type="&a;")), CLOSED),
    ("xml.markup", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(type="<!-- x -->SCCM")), CLOSED),
    ("xml.markup", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(type="<![CDATA[SCCM]]>")), CLOSED),
    ("xml.namespace", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace(" Time", ' xmlns="u" Time')), CLOSED),
    ("xml.trailing", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml() + "\n"), CLOSED),
    ("xml.malformed", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml()[:-1]), CLOSED),
    ("xml.depth", "8.2", lambda c, k: k.message(KEEP_ALIVE, "<a>" * 9 + "</a>" * 9), CLOSED),
    ("xml.members", "8.2", lambda c, k: k.message(KEEP_ALIVE, "<a>" + "<b/>" * 64 + "</a>"), CLOSED),
    ("xml.value_size", "8.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(type="x" * 262145)), CLOSED),
    # The message.
    ("schema.root", "2.2", lambda c, k: k.message(KEEP_ALIVE, f'<Keep TimeStamp="{stamp()}"></Keep>'), STAYS),
    ("schema.order", "2.2", lambda c, k: k.message(KEEP_ALIVE, f'<BgbKeepAliveMessage TimeStamp="{stamp()}"><ClientID>{c.identity.sms_id}</ClientID><ClientType>SCCM</ClientType></BgbKeepAliveMessage>'), STAYS),
    ("schema.missing", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("<ClientType>SCCM</ClientType>", "")), STAYS),
    ("schema.repeated", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("<ClientID>", "<ClientType>SCCM</ClientType><ClientID>")), STAYS),
    ("schema.unknown_member", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("<ClientID>", "<More>1</More><ClientID>")), STAYS),
    ("schema.unknown_attribute", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("<ClientID>", '<ClientID a="1">')), STAYS),
    ("schema.nested", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(type="SCCM").replace("SCCM<", "<Deep></Deep><")), STAYS),
    ("schema.case", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("ClientID", "ClientId")), STAYS),
    ("schema.white_space", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("<ClientID>", "\n <ClientID>")), STAYS),
    ("schema.text", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("<ClientID>", "x<ClientID>")), STAYS),
    ("schema.no_timestamp", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml().replace("TimeStamp", "Time")), STAYS),
    ("schema.timestamp", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(time="2026-01-15T09:30:00.5Z")), STAYS),
    ("schema.timestamp", "2.2", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(time="2026-01-15T09:30:00+00:00")), STAYS),
    ("schema.client_type", "2.1", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(type="LINUX")), STAYS),
    # The conversation.
    ("keepalive.other_client", "9.1", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml(id=other.sms_id)), CLOSED),
    ("session.second_signin", "2.5", lambda c, k: k.message(SIGN_IN, c.sign_in_xml()), STAYS),
    ("session.client_disconnect", "2.1", lambda c, k: k.frame(DISCONNECT), STAYS),
    ("session.direction", "2.1", lambda c, k: k.frame(NEGOTIATION), CLOSED),
    ("session.direction", "2.1", lambda c, k: k.frame(NONE), CLOSED),
    ("session.direction", "2.1", lambda c, k: k.message(CONFIRM, f'<BgbSignInConfirmMessage TimeStamp="{stamp()}"><MessageVersion>1.0</MessageVersion></BgbSignInConfirmMessage>'), CLOSED),
    ("session.direction", "2.1", lambda c, k: k.message(REQUEST, f'<BgbRequestMessage TimeStamp="{stamp()}"></BgbRequestMessage>'), CLOSED),
    ("response.unknown_push", "6.1", lambda c, k: k.message(RESPONSE, c.response_xml(99, 99)), STAYS),
    ("schema.number", "2.2", lambda c, k: k.message(RESPONSE, c.response_xml("01", 1)), STAYS),
    ("schema.number", "2.2", lambda c, k: k.message(RESPONSE, c.response_xml(1, 1, "yes")), STAYS),
]

# What a client says instead of its SignIn.
FIRST = [
    ("session.first_message", "2.5", lambda c, k: k.message(KEEP_ALIVE, c.keep_alive_xml())),
    ("session.first_message", "2.5", lambda c, k: k.message(RESPONSE, c.response_xml(1, 101))),
    ("session.first_message", "2.5", lambda c, k: k.frame(DISCONNECT)),
    ("schema.order", "2.2", lambda c, k: k.message(SIGN_IN, f'<BgbSignInMessage TimeStamp="{stamp()}"><ClientID>{c.identity.sms_id}</ClientID><ClientType>SCCM</ClientType><ClientVersion>5.00.9141.1000</ClientVersion></BgbSignInMessage>')),
    ("schema.client_version", "2.2", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(version="5.0"))),
    ("schema.missing", "2.2", lambda c, k: k.message(SIGN_IN, c.sign_in_xml().replace("<ClientVersion>5.00.9141.1000</ClientVersion>", ""))),
    ("schema.timestamp", "2.2", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(time="now"))),
    ("signin.smsid_form", "4.1", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(id=c.identity.sms_id.lower()))),
    ("signin.unknown_client", "4.1", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(id=stranger.sms_id))),
    ("signin.key_mismatch", "4.1", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(id=other.sms_id))),
    ("signin.blocked", "4.1", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(id=blocked.sms_id))),
    ("signin.not_approved", "4.1", lambda c, k: k.message(SIGN_IN, c.sign_in_xml(id=waiting.sms_id))),
    ("frame.header_size", "2.3", lambda c, k: b"GET /bgb/handler.ashx HTTP/1.1\r\n\r\n"),
    ("xml.dtd", "8.2", lambda c, k: k.message(SIGN_IN, "<!DOCTYPE a>" + c.sign_in_xml())),
]


class Violations(unittest.TestCase):
    def serve(self, **settings):
        server = Server(folder.name, directory, **settings)
        self.addCleanup(server.stop)
        return server

    def client(self, server, identity=me, **more):
        client = Client(server, identity, **more)
        self.addCleanup(client.drop)
        return client

    def online(self, server, identity=me):
        client = self.client(server, identity)
        client.sign_in()
        return client

    def refused_line(self, server, sent):
        """The evidence of what was sent last, checked against the very bytes."""
        def find():
            return [m for m in server.lines("messages")
                    if m["direction"] == "in" and m["verdict"] in ("refused", "fatal")]
        line = server.wait_for(find)[-1]
        self.assertEqual(line["raw_hex"], sent.hex()[:131072])
        return line

    def test_each_departure_of_a_signed_in_client(self):
        server = self.serve()
        for code, section, make, fate in ONLINE:
            with self.subTest(code=code):
                before = server.codes().get(code, 0)
                client = self.online(server)
                sent = make(client, client.codec)
                client.send(sent)
                server.wait_for(lambda: server.codes().get(code, 0) == before + 1)
                line = self.refused_line(server, sent)
                self.assertIn((code, section), [(v["code"], v["section"]) for v in line["violations"]])
                self.assertEqual(line["verdict"], "fatal" if fate == CLOSED else "refused")
                self.assertEqual(line["sms_id"], me.sms_id)
                if fate == CLOSED:
                    self.assertEqual(client.ended(), "close_notify")
                    self.assertEqual(server.lines("sessions")[-1]["reason"], code)
                else:
                    server.push(me)
                    client.respond(client.next_push())
                client.drop()
                server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 0)

    def test_each_departure_of_a_first_message(self):
        server = self.serve()
        for code, section, make in FIRST:
            with self.subTest(code=code):
                identity = blocked if code == "signin.blocked" else waiting if code == "signin.not_approved" else me
                before = server.codes().get(code, 0)
                client = self.client(server, identity)
                sent = make(client, client.codec)
                client.send(sent)
                self.assertEqual(client.ended(), "close_notify")
                self.assertEqual(server.codes()[code], before + 1)
                line = self.refused_line(server, sent)
                self.assertEqual((line["violations"][0]["code"], line["violations"][0]["section"]),
                                 (code, section))
        self.assertNotIn("sign_ins", server.admin("GET", "stats")["counts"])

    def sign_in_code(self, server, identity=me, certificate=True, xml=None):
        client = self.client(server, identity, certificate=certificate)
        client.send(client.codec.message(SIGN_IN, xml or client.sign_in_xml()))
        return client

    def test_a_sign_in_without_a_certificate_is_refused(self):
        server = self.serve()
        self.assertEqual(self.sign_in_code(server, certificate=False).ended(), "close_notify")
        self.assertEqual(server.codes(), {"signin.no_certificate": 1})

    def test_each_sign_in_check_can_be_switched_off(self):
        for switch, kind in [("check_certificate", "certificate"), ("check_key", "key"),
                             ("check_smsid_form", "form"), ("check_blocked", "blocked"),
                             ("check_approved", "approved")]:
            with self.subTest(switch=switch):
                if kind == "form":
                    entry = me.entry()
                    entry["sms_id"] = "client-7"
                    server = Server(folder.name, [entry], **{switch: False})
                    self.addCleanup(server.stop)
                else:
                    server = self.serve(**{switch: False})
                identity = {"blocked": blocked, "approved": waiting}.get(kind, me)
                client = self.client(server, identity, certificate=kind != "certificate")
                xml = client.sign_in_xml(id={"key": other.sms_id, "form": "client-7"}.get(
                    kind, identity.sms_id))
                client.send(client.codec.message(SIGN_IN, xml))
                self.assertEqual(client.frame().channel, CONFIRM)
                self.assertEqual(server.codes(), {})

    def test_a_refusal_can_be_a_disconnect_frame(self):
        server = self.serve(refuse_as="disconnect-frame")
        client = self.sign_in_code(server, blocked)
        self.assertEqual(client.frame().channel, DISCONNECT)
        server.advance(11)
        self.assertEqual(client.ended(), "close_notify")
        self.assertEqual(server.codes(), {"signin.blocked": 1, "session.not_closed": 1})

    def test_a_refusal_can_be_silence(self):
        server = self.serve(refuse_as="silence")
        client = self.sign_in_code(server, blocked)
        server.wait_for_code("signin.blocked")
        client.keep_alive()
        self.assertTrue(client.is_silent(0.1))
        server.wait_for(lambda: server.lines("messages")[-1]["verdict"] == "ignored")

    def test_a_refusal_can_be_a_tls_alert(self):
        server = self.serve(refuse_as="tls-alert")
        self.assertRegex(self.sign_in_code(server, blocked).ended(), "^alert .*ALERT")
        self.assertEqual(server.codes(), {"signin.blocked": 1})

    def test_a_missing_certificate_can_be_a_tls_alert(self):
        server = self.serve(refuse_as="tls-alert")
        client = self.client(server, certificate=False)  # TLS 1.3: the client learns it when it reads
        self.assertRegex(client.ended(), "^alert .*CERTIFICATE_REQUIRED")
        self.assertEqual(server.lines("sessions")[0]["event"], "handshake_failed")

    def test_more_clients_than_the_bound_are_refused(self):
        server = self.serve(clients_max=1)
        self.online(server, other)
        self.assertEqual(self.sign_in_code(server).ended(), "close_notify")
        self.assertEqual(server.codes(), {"signin.full": 1})

    def test_a_second_response_to_one_push(self):
        server = self.serve()
        client = self.online(server)
        server.push(me)
        push = client.next_push()
        client.respond(push)
        client.respond(push)
        server.wait_for_code("response.repeated")
        self.assertEqual(server.admin("GET", "pushes/1")["answered"], 1)

    def test_a_response_with_another_task_id(self):
        server = self.serve()
        client = self.online(server)
        server.push(me)
        push = client.next_push()
        client.send(client.codec.message(RESPONSE, client.response_xml(push.member("PushID"), 7)))
        server.wait_for_code("response.task_mismatch")
        self.assertEqual(server.admin("GET", "pushes/1")["answered"], 0)

    def test_a_response_to_somebody_elses_push(self):
        server = self.serve()
        mine, theirs = self.online(server), self.online(server, other)
        server.push(other)
        mine.respond(theirs.next_push())
        server.wait_for_code("response.not_pushed")
        self.assertEqual(server.admin("GET", "pushes/1")["answered"], 0)

    def test_a_response_to_a_push_of_an_earlier_session(self):
        server = self.serve(pending_push_delay_max_ms=86400000)
        first = self.online(server)
        server.push(me)
        push = first.next_push()
        first.leave()
        self.online(server).respond(push)
        server.wait_for_code("response.other_session")

    def test_an_unknown_return_code_is_only_a_warning(self):
        server = self.serve()
        client = self.online(server)
        server.push(me)
        client.respond(client.next_push(), 5)
        server.wait_for_code("response.return_code")
        delivery = server.admin("GET", "pushes/1")["clients"][0]
        self.assertEqual((delivery["state"], delivery["return_code"]), ("answered", 5))

    def test_a_wrong_clock_is_only_a_warning(self):
        server = self.serve()
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml(time="2020-01-01T00:00:00Z")))
        self.assertEqual(client.frame().channel, CONFIRM)
        self.assertEqual(server.codes(), {"schema.skew": 1})

    def test_another_version_gets_negotiation_needed_and_thirty_seconds(self):
        server = self.serve()
        client = self.client(server)
        client.send(client.codec.frame(SIGN_IN, utf16(client.sign_in_xml()), version=(2, 0)))
        frame = client.frame()
        self.assertEqual((frame.channel, frame.payload), (NEGOTIATION, b""))
        self.assertEqual(server.codes(), {"frame.version": 1})
        server.advance(11)
        self.assertEqual(server.codes(), {"frame.version": 1, "session.not_closed": 1})
        self.assertTrue(client.is_silent(0.05))
        server.advance(20)
        self.assertEqual(client.ended(), "close_notify")

    def test_version_bytes_out_of_bounds(self):
        server = self.serve(profile="B")
        client = self.client(server)
        client.codec = Codec("B")
        client.send(client.codec.frame(SIGN_IN, version=(256, 0)))
        self.assertEqual(client.ended(), "close_notify")
        self.assertEqual(server.codes(), {"frame.version_range": 1})

    def test_a_size_that_does_not_hold_its_own_header(self):
        server = self.serve(payload_size_means="frame")
        client = self.client(server)
        client.send(client.codec.frame(SIGN_IN, payload_size=11))
        self.assertEqual(client.ended(), "close_notify")
        self.assertEqual(server.codes(), {"frame.payload_size": 1})

    def test_a_stream_that_ends_inside_a_frame(self):
        server = self.serve()
        client = self.online(server)
        sent = client.codec.message(KEEP_ALIVE, client.keep_alive_xml())[:-1]
        client.send(sent)
        client.leave()
        server.wait_for_code("frame.truncated")
        self.refused_line(server, sent)

    def test_a_frame_that_is_begun_and_not_ended(self):
        server = self.serve()
        client = self.online(server)
        client.send(client.codec.frame(KEEP_ALIVE, payload_size=100))
        server.wait_for(lambda: server.admin("GET", "stats"))
        client.line.settimeout(5)
        server.advance(59)
        self.assertEqual(server.codes(), {})
        server.wait_for(lambda: self.advance_until(server, "frame.stalled"))
        self.assertEqual(client.ended(), "close_notify")

    def advance_until(self, server, code):
        server.advance(61)
        return server.codes().get(code)

    def test_a_frame_in_single_bytes_is_one_message(self):
        server = self.serve()
        client = self.client(server)
        for byte in client.codec.message(SIGN_IN, client.sign_in_xml()):
            client.send(bytes([byte]))
        self.assertEqual(client.frame().channel, CONFIRM)
        for at in range(1, 100, 7):
            data = client.codec.message(KEEP_ALIVE, client.keep_alive_xml())
            client.send(data[:at])
            client.send(data[at:])
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 15)
        self.assertEqual(server.codes(), {})

    def test_many_frames_in_one_write_are_as_many_messages(self):
        server = self.serve()
        client = self.online(server)
        client.send(client.codec.message(KEEP_ALIVE, client.keep_alive_xml()) * 200)
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 200)
        self.assertEqual(server.codes(), {})

    def test_a_clients_disconnect_can_be_allowed(self):
        server = self.serve(client_disconnect="accept")
        client = self.online(server)
        client.send(client.codec.frame(DISCONNECT))
        self.assertEqual(client.ended(), "close_notify")
        self.assertEqual(server.codes(), {})

    def test_unknown_members_can_be_allowed(self):
        server = self.serve(allow_unknown_members=True)
        client = self.online(server)
        xml = client.keep_alive_xml().replace("</BgbKeep", '<NetworkInfo IPAddress="192.0.2.17" /></BgbKeep')
        client.send(client.codec.message(KEEP_ALIVE, xml))
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 1)
        self.assertEqual(server.codes(), {})

    def test_a_schema_violation_can_close(self):
        server = self.serve(close_on_schema_violation=True)
        client = self.online(server)
        client.send(client.codec.message(KEEP_ALIVE, client.keep_alive_xml(type="X")))
        self.assertEqual(client.ended(), "close_notify")

    def test_a_blocked_client_keeps_its_open_session(self):
        server = self.serve()
        client = self.online(server)
        server.call({"client": me.entry(blocked=True)})
        client.keep_alive()
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 1)
        client.leave()
        again = self.client(server)
        again.send(again.codec.message(SIGN_IN, again.sign_in_xml()))
        self.assertEqual(again.ended(), "close_notify")
        self.assertEqual(server.codes(), {"signin.blocked": 1})

    def test_random_bytes_after_tls_end_the_session_and_nothing_else(self):
        import os
        import random
        seed = int.from_bytes(os.urandom(4), "big")
        print("seed", seed, flush=True)
        dice = random.Random(seed)
        server = self.serve()
        witness = self.online(server, other)
        for _ in range(50):
            client = self.client(server)
            if dice.random() < 0.5:
                client.sign_in()
            data = dice.randbytes(dice.randrange(12, 3000))
            try:
                client.send(data)
            except OSError:
                pass
            client.drop()
        server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 1)
        witness.keep_alive()
        server.wait_for(lambda: server.admin("GET", f"clients/{other.sms_id}")["keep_alives"] == 1)

    def test_garbage_instead_of_tls_ends_the_connection(self):
        import socket
        server = self.serve()
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.settimeout(10)
            line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            try:
                while line.recv(100):
                    pass
            except ConnectionError:
                pass
        server.wait_for(lambda: server.admin("GET", "stats")["counts"].get("handshakes_failed") == 1)

    def test_violations_are_listed_with_their_places(self):
        server = self.serve(violations_kept=2)
        client = self.online(server)
        for _ in range(3):
            client.send(client.codec.message(RESPONSE, client.response_xml(9, 9)))
        server.wait_for(lambda: server.codes().get("response.unknown_push") == 3)
        got = server.admin("GET", "violations")
        self.assertEqual((got["total"], got["kept"]), (3, 2))
        self.assertEqual(got["violations"][0]["sms_id"], me.sms_id)
        self.assertEqual(got["violations"][0]["severity"], "refused")

    def test_the_reference_names_every_code_setting_and_fault_of_the_sources(self):
        root = pathlib.Path(__file__).resolve().parents[3]
        reference = (root / "docs/reference/simulators-notify.md").read_text(encoding="utf-8")
        names = set()
        for source in (root / "simulators/notification_server").glob("*.cc"):
            text = source.read_text(encoding="utf-8")
            names.update(m.group(0).strip('"') for m in re.finditer(
                r'"(frame|text|xml|schema|signin|session|keepalive|response|http|calibrate|notify)\.[a-z_]+"', text))
            names.update(re.findall(r'\{"([a-z_]+)",\s*&C::', text))
            names.update(re.findall(r'\{"([a-z-]+)", Fault::', text))
        names = {n.replace("payload-size", "") if re.match("payload-size-(huge|larger)", n) else n
                 for n in names}
        self.assertGreater(len(names), 140)
        self.assertEqual([n for n in sorted(names) if f"`{n}`" not in reference], [])


if __name__ == "__main__":
    Server.program = sys.argv.pop(1)
    unittest.main(verbosity=2)
