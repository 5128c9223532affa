"""The notification server's HTTP side and its faults, seen by a client written from section 3 alone."""

import sys
import tempfile
import unittest

from bgb_client import KEEP_ALIVE, NONE, SIGN_IN, Client, Codec, Identity, Server
from http_client import PATH, HttpClient

folder = tempfile.TemporaryDirectory()
me, other = Identity(folder.name), Identity(folder.name)


class Http(unittest.TestCase):
    def serve(self, **settings):
        server = Server(folder.name, [me.entry(), other.entry()], **settings)
        self.addCleanup(server.stop)
        return server

    def client(self, server, identity=me, **more):
        client = HttpClient(server, identity, **more)
        self.addCleanup(client.drop)
        return client

    def fault(self, server, name, **more):
        return server.admin("POST", "faults", {"fault": name, **more})

    def held(self, server):
        """Until the request that waits has arrived."""
        before = server.admin("GET", "stats")["counts"].get("http_requests", 0)
        return lambda: server.wait_for(lambda: server.admin("GET", "stats")["counts"].get("http_requests", 0) > before)

    def test_sign_in_push_answer_and_the_books(self):
        server = self.serve()
        client = self.client(server).signed_in()
        arrived = self.held(server)
        line = client.wait()
        arrived()
        server.push(me)
        status, _, frames = client.answer(line)
        self.assertEqual((status, len(frames)), (200, 1))
        self.assertEqual(client.respond(frames[0])[0], 200)
        one = server.admin("GET", "pushes/1")["clients"][0]
        self.assertEqual((one["state"], one["return_code"]), ("answered", 1))
        known = server.admin("GET", f"clients/{me.sms_id}")
        self.assertEqual((known["ChannelType"], known["online"]), (1, True))
        self.assertEqual(server.admin("GET", "sessions")["sessions"][0]["channel"], "HTTP")
        server.admin("POST", "report")
        report = server.lines("reports")[-1] if server.lines("reports")[-1]["report"] == "online" else server.lines("reports")[-2]
        self.assertEqual((report["TCP"], report["HTTP"]), (0, 1))
        self.assertEqual(server.codes(), {})
        self.assertEqual([c["request_type"] for c in server.lines("http")], ["LogIn", "Continue", "Continue"])

    def test_a_push_that_comes_while_nobody_waits_goes_with_the_next_request(self):
        server = self.serve()
        client = self.client(server).signed_in()
        server.push(me)
        push = client.next_push()
        server.push(other)  # of somebody else
        status, _, frames = client.respond(push)
        self.assertEqual((status, frames), (200, []))
        server.push(me)
        self.assertEqual(len(client.keep_alive()[2]), 1, "no request waits, so it goes with the answer to what is said")

    def test_a_hold_ends_empty_at_its_limit(self):
        server = self.serve()
        client = self.client(server).signed_in()
        arrived = self.held(server)
        line = client.wait()
        arrived()
        server.advance(299)
        server.advance(2)
        self.assertEqual(client.answer(line)[0:3:2], (200, []))
        self.assertGreaterEqual(server.lines("http")[-1]["held_ms"], 300_000)

    def test_a_client_that_asks_no_more_is_offline_after_its_grace(self):
        server = self.serve(http_gone_ms=30_000, grace_ms=300_000)
        client = self.client(server).signed_in()
        online = lambda: server.admin("GET", f"clients/{me.sms_id}")
        server.advance(31)
        self.assertFalse(online()["connected"])
        self.assertTrue(online()["online"], "the grace runs")
        server.advance(300)
        self.assertFalse(online()["online"])
        self.assertEqual(client.answer(client.wait())[0], 401, "it has to sign in again")
        client.signed_in()

    def test_the_hook_is_checked(self):
        server = self.serve()
        for how in ({"signs": "client_id"}, {"reverse": False}):
            client = self.client(server)
            self.assertEqual(client.answer(client.ask("LogIn", client.body(SIGN_IN, client.sign_in_xml(), **how)))[0], 403, how)
        stranger = self.client(server)
        stranger.identity = type("Thief", (), {"sms_id": me.sms_id, "key": other.key, "pem_file": other.pem_file})
        self.assertEqual(stranger.log_in()[0], 403, "signed with another's key")
        bare = self.client(server)
        header = f"<BgbMessageHeaderHttp><SourceID>{me.sms_id}</SourceID><SourceType>SCCM</SourceType><Hooks></Hooks></BgbMessageHeaderHttp>"
        self.assertEqual(bare.answer(bare.ask("LogIn", bare.body(SIGN_IN, bare.sign_in_xml(), header=header)))[0], 403)
        self.assertEqual(server.codes()["http.hook"], 4)
        off = self.serve(check_hook=False)
        client = self.client(off)
        self.assertEqual(client.answer(client.ask("LogIn", client.body(SIGN_IN, client.sign_in_xml(), header=header)))[0], 200)

    def test_the_cookie_is_wanted_back_and_it_is_nobody_elses(self):
        server = self.serve()
        mine, theirs = self.client(server).signed_in(), self.client(server, other).signed_in()
        self.assertNotEqual(mine.cookie, theirs.cookie)
        self.assertEqual(mine.answer(mine.ask("Continue", mine.body(NONE), cookie=False))[0], 401)
        mine.cookie = theirs.cookie
        self.assertEqual(mine.answer(mine.wait())[0], 401)
        self.assertEqual(server.codes()["http.cookie"], 2)

    def test_a_header_that_names_somebody_else_than_the_message(self):
        server = self.serve()
        client = self.client(server)
        xml = client.sign_in_xml().replace(me.sms_id, other.sms_id)
        self.assertEqual(client.answer(client.ask("LogIn", client.body(SIGN_IN, xml)))[0], 403)
        server.wait_for_code("http.other_client")

    def test_bodies_and_addresses_that_are_wrong(self):
        server = self.serve()
        client = self.client(server)
        good = client.body(SIGN_IN, client.sign_in_xml())
        for body, code in ((good[:-4], "http.body"), (good + b"\0\0", "http.body"), (b"", "http.body"), (good[:8], "http.body"),
                           (client.codec.message(SIGN_IN, client.sign_in_xml()), "http.body"),
                           (client.body(SIGN_IN, client.sign_in_xml(), header=""), "http.header_size"),
                           (client.body(SIGN_IN, client.sign_in_xml(), header="<Other></Other>"), "http.header")):
            self.assertIn(client.answer(client.ask("LogIn", body))[0], (400, 403))
            server.wait_for_code(code)
        self.assertEqual(client.answer(client.ask("", good, path=PATH + "Dance"))[0], 400)
        self.assertEqual(client.answer(client.ask("", good, path="/elsewhere?RequestType=LogIn"))[0], 404)
        self.assertEqual(client.answer(client.ask("LogIn", good, method="PUT"))[0], 405)
        self.assertEqual(client.answer(client.ask("LogIn", b"", method="GET"))[0], 200, "a health probe")

    def test_every_refusal(self):
        for refuse_as, expected in (("close", 403), ("tls-alert", 403), ("disconnect-frame", 200)):
            server = Server(folder.name, [me.entry(blocked=True)], refuse_as=refuse_as)
            self.addCleanup(server.stop)
            status, _, frames = self.client(server).log_in()
            self.assertEqual(status, expected, refuse_as)
            if status == 200:
                self.assertEqual([f.channel for f in frames], [5])
            server.wait_for_code("signin.blocked")

    def test_plain_http_lives_on_the_hook_alone(self):
        server = self.serve(http="http")
        client = self.client(server, tls=False).signed_in()
        server.push(me)
        self.assertEqual(client.respond(client.next_push())[0], 200)
        self.assertEqual(server.codes(), {})

    def test_an_answer_may_carry_an_xml_header(self):
        server = self.serve(http_reply_header="xml")
        _, _, frames = self.client(server).log_in()
        self.assertIn(me.sms_id, frames[0].header_xml)

    def test_every_layout_speaks_http(self):
        for layout in ("A", "B", "C", "A8", "A16"):
            server = Server(folder.name, [me.entry()], codec=Codec(layout), profile=layout)
            self.addCleanup(server.stop)
            client = self.client(server).signed_in()
            server.push(me)
            self.assertEqual(client.respond(client.next_push())[0], 200)
            self.assertEqual(server.codes(), {}, layout)

    def test_every_status_with_and_without_retry_after(self):
        server = self.serve()
        client = self.client(server).signed_in()
        for status in (401, 403, 404, 407, 500, 503):
            self.fault(server, "http-status", status=status)
            self.assertEqual(client.answer(client.wait())[0], status)
        self.fault(server, "http-status", status=503, retry_after_s=90)
        status, headers, _ = client.answer(client.wait())
        self.assertEqual((status, headers["retry-after"]), (503, "90"))
        server.advance(100)
        self.assertTrue(server.admin("GET", f"clients/{me.sms_id}")["connected"], "it was told to wait, so it is waited for")

    def test_a_status_can_strike_one_kind_of_request_only(self):
        server = self.serve()
        self.fault(server, "http-status", status=500, on="http-send", count=-1)
        client = self.client(server).signed_in()
        server.push(me)
        push = client.next_push()
        self.assertEqual(client.respond(push)[0], 500)

    def test_a_hang_is_cut_at_30_60_100_and_230_seconds(self):
        server = self.serve()
        client = self.client(server).signed_in()
        for seconds in (30, 60, 100, 230):
            self.fault(server, "http-cut", delay_ms=seconds * 1000)
            arrived = self.held(server)
            line = client.wait()
            arrived()
            server.advance(seconds - 1)
            self.assertEqual(server.admin("GET", "sessions")["total"], 1)
            server.advance(2)
            self.assertEqual(client.answer(line)[0], 0, "cut, not answered")
            self.assertEqual(server.lines("http")[-1]["fault"], "http-cut")

    def test_a_proxy_that_buffers(self):
        server = self.serve()
        client = self.client(server).signed_in()
        self.fault(server, "http-buffer", delay_ms=20_000)
        arrived = self.held(server)
        line = client.wait()
        arrived()
        server.push(me)
        server.advance(10)
        line.sock.settimeout(0.2)
        with self.assertRaises(OSError):
            line.sock.recv(1)
        line.sock.settimeout(10)

    def test_faults_of_frames_strike_here_too(self):
        server = self.serve()
        client = self.client(server).signed_in()
        self.fault(server, "duplicate-push")
        server.push(me)
        _, _, frames = client.answer(client.wait())
        self.assertEqual(len(frames), 2)
        for frame in frames:
            self.assertEqual(client.respond(frame)[0], 200)
        self.assertEqual(server.codes(), {})
        self.fault(server, "disconnect")
        again = self.client(server)
        status, _, frames = again.log_in()
        self.assertEqual((status, [f.channel for f in frames]), (200, [5]))
        server.advance(11)
        self.assertNotIn("session.not_closed", server.codes(), "it asks no more, and that is leaving")

    def test_two_requests_that_wait(self):
        server = self.serve()
        client = self.client(server).signed_in()
        arrived = self.held(server)
        first = client.wait()
        arrived()
        client.wait()
        self.assertEqual(client.answer(first)[0:3:2], (200, []))
        self.assertEqual(server.codes(), {"http.second_hang": 1})

    def test_a_message_of_http_and_a_session_of_tcp(self):
        server = self.serve()
        self.client(server).signed_in()
        tcp = Client(server, me)
        self.addCleanup(tcp.drop)
        tcp.sign_in()
        self.assertEqual(server.admin("GET", f"clients/{me.sms_id}")["ChannelType"], 0)
        self.assertEqual(server.codes(), {}, "a session by HTTP that nobody waits for has been left")


