"""The push service keeps the order of checks of section 9.3 and rules S-10 to S-14."""

import contextlib
import re
import unittest

from windows_sim import SAMPLE_PFN, Line, Sim, push, push_request, token

HOST = "wns2-sim1p.notify.windows.com"
OTHER = "fabrikam.other_0ab1cd2ef3gh4"


class PushService(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Sim("wns", "--clock", "held", "--start", "2026-01-15T09:30:00Z", "--host", "wns2-sim1p", "--continue-delay", "3000")
        cls.sim.do("wns.app", pfn=OTHER)

    @classmethod
    def tearDownClass(cls):
        assert cls.sim.close() == 0

    def setUp(self):
        self.sim.do("wns.fault.clear")
        self.name = self.id().rsplit(".", 1)[1].replace("_", "-")[:40]
        self.uri = self.issue()
        self.token = token(self.sim)

    def issue(self, **more):
        return self.sim.do("wns.channel.issue", pfn=SAMPLE_PFN, device=self.name, **more)["uri"]

    def push(self, **changes):
        return push(self.sim, changes.pop("uri", self.uri), changes.pop("bearer", self.token), **changes)

    def why(self):
        return self.sim.requests("push")[-1]["why"]

    def deliveries(self):
        return [d for d in self.sim.get("/deliveries")["deliveries"] if d["device"] == self.name]

    def word(self, answer):
        self.assertEqual(answer.header("X-WNS-Status"), answer.header("X-WNS-NotificationStatus"))
        return answer.header("X-WNS-Status")

    def test_an_accepted_push_has_every_header_in_its_form(self):
        answer = self.push()
        self.assertEqual((answer.status, answer.reason), (200, "OK"))
        self.assertEqual(answer.names(), ["X-WNS-NOTIFICATIONSTATUS", "X-WNS-STATUS", "X-WNS-DEVICECONNECTIONSTATUS", "X-WNS-MSG-ID",
                                          "X-WNS-DEBUG-TRACE", "MS-CV", "Strict-Transport-Security", "Content-Length"])
        self.assertEqual((self.word(answer), answer.header("X-WNS-DeviceConnectionStatus")), ("received", "connected"))
        self.assertRegex(answer.header("X-WNS-Msg-ID"), r"^[0-9A-F]{16}$")
        self.assertEqual(answer.header("MS-CV"), "AAAAAAAAAAAAAAAAAAAAAA.0")
        self.assertEqual(answer.header("Content-Length"), "0")

    def test_without_ms_cv_the_service_makes_one_and_without_a_question_there_is_no_device_status(self):
        answer = self.push(omit=["MS-CV", "X-WNS-RequestForStatus"])
        self.assertRegex(answer.header("MS-CV"), r"^[A-Za-z0-9+/]{22}\.0$")
        self.assertIsNone(answer.header("X-WNS-DeviceConnectionStatus"))

    def test_step_1_the_method_comes_before_the_token(self):
        answer = self.push(method="GET", omit=["Authorization"])
        self.assertEqual((answer.status, answer.header("Allow"), self.word(answer)), (405, "POST", None))

    def test_step_2_chunked_comes_before_the_token(self):
        answer = self.push(chunked=True, omit=["Authorization"])
        self.assertEqual(answer.status, 400)
        self.sim.do("wns.set", chunked_status=411)
        self.assertEqual(self.push(chunked=True).status, 411)
        self.sim.do("wns.set", chunked_status=400)

    def test_step_3_and_4_the_token_comes_before_the_channel(self):
        for changes in ({"omit": ["Authorization"]}, {"headers": {"Authorization": "Basic QTpC"}}, {"headers": {"Authorization": "Bearer"}},
                        {"bearer": "a b"}, {"bearer": "never-issued"}):
            answer = self.push(target="/?token=unknown", **changes)
            self.assertEqual((answer.status, answer.header("WWW-Authenticate"), self.word(answer)), (401, "Bearer", "dropped"), changes)

    def test_step_5_any_other_octet_is_another_channel(self):
        for target in (self.uri[30:] + "x", self.uri[self.uri.index("/?"):].replace("%3d", "%3D"), "/", self.uri[self.uri.index("/?"):] + "&a=b"):
            answer = self.push(target=target, headers={"X-WNS-Type": "nonsense"})
            self.assertEqual((answer.status, self.word(answer)), (404, None), target)
            self.assertIsNotNone(answer.header("X-WNS-Msg-ID"))
            self.assertIsNotNone(answer.header("X-WNS-Debug-Trace"))

    def test_step_5_a_channel_belongs_to_its_host(self):
        self.assertEqual(self.push(uri=self.uri.replace("wns2-sim1p", "wns2-sim9p")).status, 404)

    def test_step_6_a_blocked_sender_is_told_so_before_the_channel_is_looked_at(self):
        self.sim.do("wns.channel.revoke", device=self.name)
        self.sim.do("wns.app", pfn=SAMPLE_PFN, blocked=True)
        answer = self.push()
        self.sim.do("wns.app", pfn=SAMPLE_PFN, blocked=False)
        self.assertEqual((answer.status, answer.reason, self.word(answer)), (410, "Domain Blocked", "dropped"))

    def test_step_7_revoked_and_expired_channels(self):
        self.sim.do("wns.channel.expire", device=self.name)
        answer = self.push(bearer=token(self.sim, self.sim.app_of(OTHER)))
        self.assertEqual((answer.status, answer.reason, self.word(answer)), (410, "Gone", "dropped"))
        self.sim.do("wns.channel.revoke", device=self.name)
        self.assertEqual((self.push().status, self.word(self.push())), (410, "revoked"))

    def test_step_8_another_apps_token(self):
        answer = self.push(bearer=token(self.sim, self.sim.app_of(OTHER)), headers={"X-WNS-Type": "nonsense"})
        self.assertEqual((answer.status, self.word(answer), self.why()), (403, "dropped", "app_mismatch"))

    def test_step_9_every_header_rule(self):
        bad = [{"X-WNS-Type": None}, {"X-WNS-Type": "wns/raw "}, {"X-WNS-Type": "raw"}, {"X-WNS-Type": "WNS/RAW"}, {"Content-Type": "text/xml"},
               {"Content-Type": None}, {"X-WNS-Type": "wns/toast"}, {"X-WNS-Cache-Policy": "Cache"}, {"X-WNS-Cache-Policy": ""},
               {"X-WNS-TTL": "-1"}, {"X-WNS-TTL": "1.5"}, {"X-WNS-TTL": ""}, {"X-WNS-TTL": "0"}, {"X-WNS-TTL": "0", "X-WNS-Cache-Policy": None},
               {"X-WNS-Group": "g"}, {"X-WNS-SuppressPopup": "true"}, {"X-WNS-Match": "m"}, {"X-WNS-Tag": "a" * 17}, {"X-WNS-Tag": "a b"},
               {"X-WNS-PRIORITY": "0"}, {"X-WNS-PRIORITY": "5"}, {"X-WNS-PRIORITY": "high"}]
        for headers in bad:
            if headers == {"X-WNS-Type": "wns/raw "}:
                continue  # HTTP trims it
            answer = self.push(headers=headers, body=b"")
            self.assertEqual((answer.status, self.word(answer), self.why()), (400, "dropped", "headers"), headers)
            self.assertTrue(answer.header("X-WNS-Error-Description"), headers)
        conflict = self.push(headers={"X-WNS-TTL": "0"})
        self.assertEqual(conflict.header("X-WNS-Error-Description"), "Ttl value conflicts with X-WNS-Cache-Policy.")
        good = [{"X-WNS-TTL": "0", "X-WNS-Cache-Policy": "no-cache"}, {"X-WNS-PRIORITY": "1"}, {"x-wns-priority": "4"}, {"X-WNS-TTL": None},
                {"X-WNS-Tag": "a" * 16}, {"X-WNS-Type": "wns/toast", "Content-Type": "text/xml"}]
        for headers in good:
            self.assertEqual(self.push(headers=headers).status, 200, headers)

    def test_step_10_and_11_body_edges(self):
        self.assertEqual([self.push(body=b"").status, self.push(body=b"x").status, self.push(body=b"x" * 5000).status, self.push(body=b"x" * 5001).status,
                          self.push(body=b"x" * 100_000).status], [400, 200, 200, 413, 413])

    def test_step_12_a_throttled_app_waits_and_is_let_in_again(self):
        self.sim.do("wns.throttle.app", pfn=SAMPLE_PFN, status=406, retry_after=900)
        first = self.push()
        self.assertEqual((first.status, first.header("Retry-After"), self.word(first)), (406, "900", "appthrottled"))
        self.sim.do("clock.advance", s=300)
        early = self.push()
        self.assertEqual((early.status, early.header("Retry-After")), (406, "600"))
        self.assertEqual(self.sim.app_of(SAMPLE_PFN)["early_pushes"], 1)
        self.sim.do("clock.advance", s=600)
        self.assertEqual(self.push().status, 200)

    def test_step_12_a_rate_limit_counts(self):
        self.sim.do("wns.throttle.app", pfn=SAMPLE_PFN, status=429, retry_after=30, limit=2, window_s=60)
        self.assertEqual([self.push().status for _ in range(3)], [200, 200, 429])
        self.sim.do("wns.throttle.app", pfn=SAMPLE_PFN, off=True)
        self.assertEqual(self.push().status, 200)

    def test_step_13_a_throttled_channel_alone_waits(self):
        self.sim.do("wns.throttle.channel", device=self.name, limit=1, window_s=600)
        self.assertEqual([self.word(self.push()), self.word(self.push())], ["received", "channelthrottled"])
        self.assertEqual(self.push().status, 200)
        self.assertEqual(len(self.deliveries()), 1)
        self.sim.do("clock.advance", s=600)
        self.assertEqual(self.word(self.push()), "received")

    def test_steps_14_to_16_connected_cached_dropped(self):
        self.assertEqual(self.word(self.push()), "received")
        self.assertEqual(len(self.deliveries()), 1)
        self.issue(connected=False)
        cached = self.push()
        self.assertEqual((self.word(cached), cached.header("X-WNS-DeviceConnectionStatus")), ("received", "disconnected"))
        dropped = self.push(omit=["X-WNS-Cache-Policy"])
        self.assertEqual((self.word(dropped), dropped.header("X-WNS-DeviceConnectionStatus")), ("dropped", "disconnected"))
        self.assertEqual(self.word(self.push(headers={"X-WNS-Cache-Policy": "no-cache"})), "dropped")
        self.assertEqual(len(self.deliveries()), 1)

    def test_s10_one_slot_delivered_once_inside_its_time(self):
        self.issue(connected=False)
        ids = [self.push(body=b"%d" % i).header("X-WNS-Msg-ID") for i in range(3)]
        self.issue(connected=True)
        self.assertEqual([(d["message_id"], d["from_cache"]) for d in self.deliveries()], [(ids[2], True)])
        self.issue(connected=False)
        self.issue(connected=True)
        self.assertEqual(len(self.deliveries()), 1)

    def test_s10_a_cached_push_dies_with_its_ttl(self):
        self.issue(connected=False)
        self.push(headers={"X-WNS-TTL": "3600"})
        self.sim.do("clock.advance", s=3600)
        self.issue(connected=True)
        self.assertEqual(self.deliveries(), [])
        self.issue(connected=False)
        self.push(headers={"X-WNS-TTL": "3600"})
        self.sim.do("clock.advance", s=3599)
        self.issue(connected=True)
        self.assertEqual(len(self.deliveries()), 1)

    def test_s10_without_a_ttl_it_is_kept_three_days(self):
        self.issue(connected=False)
        self.push(omit=["X-WNS-TTL"])
        self.sim.do("clock.advance", hours=71)
        self.issue(connected=True)
        self.assertEqual(len(self.deliveries()), 1)
        self.issue(connected=False)
        self.push(omit=["X-WNS-TTL"], bearer=token(self.sim))
        self.sim.do("clock.advance", hours=72)
        self.issue(connected=True)
        self.assertEqual(len(self.deliveries()), 1)

    def test_s11_a_channel_lives_thirty_days_and_is_the_same_until_half_of_them(self):
        self.assertEqual(self.issue(), self.uri)
        self.sim.do("clock.advance", days=14.9)
        self.assertEqual(self.issue(), self.uri)
        self.sim.do("clock.advance", days=0.2)
        new = self.issue()
        self.assertNotEqual(new, self.uri)
        fresh = token(self.sim)
        self.assertEqual([self.push(bearer=fresh).status, self.push(uri=new, bearer=fresh).status], [200, 200])
        self.sim.do("clock.advance", days=14.9)
        fresh = token(self.sim)
        self.assertEqual([self.push(bearer=fresh).status, self.push(uri=new, bearer=fresh).status], [410, 200])

    def test_s12_a_pipelined_second_request_ends_the_connection(self):
        with Line(self.sim, HOST) as line:
            one = push_request(self.uri, self.token)
            line.send(one + one)
            self.assertEqual(line.read().status, 200)
            self.assertTrue(line.at_end())
        self.assertEqual(len(self.deliveries()), 1)
        self.assertGreater(self.sim.get("/counters")["connections"]["pipelined"], 0)

    def test_requests_one_after_another_share_a_connection(self):
        with Line(self.sim, HOST) as line:
            self.assertEqual([push(self.sim, self.uri, self.token, line=line).status for _ in range(5)], [200] * 5)
        last = self.sim.requests("push")[-5:]
        self.assertEqual([r["nth"] for r in last], [1, 2, 3, 4, 5])
        self.assertEqual(len({r["connection"] for r in last}), 1)

    def test_s13_expect_100_costs_simulated_time(self):
        request = push_request(self.uri, self.token, headers={"Expect": "100-continue"})
        head, body = request.split(b"\r\n\r\n", 1)
        with Line(self.sim, HOST) as line:
            before = self.sim.get("/clock")["now_ms"]
            line.send(head + b"\r\n\r\n")
            line.tls.settimeout(0.1)
            while b"100 Continue" not in line.buffer:  # comes after three simulated seconds
                self.sim.do("clock.advance", s=1)
                with contextlib.suppress(TimeoutError):
                    line._more()
            line.tls.settimeout(30)
            line.send(body)
            answer = line.read()
            self.assertEqual((answer.interim, answer.status), ([100], 200))
            self.assertGreaterEqual(self.sim.get("/clock")["now_ms"] - before, 3000)
        self.assertIn("Expect costs a round trip (5)", self.sim.requests("push")[-1]["warnings"])

    def test_s14_counters_by_app_channel_token_and_connection(self):
        self.push()
        self.push(body=b"")
        counters = self.sim.get("/counters")
        mine = [c for c in counters["channels"].values() if c["device"] == self.name]
        self.assertEqual([(c["pushes"], c["deliveries"]) for c in mine], [({"200 received": 1, "400 dropped": 1}, 1)])
        self.assertGreaterEqual(counters["apps"][SAMPLE_PFN]["pushes"]["400 dropped"], 1)
        self.assertIn(2, [t["pushes"] for t in counters["tokens"].values()])
        self.assertGreater(counters["connections"]["by_name"][HOST], 0)

    def test_either_status_header_may_be_left_out(self):
        self.sim.do("wns.set", status_headers="legacy")
        old = self.push()
        self.sim.do("wns.set", status_headers="new")
        new = self.push()
        self.sim.do("wns.set", status_headers="both")
        self.assertEqual([old.header("X-WNS-Status"), old.header("X-WNS-NotificationStatus")], [None, "received"])
        self.assertEqual([new.header("X-WNS-Status"), new.header("X-WNS-NotificationStatus")], ["received", None])

    def test_faults_answer_as_told(self):
        def after(**fault):
            self.sim.do("wns.fault", **fault)
            return self.push()

        redirect = after(push_status=302, location="https://attacker.example/")
        self.assertEqual((redirect.status, redirect.header("Location")), (302, "https://attacker.example/"))
        odd = after(push_status=200, word="-", headers={"X-WNS-Status": "weird"})
        self.assertEqual((odd.status, odd.header("X-WNS-Status"), odd.header("X-WNS-NotificationStatus")), (200, "weird", None))
        self.assertEqual(after(push_status=503, retry_after=7).header("Retry-After"), "7")
        for kind in ("close", "cut", "garbage"):
            with self.assertRaises((EOFError, ConnectionError, ValueError, IndexError), msg=kind):
                after(kind=kind)
        self.assertEqual(self.push().status, 200)

    def test_a_fault_keeps_to_its_host(self):
        other = self.sim.do("wns.channel.issue", pfn=SAMPLE_PFN, device=self.name + "x", host="db5")["uri"]
        self.sim.do("wns.fault", push_status=503, host="db5.notify.windows.com", always=True)
        self.assertEqual([self.push().status, self.push(uri=other).status, self.push(uri=other).status], [200, 503, 503])

    def test_a_host_that_does_not_answer_keeps_the_others_alive(self):
        self.sim.do("wns.fault", host="db5.notify.windows.com", connect_timeout=True)
        with self.assertRaises(OSError):
            Line(self.sim, "db5.notify.windows.com", timeout=0.5)
        self.assertEqual(self.push().status, 200)
        self.assertGreater(self.sim.get("/counters")["connections"]["black_holed"], 0)

    def test_evidence_has_the_exact_octets(self):
        self.push(headers={"X-wEiRd": "  kept  "})
        number = self.sim.requests("push")[-1]["number"]
        kept = (self.sim.folder / "wns-requests" / f"{number:06d}-request.http").read_bytes()
        self.assertEqual(kept, push_request(self.uri, self.token, headers={"X-wEiRd": "  kept  "}))
        answer = (self.sim.folder / "wns-requests" / f"{number:06d}-answer.http").read_bytes()
        self.assertTrue(re.match(rb"HTTP/1\.1 200 OK\r\nX-WNS-NOTIFICATIONSTATUS: received\r\n", answer))

    def test_what_no_careful_sender_does_is_a_warning(self):
        self.push(headers={"MS-CV": "short.0", "X-WNS-TTL": "5", "Host": "notify.windows.com", "X-WNS-Tag": "t"})
        self.assertEqual(len(self.sim.requests("push")[-1]["warnings"]), 4)
        self.push()
        self.assertEqual(self.sim.requests("push")[-1]["warnings"], [])


if __name__ == "__main__":
    unittest.main()
