"""The notification server as a good client meets it: sessions, pushes, accounts, admin."""

import ssl
import sys
import tempfile
import unittest

from bgb_client import (CONFIRM, DISCONNECT, KEEP_ALIVE, LAYOUTS, REQUEST, RESPONSE, SIGN_IN, Client,
                        Codec, Identity, Server)

folder = tempfile.TemporaryDirectory()
me, other, third = (Identity(folder.name) for _ in range(3))
everyone = [me.entry(), other.entry(), third.entry()]


class Conversation(unittest.TestCase):
    def serve(self, clients=None, codec=None, **settings):
        server = Server(folder.name, everyone if clients is None else clients, codec, **settings)
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

    def whole_conversation(self, codec, **settings):
        server = self.serve(codec=codec, **settings)
        client = self.client(server)
        client.sign_in()
        client.keep_alive()
        made = server.push(me, task_type=15, task_param="QUJD",
                           task_guid="0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527")
        self.assertEqual((made["sent"], made["pending"]), (1, 0))
        push = client.next_push()
        self.assertEqual(push.member("PushID"), str(made["push_id"]))
        self.assertEqual(push.member("TaskID"), str(made["task_id"]))
        self.assertEqual(push.member("TaskGUID"), "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527")
        self.assertEqual(push.member("TaskType"), "15")
        self.assertEqual(push.member("TaskParam"), "QUJD")
        client.respond(push)
        path = f"pushes/{made['push_id']}"
        server.wait_for(lambda: server.admin("GET", path)["answered"] == 1)
        delivery = server.admin("GET", path)["clients"][0]
        self.assertEqual(delivery["state"], "answered")
        self.assertEqual(delivery["return_code"], 1)
        self.assertGreaterEqual(delivery["round_trip_ms"], 0)
        self.assertLessEqual(delivery["sent_at"], delivery["answered_at"])
        client.leave()
        server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 0)
        self.assertEqual(server.codes(), {})
        return server

    def test_every_layout_carries_a_whole_conversation(self):
        for layout in LAYOUTS:
            with self.subTest(layout=layout):
                self.whole_conversation(Codec(layout), profile=layout)

    def test_every_switch_carries_a_whole_conversation(self):
        for codec, settings in [
                (Codec(big=True), {"byte_order": "big"}),
                (Codec("C", big=True), {"profile": "C", "byte_order": "big"}),
                (Codec(text="utf-8"), {"text": "utf-8"}),
                (Codec(text="utf-8+bom"), {"text": "utf-8+bom"}),
                (Codec(text="utf-16le+bom"), {"text": "utf-16le+bom"}),
                (Codec(text="utf-16le+nul"), {"text": "utf-16le+nul"}),
                (Codec(whole_frame=True), {"payload_size_means": "frame"}),
                (Codec(numbers_from=1), {"type_numbers_from": 1}),
                (Codec(constant=7), {"channel_means": "constant", "channel_constant": 7}),
                (Codec(xml_header=True), {"header_size_means": "xml"}),
                (Codec(zlib_on=True), {"compression": "zlib"}),
                (Codec(version=(2, 3)), {"major": 2, "minor": 3})]:
            with self.subTest(settings=settings):
                self.whole_conversation(codec, **settings)

    def test_messages_are_evidence_line_by_line(self):
        lines = self.whole_conversation(Codec()).lines("messages")
        self.assertEqual([(m["direction"], m["kind"], m["verdict"]) for m in lines],
                         [("in", "SignIn", "accepted"), ("out", "SignInConfirm", "sent"),
                          ("in", "KeepAlive", "accepted"), ("out", "Request", "sent"),
                          ("in", "Response", "accepted")])
        for line in lines:
            self.assertEqual(line["sms_id"], me.sms_id)
            self.assertEqual(line["violations"], [])
            self.assertEqual(line["header"]["HeaderSize"], 12)
            self.assertEqual(line["header"]["PayloadSize"], 2 * len(line["xml"]))
            self.assertRegex(line["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual([m["header"]["Channel"] for m in lines],
                         [SIGN_IN, CONFIRM, KEEP_ALIVE, REQUEST, RESPONSE])

    def test_sessions_are_evidence_too(self):
        lines = self.whole_conversation(Codec()).lines("sessions")
        self.assertEqual([line["event"] for line in lines], ["opened", "signed_in", "closed"])
        self.assertEqual(lines[0]["tls"], "TLSv1.3")
        self.assertEqual(lines[2]["reason"], "client closed")

    def test_a_full_evidence_file_makes_room_once(self):
        import os
        server = self.serve(evidence_bytes_max=4096)
        client = self.online(server)
        for _ in range(20):
            client.keep_alive()
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 20)
        server.lines("messages")
        for name in ("messages.jsonl", "messages.jsonl.1"):
            self.assertLess(os.path.getsize(os.path.join(server.folder, name)), 4096 + 1024)
        self.assertEqual(server.admin("GET", "stats")["evidence_lost"], 0)

    def test_evidence_can_be_of_violations_only(self):
        server = self.serve(evidence="violations")
        client = self.online(server)
        client.keep_alive()
        client.send(client.codec.message(KEEP_ALIVE, client.keep_alive_xml(type="X")))
        server.wait_for_code("schema.client_type")
        line, = server.lines("messages")
        self.assertEqual(line["violations"][0]["code"], "schema.client_type")

    def test_both_tls_versions_are_taken(self):
        server = self.serve()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.client(server, tls=version)
            client.sign_in()
        strict = self.serve(tls_min="1.3")
        with self.assertRaises(ssl.SSLError):
            self.client(strict, tls=ssl.TLSVersion.TLSv1_2)
        strict.wait_for(lambda: strict.admin("GET", "stats")["counts"].get("handshakes_failed"))
        self.assertEqual(strict.lines("sessions")[0]["event"], "handshake_failed")

    def test_an_expired_server_certificate_can_be_shown(self):
        server = self.serve(certificate_state="expired")
        with self.assertRaisesRegex(ssl.SSLError, "expired"):
            self.client(server)

    def test_sessions_are_never_resumed(self):
        server = self.serve()
        client = self.online(server)
        self.assertFalse(client.line.session_reused)
        client.keep_alive()
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 1)
        self.assertTrue(client.line.session is None or not client.line.session.has_ticket)

    def test_a_keep_alive_is_not_answered(self):
        server = self.serve()
        client = self.online(server)
        client.keep_alive()
        server.wait_for(lambda: server.admin("GET", f"clients/{me.sms_id}")["keep_alives"] == 1)
        self.assertTrue(client.is_silent(0.05))

    def test_a_push_waits_for_an_absent_client(self):
        server = self.serve()
        made = server.push(me)
        self.assertEqual((made["sent"], made["pending"]), (0, 1))
        client = self.online(server)
        push = client.next_push()
        self.assertEqual(push.member("PushID"), str(made["push_id"]))
        client.respond(push)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)

    def test_a_pending_push_comes_within_two_seconds_of_the_confirmation(self):
        server = self.serve(pending_push_delay_max_ms=2000)
        server.push(me)
        client = self.online(server)
        server.advance(2)
        client.next_push()

    def test_an_unanswered_push_is_sent_again_with_the_same_ids(self):
        server = self.serve()
        client = self.online(server)
        server.push(me)
        server.push(me)
        first, second = client.next_push(), client.next_push()
        client.respond(first)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)
        client.drop()
        server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 0)
        again = self.online(server)
        repeated = again.next_push()
        for name in ("PushID", "TaskID", "TaskGUID"):
            self.assertEqual(repeated.member(name), second.member(name))
        again.respond(repeated)
        server.wait_for(lambda: server.admin("GET", "pushes/2")["answered"] == 1)
        self.assertEqual(server.admin("GET", "pushes/2")["clients"][0]["sends"], 2)
        self.assertTrue(again.is_silent(0.05), "the answered push is not sent again")
        self.assertEqual(server.codes(), {})

    def test_two_pushes_of_one_task_share_its_task_id(self):
        server = self.serve()
        guid = "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527"
        a, b, c = (server.push(me, task_guid=guid), server.push(other, task_guid=guid),
                   server.push(me))
        self.assertEqual(a["task_id"], b["task_id"])
        self.assertNotEqual(a["push_id"], b["push_id"])
        self.assertNotEqual(a["task_id"], c["task_id"])

    def test_all_means_every_client_that_was_here(self):
        server = self.serve()
        first, second = self.online(server, me), self.online(server, other)
        second.leave()
        server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 1)
        made = server.admin("POST", "push", {"clients": "all"})
        self.assertEqual((made["sent"], made["pending"]), (1, 1))
        first.next_push()

    def test_the_throttle_holds_back_what_exceeds_it(self):
        server = self.serve(throttle_sends=3, throttle_slice_ms=60000)
        client = self.online(server)
        for _ in range(7):
            server.push(me)
        for expected in (3, 3, 1):
            for _ in range(expected):
                client.next_push()
            self.assertTrue(client.is_silent(0.05), f"more than {expected} in a slice")
            server.advance(60)

    def test_a_task_expires_at_the_end_of_its_life(self):
        server = self.serve()
        server.push(me, task_type=15)
        server.push(me, task_type=1)
        server.advance(3601)
        client = self.online(server)
        self.assertEqual(client.next_push().member("PushID"), "2")
        self.assertEqual(server.admin("GET", "pushes/1")["clients"][0]["state"], "expired")
        client.drop()
        server.advance(86400)
        late = self.online(server)
        self.assertTrue(late.is_silent(0.05))
        self.assertTrue(server.admin("GET", "pushes/2")["expired"])

    def test_a_late_response_is_taken_with_a_warning(self):
        server = self.serve()
        client = self.online(server)
        server.push(me)
        push = client.next_push()
        server.advance(5.5)
        self.assertEqual(server.codes(), {"response.late": 1})
        client.respond(push)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)
        self.assertTrue(server.admin("GET", "pushes/1")["clients"][0]["late"])
        self.assertEqual(server.codes(), {"response.late": 1})
        self.assertIn("response.late", [line.get("code") for line in server.lines("sessions")])

    def test_the_online_count_is_reported_full_first_and_then_by_delta(self):
        server = self.serve()
        client = self.online(server)
        server.advance(60)
        self.online(server, other)
        server.advance(60)
        server.advance(60)  # nothing new: no report
        client.leave()
        server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 1)
        server.advance(60)  # in the grace of 300 s: still online
        server.advance(300)
        reports = [r for r in server.lines("reports") if r["report"] == "online"]
        self.assertEqual([(r["form"], r["version"], r["TCP"], r["changed"]) for r in reports],
                         [("FULL", 1, 1, 1), ("DELTA", 2, 2, 1), ("DELTA", 3, 1, 1)])
        self.assertEqual(reports[1]["online"], [other.sms_id])
        self.assertEqual(reports[2]["offline"], [me.sms_id])
        server.admin("POST", "resync")
        server.admin("POST", "report")
        full = server.lines("reports")[-1]
        self.assertEqual((full["form"], full["version"], full["online"]), ("FULL", 4, [other.sms_id]))

    def test_the_silence_rule_counts_messages_not_sockets(self):
        server = self.serve(offline_rule="silence")
        client = self.online(server)
        online = lambda: server.admin("GET", f"clients/{me.sms_id}")["online"]
        server.advance(299)
        self.assertTrue(online())
        server.advance(2)
        self.assertFalse(online())
        client.keep_alive()
        server.wait_for(online)

    def test_a_task_report_follows_thirty_seconds_after_the_news(self):
        server = self.serve()
        clients = [self.online(server, who) for who in (me, other, third)]
        made = server.push(me, other, third)
        for client, code in zip(clients, (1, 0, 1)):
            client.respond(client.next_push(), code)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 3)
        self.assertEqual([r for r in server.lines("reports") if r["report"] == "task"], [])
        server.advance(30)
        report, = [r for r in server.lines("reports") if r["report"] == "task"]
        self.assertEqual((report["PushID"], report["TaskID"], report["TaskGUID"]),
                         (made["push_id"], made["task_id"], made["task_guid"]))
        self.assertEqual((report["ReportedClients"], report["FailedClients"]), (3, 1))
        server.advance(60)
        self.assertEqual(len([r for r in server.lines("reports") if r["report"] == "task"]), 1)

    def test_disconnect_is_a_frame_that_the_client_obeys(self):
        server = self.serve()
        client = self.online(server)
        server.admin("POST", "disconnect", {"clients": [me.sms_id], "how": "frame"})
        frame = client.frame()
        self.assertEqual((frame.channel, frame.payload), (DISCONNECT, b""))
        client.leave()
        server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 0)
        server.advance(11)
        self.assertEqual(server.codes(), {})

    def test_a_client_that_stays_after_disconnect_is_noted_and_closed(self):
        server = self.serve()
        client = self.online(server)
        server.admin("POST", "disconnect", {"all": True})
        self.assertEqual(client.frame().channel, DISCONNECT)
        server.advance(9)
        self.assertEqual(server.codes(), {})
        server.advance(2)
        self.assertEqual(server.codes(), {"session.not_closed": 1})
        self.assertEqual(client.ended(), "close_notify")

    def test_disconnect_can_be_a_mere_close(self):
        server = self.serve()
        client = self.online(server)
        server.admin("POST", "disconnect", {"clients": "all", "how": "close"})
        self.assertEqual(client.ended(), "close_notify")

    def test_a_mass_disconnect_can_be_spread(self):
        server = self.serve()
        clients = [self.online(server, who) for who in (me, other, third)]
        server.admin("POST", "disconnect", {"all": True, "how": "close", "spread_ms": 5000})
        server.advance(5)
        self.assertEqual([c.ended() for c in clients], ["close_notify"] * 3)

    def test_stopping_tells_every_session(self):
        server = Server(folder.name, everyone)
        client = self.online(server)
        server.stop()
        self.assertEqual(client.frame().channel, DISCONNECT)
        self.assertIsNone(client.frame())

    def test_a_second_session_replaces_the_first(self):
        server = self.serve()
        first = self.online(server)
        second = self.online(server)
        self.assertEqual(first.ended(), "close_notify")
        server.push(me)
        second.next_push()
        self.assertEqual(server.codes(), {"signin.second_session": 1})

    def test_a_second_session_can_be_refused(self):
        server = self.serve(duplicate_signin="reject")
        first = self.online(server)
        second = self.client(server)
        second.send(second.codec.message(SIGN_IN, second.sign_in_xml()))
        self.assertEqual(second.ended(), "close_notify")
        self.assertEqual(server.codes(), {"signin.duplicate": 1})
        server.push(me)
        first.next_push()

    def test_two_sessions_can_live_together(self):
        server = self.serve(duplicate_signin="both")
        first, second = self.online(server), self.online(server)
        server.push(me)
        push = second.next_push()
        self.assertTrue(first.is_silent(0.05))
        second.respond(push)
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)
        self.assertEqual(len(server.admin("GET", f"clients/{me.sms_id}")["sessions"]), 2)

    def test_no_sign_in_within_thirty_seconds_ends_the_session(self):
        server = self.serve()
        client = self.client(server)
        server.wait_for(lambda: server.lines("sessions"))
        server.advance(29)
        self.assertEqual(server.codes(), {})
        server.advance(2)
        self.assertEqual(client.ended(), "close_notify")
        self.assertEqual(server.codes(), {"session.no_signin": 1})

    def test_a_handshake_that_stalls_is_cut(self):
        import socket
        server = self.serve()
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            server.wait_for(lambda: server.admin("GET", "stats")["sessions"] == 1)
            server.advance(31)
            line.settimeout(10)
            self.assertEqual(line.recv(1), b"")

    def test_more_sessions_than_the_bound_are_not_kept(self):
        server = self.serve(sessions_max=1)
        self.online(server)
        with self.assertRaises((ssl.SSLError, OSError)):
            self.client(server, other)
        self.assertEqual(server.admin("GET", "stats")["counts"]["refused_full"], 1)

    def test_three_hundred_sessions_answer_one_push(self):
        server = self.serve(check_key=False, throttle_sends=0)
        clients = []
        for number in range(300):
            one = Identity.__new__(Identity)
            one.pem_file = me.pem_file
            one.sms_id = f"GUID:00000000-0000-4000-8000-{number:012X}"
            clients.append(self.online(server, one))
        made = server.admin("POST", "push", {"clients": "all"})
        self.assertEqual(made["sent"], 300)
        for client in clients:
            client.respond(client.next_push())
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 300)
        self.assertEqual(server.admin("GET", "stats")["online"], 300)
        self.assertEqual(server.codes(), {})
        page = server.admin("GET", "sessions?offset=290&limit=50")
        self.assertEqual((page["total"], len(page["sessions"])), (300, 10))

    def test_admin_says_what_is_wrong_with_a_request(self):
        server = self.serve(pushes_max=1, deliveries_max=2, faults_max=1)
        for method, path, body, status, code in [
                ("GET", "nowhere", None, 404, "notify.no_path"),
                ("PUT", "push", {}, 405, "notify.method"),
                ("GET", "clients/GUID:none", None, 404, "notify.no_client"),
                ("GET", "pushes/9", None, 404, "notify.no_push"),
                ("GET", "pushes/x", None, 404, "notify.no_push"),
                ("POST", "push", [], 400, "notify.json"),
                ("POST", "push", {}, 400, "notify.clients"),
                ("POST", "push", {"clients": ["guid:x"]}, 400, "notify.clients"),
                ("POST", "push", {"clients": [me.sms_id], "task_type": "1"}, 400, "notify.push"),
                ("POST", "push", {"clients": [me.sms_id], "task_guid": "x"}, 400, "notify.push"),
                ("POST", "push", {"clients": [me.sms_id], "task_param": "<"}, 400, "notify.push"),
                ("POST", "disconnect", {"all": True, "how": "x"}, 400, "notify.disconnect"),
                ("POST", "faults", {"fault": "x"}, 400, "notify.fault"),
                ("POST", "faults", {"fault": "dtd", "on": "signin"}, 400, "notify.fault"),
                ("POST", "faults", {"fault": "dtd", "count": 0}, 400, "notify.fault"),
                ("POST", "faults", {"fault": "dtd", "probability": 2}, 400, "notify.fault"),
                ("POST", "faults", [{"fault": "dtd"}, {"fault": "dtd"}], 507, "notify.faults_full"),
                ("POST", "settings", {"nothing": 1}, 400, "notify.settings"),
                ("POST", "settings", {"profile": "B"}, 409, "notify.settings_fixed"),
                ("POST", "push", {"clients": [i.sms_id for i in (me, other, third)]}, 507,
                 "notify.deliveries_full")]:
            with self.subTest(path=path, body=body):
                got = server.admin(method, path, body, status)
                self.assertEqual(got["error"]["code"], code)
        server.push(me)
        self.assertEqual(server.admin("POST", "push", {"clients": [me.sms_id]}, 507)["error"]["code"],
                         "notify.pushes_full")
        got = server.call({"method": "POST", "path": "/notify/push", "body": "{"})
        self.assertEqual(got["status"], 400)

    def test_settings_can_change_while_it_runs(self):
        server = self.serve()
        self.assertEqual(server.admin("POST", "settings", {"throttle_sends": 7})["throttle_sends"], 7)
        self.assertEqual(server.admin("GET", "settings")["throttle_sends"], 7)

    def test_old_finished_pushes_make_room(self):
        server = self.serve(pushes_max=2, task_report_ms=0)
        client = self.online(server)
        for number in range(1, 6):
            server.push(me)
            client.respond(client.next_push())
            server.wait_for(lambda n=number: server.admin("GET", f"pushes/{n}")["answered"] == 1)
            server.advance(1)
        self.assertEqual([p["push_id"] for p in server.admin("GET", "pushes")["pushes"]], [4, 5])


if __name__ == "__main__":
    Server.program = sys.argv.pop(1)
    unittest.main(verbosity=2)