class Upheavals(Http):
    """What befalls the whole server; on TCP."""

    def online(self, server, identity=me):
        client = Client(server, identity)
        self.addCleanup(client.drop)
        client.sign_in()
        return client

    def test_a_restart_cuts_everybody_and_comes_back_on_the_same_port(self):
        server = self.serve()
        client = self.online(server)
        self.assertEqual(server.admin("POST", "restart", {"down_ms": 1000})["sessions_cut"], 1)
        self.assertIn(client.ended(), ("eof", "reset"))
        with self.assertRaises(OSError):
            Client(server, me)
        server.advance(2)
        self.online(server)

    def test_a_rolling_accept_takes_them_one_by_one(self):
        server = self.serve()
        server.admin("POST", "restart", {"down_ms": 0, "accepts_per_second": 2})
        server.advance(0.1)
        self.online(server)
        self.assertEqual(server.admin("GET", "stats")["counts"]["accepted"], 1)

    def test_another_certificate_while_it_runs(self):
        server = self.serve()
        for state in ("changed", "wrong", "expired", "not-yet"):
            server.admin("POST", "certificate", {"state": state})
            with self.assertRaises(OSError, msg=state):
                Client(server, me)
        server.admin("POST", "certificate", {"state": "valid"})
        self.online(server)
        server.admin("POST", "certificate", {"state": "golden"}, status=400)

    def test_a_clock_that_is_a_day_off(self):
        server = self.serve()
        client = self.online(server)
        for offset in (86_400_000, -86_400_000):
            self.fault(server, "clock-skew", offset_ms=offset)
            server.push(me)
            client.respond(client.next_push())
        server.wait_for(lambda: server.admin("GET", "stats")["counts"].get("responses") == 2)
        self.assertEqual(server.codes(), {})

    def test_everybody_cut_by_a_rule(self):
        server = self.serve()
        clients = [self.online(server), self.online(server, other)]
        self.fault(server, "mass-disconnect")
        server.push(me)
        for client in clients:
            self.assertIn(client.ended(), ("close_notify", "eof", "reset"))

    def test_new_keys_in_the_middle(self):
        server = self.serve()
        client = self.online(server)
        self.fault(server, "tls-key-update")
        server.push(me)
        client.respond(client.next_push())
        server.wait_for(lambda: server.admin("GET", "pushes/1")["answered"] == 1)

    def test_a_wish_to_negotiate_anew(self):
        import ssl
        server = self.serve()
        client = Client(server, me, tls=ssl.TLSVersion.TLSv1_2)
        self.addCleanup(client.drop)
        client.sign_in()
        self.fault(server, "tls-renegotiation")
        server.push(me)
        # A client refuses (9.2); whether the line survives that is the server's affair. It is not left hanging.
        server.wait_for(lambda: server.admin("GET", "faults")["faults"][0]["applied"] == 1)


# Inherited tests run once.
for name in [n for n in dir(Http) if n.startswith("test_")]:
    setattr(Upheavals, name, None)


if __name__ == "__main__":
    Server.program = sys.argv.pop(1)
    unittest.main()
