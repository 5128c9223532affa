"""Every fault the notification server can inject, seen from the other end of the line."""

import ssl
import sys
import tempfile
import unittest

from bgb_client import (CONFIRM, DISCONNECT, KEEP_ALIVE, NEGOTIATION, REQUEST, SIGN_IN, Client, Identity,
                        Server)

folder = tempfile.TemporaryDirectory()
me, other = Identity(folder.name), Identity(folder.name)


class Faults(unittest.TestCase):
    def serve(self, **settings):
        server = Server(folder.name, [me.entry(), other.entry()], **settings)
        self.addCleanup(server.stop)
        return server

    def client(self, server, identity=me):
        client = Client(server, identity)
        self.addCleanup(client.drop)
        return client

    def online(self, server, identity=me):
        client = self.client(server, identity)
        client.sign_in()
        return client

    def fault(self, server, name, **more):
        return server.admin("POST", "faults", {"fault": name, **more})

    def wire(self, client):
        """All that comes until the end or until nothing more comes."""
        data = client.data
        client.data = b""
        try:
            while True:
                more = client.read_some(0.2)
                if not more:
                    return data, "close_notify"
                data += more
        except ssl.SSLEOFError:
            return data, "eof"
        except (TimeoutError, ssl.SSLWantReadError):
            return data, "open"

    def pushed(self, name, **more):
        """A session to which one push was sent with a fault: server, client, the bytes, the end."""
        server = self.serve()
        client = self.online(server)
        self.fault(server, name, **more)
        server.push(me)
        data, end = self.wire(client)
        return server, client, data, end

    def test_accept_then_close(self):
        server = self.serve()
        self.fault(server, "accept-close")
        with self.assertRaises((ssl.SSLError, OSError)):
            self.client(server)
        self.online(server)

    def test_close_after_tls(self):
        server = self.serve()
        self.fault(server, "tls-close")
        self.assertEqual(self.client(server).ended(), "close_notify")
        self.online(server)

    def test_no_confirmation(self):
        server = self.serve()
        self.fault(server, "no-confirmation")
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        self.assertTrue(client.is_silent(0.1))
        client.keep_alive()
        server.wait_for_code("session.early")
        self.assertFalse(server.admin("GET", f"clients/{me.sms_id}")["online"])

    def test_negotiation_needed(self):
        server = self.serve()
        self.fault(server, "negotiation-needed")
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        self.assertEqual(client.frame().channel, NEGOTIATION)

    def test_disconnect_instead_of_confirmation(self):
        server = self.serve()
        self.fault(server, "disconnect")
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        self.assertEqual(client.frame().channel, DISCONNECT)

    def test_push_before_confirmation(self):
        server = self.serve()
        self.fault(server, "push-before-confirmation")
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        push = client.next_push()
        self.assertEqual(client.frame().channel, CONFIRM)
        client.respond(push)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)
        self.assertTrue(client.is_silent(0.05), "it is not pushed a second time")
        self.assertEqual(server.codes(), {})

    def test_black_hole_at_sign_in(self):
        server = self.serve()
        self.fault(server, "black-hole")
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        client.send(b"x" * 1000)
        self.assertTrue(client.is_silent(0.1))
        self.assertEqual(server.admin("GET", "sessions")["sessions"][0]["state"], "black_hole")
        server.advance(601)
        self.assertIn(client.ended(), ("eof", "reset"))

    def test_black_hole_at_a_push_and_the_push_comes_again(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "black-hole", on="push")
        server.push(me)
        self.assertTrue(client.is_silent(0.1))
        again = self.online(server)
        again.respond(again.next_push())
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)

    def test_black_hole_at_accept(self):
        import socket
        server = self.serve()
        self.fault(server, "black-hole", on="accept")
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(b"\x16\x03\x01\x00\x05hello")
            line.settimeout(0.1)
            with self.assertRaises(TimeoutError):
                line.recv(1)

    def test_close_in_mid_frame(self):
        _, client, data, end = self.pushed("close-mid-frame")
        size = client.codec.struct.unpack_from(data)[0]
        self.assertLess(len(data), 12 + size)
        self.assertGreater(len(data), 12)
        self.assertEqual(end, "close_notify")

    def test_one_byte_per_write(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "byte-per-write")
        server.push(me)
        data, reads = b"", 0
        while len(data) < 12 or len(data) < 12 + client.codec.struct.unpack_from(data)[0]:
            data += client.read_some()
            reads += 1
        self.assertEqual(reads, len(data), "each byte was a TLS record of its own")
        client.data = data
        client.respond(client.next_push())
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)

    def test_many_frames_in_one_write(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "many-frames-per-write", count=5, frames=5)
        for _ in range(5):
            self.assertTrue(client.is_silent(0))
            server.push(me)
        client.data = client.read_some()
        frames = []
        while client.data:
            frames.append(client.next_push(0.01))
        self.assertEqual(len(frames), 5)

    def test_held_frames_leave_after_half_a_second_at_the_latest(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "many-frames-per-write", count=2, frames=5)
        server.push(me)
        server.push(me)
        server.advance(0.5)
        client.next_push()
        client.next_push()

    def test_split_at_every_byte(self):
        server = self.serve(throttle_sends=0)
        client = self.online(server)
        self.fault(server, "split-every-byte", count=40)
        for place in range(1, 41):
            server.push(me)
            first = client.read_some()
            self.assertEqual(len(first), place)
            server.advance(0.01)
            client.data = first
            client.respond(client.next_push())
        server.wait_for(lambda: server.admin("GET", "pushes/40")["answered"] == 1)
        self.assertEqual(server.codes(), {})

    def test_payload_sizes_that_lie(self):
        for name, expect in [("payload-size-zero", lambda real: 0),
                             ("payload-size-huge", lambda real: 0x7fffffff),
                             ("payload-size-larger", lambda real: real + 100)]:
            with self.subTest(fault=name):
                _, client, data, _ = self.pushed(name)
                self.assertEqual(client.codec.struct.unpack_from(data)[0], expect(len(data) - 12))

    def test_a_wrong_header_size(self):
        _, client, data, _ = self.pushed("wrong-header-size")
        self.assertEqual(client.codec.struct.unpack_from(data)[3], 11)

    def test_other_encodings(self):
        for encoding, begins in [("utf-8", b"<B"), ("utf-16le+bom", b"\xff\xfe<\0"),
                                 ("utf-8+bom", b"\xef\xbb\xbf<B"), ("utf-16le+nul", b"<\0B\0")]:
            with self.subTest(encoding=encoding):
                _, _, data, _ = self.pushed("other-encoding", encoding=encoding)
                self.assertTrue(data[12:].startswith(begins))
                if encoding.endswith("nul"):
                    self.assertTrue(data.endswith(b"\0\0\0"))

    def test_broken_and_dangerous_xml(self):
        for name, has, lacks in [("malformed-xml", "<BgbRequestMessage", "</BgbRequestMessage>"),
                                 ("entity", "&outside;", "<!DOCTYPE"),
                                 ("dtd", "<!DOCTYPE x [<!ENTITY", "&lt;")]:
            with self.subTest(fault=name):
                server, client, data, _ = self.pushed(name)
                xml = data[12:].decode("utf-16-le")
                self.assertIn(has, xml)
                self.assertNotIn(lacks, xml)
                server.advance(11)  # the client had cause to leave
                self.assertEqual(server.codes(), {"session.not_closed": 1})
                self.assertEqual(client.ended(), "close_notify")

    def test_a_duplicate_push_may_be_answered_twice_alike(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "duplicate-push")
        server.push(me)
        first, second = client.next_push(), client.next_push()
        self.assertEqual(first.xml, second.xml)
        client.respond(first)
        client.respond(second)
        server.wait_for(lambda: server.admin("GET", "stats")["counts"].get("responses") == 2)
        self.assertEqual(server.codes(), {})
        client.respond(second)
        server.wait_for_code("response.repeated")
        self.assertEqual(server.admin("GET", "pushes/1")["answered"], 1)

    def test_a_duplicate_push_may_not_be_answered_differently(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "duplicate-push")
        server.push(me)
        client.respond(client.next_push(), 1)
        client.respond(client.next_push(), 0)
        server.wait_for_code("response.changed_code")

    def test_an_unknown_task_type_is_answered_like_any(self):
        server, client, data, _ = self.pushed("unknown-task-type")
        client.data = data
        push = client.frame()
        self.assertEqual(push.member("TaskType"), "999")
        self.assertIn('<Future a="1">x</Future>', push.xml)
        client.respond(push, 0)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["failed"] == 1)
        self.assertEqual(server.codes(), {})

    def test_success_for_an_unknown_task_type_is_noted(self):
        server, client, data, _ = self.pushed("unknown-task-type")
        client.data = data
        client.respond(client.frame(), 1)
        server.wait_for_code("response.unknown_type")

    def test_missing_fields(self):
        _, client, data, _ = self.pushed("missing-fields")
        client.data = data
        push = client.frame()
        self.assertIsNone(push.member("TaskGUID"))
        self.assertIsNone(push.member("TaskParam"))
        self.assertEqual(push.member("PushID"), "1")
        _, client, data, _ = self.pushed("missing-fields", fields=["PushID", "TaskType"])
        client.data = data
        push = client.frame()
        self.assertIsNone(push.member("PushID"))
        self.assertIsNone(push.member("TaskType"))
        self.assertIsNotNone(push.member("TaskGUID"))

    def test_unknown_elements(self):
        server, client, data, _ = self.pushed("unknown-elements")
        client.data = data
        push = client.frame()
        self.assertEqual(push.member("TaskType"), "1")
        self.assertIn("<Future", push.xml)
        client.respond(push)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)

    def test_a_fault_can_strike_the_confirmation(self):
        server = self.serve()
        self.fault(server, "malformed-xml", on="confirm")
        client = self.client(server)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        frame = client.frame()
        self.assertEqual(frame.channel, CONFIRM)
        self.assertFalse(frame.xml.endswith("Message>"))

    def test_a_faulty_frame_is_evidence_byte_by_byte(self):
        server, _, data, _ = self.pushed("wrong-header-size")
        line = server.lines("messages")[-1]
        self.assertEqual((line["fault"], line["raw_hex"]), ("wrong-header-size", data.hex()))
        self.assertEqual(line["header"]["HeaderSize"], 11)
        self.assertEqual(server.admin("GET", "pushes/1")["clients"][0]["fault"], "wrong-header-size")

    def test_a_push_that_a_fault_spoiled_comes_again(self):
        server, client, _, _ = self.pushed("close-mid-frame")
        again = self.online(server)
        again.respond(again.next_push())
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)
        self.assertEqual(server.codes(), {})

    def test_a_rule_strikes_as_often_as_it_says(self):
        server = self.serve()
        self.fault(server, "tls-close", count=2)
        self.assertEqual(self.client(server).ended(), "close_notify")
        self.assertEqual(self.client(server).ended(), "close_notify")
        self.online(server)
        rule = server.admin("GET", "faults")["faults"][0]
        self.assertEqual((rule["count_left"], rule["applied"]), (0, 2))

    def test_a_rule_strikes_whom_it_names(self):
        server = self.serve()
        self.fault(server, "disconnect", count=-1, sms_id=other.sms_id[:20] + "*")
        self.online(server, me)
        client = self.client(server, other)
        client.send(client.codec.message(SIGN_IN, client.sign_in_xml()))
        self.assertEqual(client.frame().channel, DISCONNECT)

    def test_a_rule_strikes_in_its_time(self):
        server = self.serve()
        self.fault(server, "tls-close", count=-1, after_ms=60000, for_ms=60000)
        self.online(server)
        server.advance(60)
        self.assertEqual(self.client(server).ended(), "close_notify")
        server.advance(60)
        self.online(server)

    def test_a_rule_strikes_with_its_probability(self):
        server = self.serve(duplicate_signin="both", throttle_sends=0)
        client = self.online(server)
        self.fault(server, "unknown-task-type", count=-1, probability=0.5)
        struck = 0
        for _ in range(200):
            server.push(me)
            struck += client.frame().member("TaskType") == "999"
        self.assertTrue(50 < struck < 150, f"{struck} of 200 at one half")

    def test_rules_can_be_taken_back(self):
        server = self.serve()
        server.admin("POST", "faults", [{"fault": "tls-close", "count": -1}, {"fault": "dtd"}])
        self.assertEqual(len(server.admin("GET", "faults")["faults"]), 2)
        self.assertEqual(server.admin("DELETE", "faults")["removed"], 2)
        self.online(server)

    def test_a_reader_that_does_not_read_is_closed_at_the_bound(self):
        server = self.serve(throttle_sends=0, out_bytes_max=65536)
        client = self.online(server)
        param = "QUJD" * 60000
        for _ in range(60):
            server.push(me, task_param=param)
            if server.admin("GET", "stats")["counts"].get("slow_readers"):
                break
        self.assertEqual(server.admin("GET", "stats")["counts"].get("slow_readers"), 1)
        self.assertEqual(server.lines("sessions")[-1]["reason"], "reads too slowly")


if __name__ == "__main__":
    Server.program = sys.argv.pop(1)
    unittest.main(verbosity=2)
