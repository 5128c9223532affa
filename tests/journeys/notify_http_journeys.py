"""Client notification over HTTP: taken when TCP does not go, left when it goes again, and what each fault on the way comes to."""

import json
import os
import subprocess
import unittest

from estate import BIN, ROOT, estate

LONG = 86_400_000  # ms: until the journey says otherwise


def online(world, agent):
    """What the notification server knows of the agent's client; {} before it ever came."""
    try:
        return world.site.get(f"/notify/clients/{agent['site']['sms_id']}")
    except Exception:
        return {}


def open_gateway(world, mode="fallback", agents="", **more):
    """A gateway that takes the HTTP mode in seconds where a real one takes minutes; `agents`: lines for [agents]."""
    given = {"http": mode, "http_urls": [f"127.0.0.1:{world.ports['notify_port']}=https://127.0.0.1:{world.ports['notify_http_port']}"],
             "connect_timeout": "5s", "backoff_cap": "2s", "tick": "100ms", "tcp_retry": "1h", **more}
    world.start_gateway(extra=agents, bgb="".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))


def tcp(world, up):
    """The port of TCP, dead or alive."""
    world.site.ask("POST", "/notify/restart", {"side": "tcp", "down_ms": 0 if up else LONG})


def fault(world, name, **more):
    world.site.ask("POST", "/notify/faults", {"fault": name, **more})


def faults_left(world):
    return sum(max(rule["count_left"], 0) for rule in world.site.get("/notify/faults")["faults"])


def by(world, agent, channel):
    """Signed in on this channel: 0 TCP, 1 HTTP."""
    known = online(world, agent)
    return known.get("connected") and known.get("ChannelType") == channel


def push(world, agent):
    """The site's button, and its answer."""
    sms_id = agent["site"]["sms_id"]
    made = world.site.ask("POST", "/notify/push", {"clients": [sms_id]})["push_id"]

    def answered():
        one = world.site.get(f"/notify/pushes/{made}")["clients"][0]
        return one if one["state"] == "answered" else None

    return world.wait(f"the answer to push {made}", answered)


def calls(world):
    text = (world.folder / "site" / "notify" / "http.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


class NotifyOverHttp(unittest.TestCase):
    def in_http(self, world, **more):
        """An agent whose session came by HTTP, because TCP is dead."""
        tcp(world, False)
        open_gateway(world, **more)
        agent = world.enrol_agent()
        world.wait("a session by HTTP", lambda: by(world, agent, 1))
        return agent

    def clean(self, world):
        self.assertEqual(world.site.get("/notify/violations")["by_code"], {}, "the server found nothing wrong")

    def test_tcp_dead_then_http_then_tcp_again_and_every_push_is_answered(self):
        with estate() as world:
            world.start_site()
            agent = self.in_http(world, tcp_retry="1s")
            self.assertEqual(push(world, agent)["return_code"], 1)
            self.assertEqual(world.metric("greengate_bgb_http_sessions"), 1)
            self.assertGreaterEqual(world.metric("greengate_bgb_http_events_total", event="fallback"), 1)
            signed_in = online(world, agent)["sign_ins"]
            report = world.site.ask("POST", "/notify/report", {})
            self.assertGreater(report["version"], 0)
            lines = (world.folder / "site" / "notify" / "reports.jsonl").read_text().splitlines()
            self.assertIn(1, [json.loads(line).get("HTTP") for line in lines], "the server counts it as an HTTP client")

            tcp(world, True)
            world.wait("the session to be back on TCP", lambda: by(world, agent, 0))
            self.assertEqual(online(world, agent)["sign_ins"], signed_in + 1, "one sign-in more, not a storm of them")
            self.assertEqual(world.metric("greengate_bgb_http_events_total", event="back_to_tcp"), 1)
            self.assertEqual(push(world, agent)["return_code"], 1)
            world.wait("nothing left of HTTP", lambda: world.metric("greengate_bgb_http_sessions") == 0)
            self.clean(world)
            text = world.log_of("greengate")
            self.assertNotIn("BgbSession", text, "no cookie is ever logged")

    def test_off_is_off_and_only_is_only(self):
        with estate() as world:
            world.start_site()
            tcp(world, False)
            open_gateway(world, "off")
            agent = world.enrol_agent()
            world.wait("some attempts", lambda: world.metric("greengate_bgb_session_ends_total", code="bgb.connect") >= 2)
            self.assertEqual(calls(world), [], "not one request went to HTTP")
            world.kill("gateway")
            tcp(world, True)
            open_gateway(world, "only")
            world.wait("a session by HTTP though TCP is there", lambda: by(world, agent, 1))
            self.assertEqual(push(world, agent)["return_code"], 1)
            self.clean(world)

    def test_401_and_403_are_refused_sign_ins_and_three_raise_the_alarm(self):
        with estate() as world:
            world.start_site()
            fault(world, "http-status", status=401, on="http-signin", count=2)
            fault(world, "http-status", status=403, on="http-signin", count=1)
            agent = self.in_http(world)
            self.assertEqual(faults_left(world), 0)
            self.assertEqual(world.metric("greengate_bgb_alarms_total", alarm="signin_refused"), 1)
            self.assertEqual(world.metric("greengate_bgb_session_ends_total", code="bgb.http_refused"), 3)
            self.assertEqual(push(world, agent)["return_code"], 1)

    def test_404_and_500_keep_everybody_from_this_servers_http_mode_for_a_while(self):
        for status in (404, 500):
            with self.subTest(status=status), estate() as world:
                world.start_site()
                fault(world, "http-status", status=status, on="http-signin", count=1)
                tcp(world, False)
                open_gateway(world)
                agent = world.enrol_agent()
                world.wait("the broken mode", lambda: world.metric("greengate_bgb_session_ends_total", code="bgb.http_broken") >= 1)
                tries = world.metric("greengate_bgb_session_ends_total", code="bgb.connect")
                world.wait("TCP to be tried on", lambda: world.metric("greengate_bgb_session_ends_total", code="bgb.connect") >= tries + 2)
                self.assertEqual(len(calls(world)), 1, "HTTP is asked once and left alone")
                self.assertEqual(world.metric("greengate_bgb_alarms_total", alarm="signin_refused"), 0)
                tcp(world, True)
                world.wait("the session by TCP", lambda: by(world, agent, 0))

    def test_after_its_hour_a_broken_http_mode_is_tried_again(self):
        with estate() as world:
            world.start_site()
            fault(world, "http-status", status=404, on="http-signin", count=1)
            agent = self.in_http(world, http_broken="2s")
            statuses = [call["status"] for call in calls(world) if call["request_type"] == "LogIn"]
            self.assertEqual(statuses[:2], [404, 200])
            self.assertEqual(push(world, agent)["return_code"], 1)

    def test_407_and_503_refuse_nobody_and_503_is_given_its_time(self):
        with estate() as world:
            world.start_site()
            fault(world, "http-status", status=407, on="http-signin", count=1)
            fault(world, "http-status", status=503, retry_after_s=3, on="http-signin", count=3)
            agent = self.in_http(world)
            logins = [call for call in calls(world) if call["request_type"] == "LogIn"]
            self.assertEqual([call["status"] for call in logins], [407, 503, 503, 503, 200])
            for earlier, later in zip(logins[1:], logins[2:]):
                self.assertGreaterEqual(later["at"] - earlier["at"], 2900, "Retry-After was honoured")
            self.assertEqual(world.metric("greengate_bgb_alarms_total", alarm="signin_refused"), 0)
            self.assertEqual(push(world, agent)["return_code"], 1)

    def test_503_in_the_middle_of_a_session_is_waited_out(self):
        with estate() as world:
            world.start_site()
            fault(world, "http-status", status=503, retry_after_s=2, on="http-receive", count=2)
            agent = self.in_http(world)
            self.assertEqual(push(world, agent)["return_code"], 1)
            self.assertEqual(online(world, agent)["sign_ins"], 1, "the session outlived it")
            self.assertEqual(world.metric("greengate_bgb_http_events_total", event="busy"), 2)

    def test_a_hang_that_is_cut_on_the_way_twice_is_counted_and_survived(self):
        # 30, 60, 100 and 230 seconds of a real middlebox are told apart on a manual clock; here the cut itself is real.
        with estate() as world:
            world.start_site()
            fault(world, "http-cut", delay_ms=2500, count=2)
            agent = self.in_http(world)
            world.wait("two cuts", lambda: world.metric("greengate_bgb_http_events_total", event="cut") >= 2)
            self.assertEqual(world.metric("greengate_bgb_http_events_total", event="middlebox"), 1)
            self.assertEqual(push(world, agent)["return_code"], 1)
            self.assertEqual(online(world, agent)["sign_ins"], 1)
            self.clean(world)

    def test_through_a_proxy_that_buffers_a_push_comes_late_and_is_answered(self):
        with estate() as world:
            world.start_site()
            fault(world, "http-buffer", delay_ms=1500, count=1)
            agent = self.in_http(world)
            answer = push(world, agent)
            self.assertEqual(answer["return_code"], 1)
            self.assertGreaterEqual(answer["round_trip_ms"], 1400)

    def test_a_server_that_lost_its_sessions_is_signed_in_to_again(self):
        with estate() as world:
            world.start_site()
            agent = self.in_http(world)
            world.site.ask("POST", "/notify/restart", {"side": "http", "down_ms": 500})
            world.wait("the session to be back", lambda: by(world, agent, 1) and online(world, agent)["sign_ins"] >= 2)
            self.assertEqual(push(world, agent)["return_code"], 1)
            self.clean(world)

    def test_a_session_by_http_ends_with_its_agent(self):
        with estate() as world:
            world.start_site()
            # An agent that died is missed after three silent pings.
            agent = self.in_http(world, agents='ping_interval = "2s"\n')
            world.kill("agent")
            world.wait("no session left at the gateway", lambda: world.metric("greengate_bgb_http_sessions") == 0)


class Calibration(unittest.TestCase):
    def test_a_layout_is_solved_from_a_real_client_and_then_spoken(self):
        """The gateway itself is the client that is captured; the profile it is given afterwards is what was solved."""
        with estate() as world:
            world.start_site()
            out = world.folder / "captured.json"
            calibrating = subprocess.Popen([BIN / "greengate-sim", "notify", "--calibrate", "--dir", world.folder / "lab", "--profile-out", out,
                                            "--profile-name", "lab", "--calibrate-wait", "90"], stdout=subprocess.PIPE)
            self.addCleanup(calibrating.wait, 100)
            with calibrating.stdout as lines:
                port = json.loads(lines.readline())["notify_port"]
                world.ports["notify_port"], given = port, world.ports["notify_port"]
                certificate = world.folder / "site" / "notify" / "server-certificate.pem"
                world.start_gateway(bgb=f'keepalive = "300ms"\nprofile = "{ROOT}/deploy/bgb-profiles/C.json"\nserver_check = "none-lab-only"\n')
                world.enrol_agent()
                said = json.loads(lines.readline())
            self.assertTrue(certificate.exists())
            self.assertEqual((said["row"], said["messages"], said["open"]), ("C", 2, []))
            profile = json.loads(out.read_text())
            self.assertEqual({value["basis"] for key, value in profile["frame"].items() if key != "type_numbers"}, {"captured"})
            frames = (world.folder / "captured.frames.json").read_text()
            self.assertIn("GUID:00000000-0000-4000-8000-000000000001", frames)
            for agent in world.agents():
                self.assertNotIn(agent["site"]["sms_id"].encode("utf-16le").hex().upper(), frames, "no real SMSID is kept")

            world.kill("gateway")
            world.kill("site")
            world.ports["notify_port"] = given
            (world.folder / "layout.json").write_text(json.dumps({"profile": "C"}))
            world.start_site("--notify-config", world.folder / "layout.json")
            world.start_gateway(bgb=f'profile = "{out}"\n')
            agent = world.wait("the agent at the site", lambda: next(iter(world.agents()), None))
            world.wait("a session in the solved layout", lambda: by(world, agent, 0))
            self.assertEqual(push(world, agent)["return_code"], 1)


if __name__ == "__main__":
    assert os.path.isdir(BIN), BIN
    unittest.main()
