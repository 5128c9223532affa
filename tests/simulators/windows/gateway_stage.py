"""The scenarios with the real gateway: what `gw.*`, `dm.*` and the expectations of a gateway mean there.

The simulator's clock runs with real time and jumps by what a scenario says. The gateway's cannot jump: where it must see hours or days pass, its own settings are
made smaller by SCALE (a simulated second is 1/SCALE of a real one for it), Retry-After included, and the jump is followed by that much real time.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
import sys
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "journeys"), str(ROOT / "deploy")]

import windows_journeys  # noqa: E402
from estate import Estate  # noqa: E402

from wns_scenarios import LeftOut, Stage, equal, pfn_of  # noqa: E402

TASKS = {"defender_quick_scan": "quick_scan", "reboot": "restart"}
PATIENCE_S = 30

# Lines of [wns] for one scenario; what it says in hours or days, divided by SCALE.
SETTINGS = {
    "secret_rotated": 'secrets_check = "1s"\n',
    "offline_cached": 'ttl_min = "1s"\n',
    "offline_ttl_passed": 'ttl_min = "1s"\n',
    "accepted_but_no_session": 'confirm_after = ["1s", "2s", "4s"]\nattributed_within = "1s"\n',
    "host_outage": 'tls_timeout = "300ms"\nconnect_timeout = "300ms"\n',
    "stampede": 'sessions_per_second = 20\n',
    "renewal_stuck_1511": 'channel_renew_due = "4s"\nchannel_replace_age = "6s"\nchannel_life = "30s"\n',
    "off_40_days": 'channel_renew_due = "4s"\nchannel_replace_age = "6s"\nchannel_life = "7s"\n',
}
# Lines of [mdm].
# A device whose weeks pass in seconds has all its polls in them; a 429 there would wait for a Retry-After of a clock that stands still.
MDM_SETTINGS = {"stampede": 'sessions_per_second = 20\nretry_after = "1s"\n', "renewal_stuck_1511": "sessions_per_second = 1000\n",
                "off_40_days": "sessions_per_second = 1000\n"}
# These ask for the PFN anew as soon as a second has passed; for the others it stays a minute.
PFN_AT_ONCE = ("pfn_replace_500", "renewal_stuck_1511", "off_40_days")
SCALE = {"app_throttled_406": 100, "app_throttled_429": 10, "accepted_but_no_session": 720, "renewal_stuck_1511": 360_000, "off_40_days": 432_000}
# Devices of a scenario are fewer here: one small machine runs both sides.
MANY = {200: 60, 100: 40, 500: 40, 5000: 120, 10: 10}
OTHER_APP = {"entra_flavour": ("p3", "d3", {"auth": "entra"}), "endpoint_closed_for_new_clients": ("p4", "d4", {"auth": "legacy", "closed": True})}
LEFT_OUT = {
    "pfn_add_418": "the gateway never begins with Add; the simulator's 418 is shown without it",
}


class GatewayStage(Stage):
    def __init__(self, name):
        super().__init__()
        self.name, self.scale = name, SCALE.get(name, 0)
        self.world = Estate()
        shutil.rmtree(self.folder)
        self.folder = self.world.folder
        self.agents, self.queued = {}, {}
        self.refused_at, self.waited, self.woken = None, 0, False
        try:
            # Nothing is lost when the one without a service is killed.
            start, kill = self.world.start_gateway, self.world.kill
            spacing = "1s" if name in PFN_AT_ONCE else "1min"
            self.world.start_gateway = lambda more="", **rest: start(more=more.replace('pfn_spacing = "1min"', f'pfn_spacing = "{spacing}"'), **rest)
            self.world.kill = lambda one, number=9: kill(one, 9)
            self.site = windows_journeys.Simulated(self.world, SETTINGS.get(name, ""), MDM_SETTINGS.get(name, ""))
            self.sim = types.SimpleNamespace(ready=self.site.ready, do=self.site.do, get=self.site.get, close=lambda: 0,
                                             device=lambda d: self.site.get(f"/devices/{d}"),
                                             sessions=lambda d: self.site.get(f"/devices/{d}/sessions")["sessions"],
                                             requests=self.requests, app_of=self.app_of)
            self.app = self.sim.get("/apps")["apps"][0]
            if name in OTHER_APP:
                self.change_app(*OTHER_APP[name])
            else:
                self.enrol("d1")
                if name == "channel_throttled":
                    self.enrol("d2")
            if name == "token_expired_storm":  # there is a token to expire
                self.order(["d1"], "machine_policy")
                self.until("the first push", lambda: self.sim.requests("push"))
            self.note()
        except BaseException:
            self.world.close(keep=True)
            raise

    @classmethod
    def make(cls, name):
        return LEFT_OUT[name] if name in LEFT_OUT else cls(name)

    def close(self):
        self.world.close(keep=self.keep)

    # Helpers.
    def requests(self, kind=None, since=0):
        return [r for r in self.site.get(f"/requests?since={since}")["requests"] if kind in (None, r["kind"])]

    def app_of(self, pfn):
        """The device's own, or another that the scenario made."""
        return self.app if pfn == pfn_of("p1") else next(a for a in self.sim.get("/apps")["apps"] if a["pfn"] == pfn)

    def note(self):
        """From here on things are new."""
        self.request_mark = self.site.get("/requests?since=999999999")["last"]
        self.connects_mark = self.sim.get("/counters")["connections"]["by_name"]
        self.marks = {d["name"]: d["sessions"]["count"] for d in self.sim.get("/devices")["devices"]}

    def until(self, what, probe, patience_s=PATIENCE_S):
        return self.world.wait(what, probe, patience_s)

    def first_refusal(self):
        """Waits for it and for those on their way; how many there were."""
        self.until("a push", self.pushes)
        self.refused_at = time.monotonic()
        time.sleep(1)
        refused = len(self.pushes())
        self.note()
        return refused

    def enrol(self, name):
        self.agents[name] = self.site.enrol(name)
        self.uris[name] = self.sim.device(name)["channel_uri"]

    def enrol_many(self, count, host="wns2-sim1p"):
        names = [f"w{i}" for i in range(1, MANY.get(count, count) + 1)]
        self.sim.do("device.enroll", devices=len(names), prefix="w", session=False, host=host)
        self.site.write_table()
        known = self.until("the devices to be listed", lambda: (lambda all_: all_ if len(all_) >= len(names) else None)(
            {a["host_name"]: a for a in self.world.agents() if a["host_name"] in names and a["state"] == "active"}), 60)
        self.agents.update(known)
        for name in names:
            self.sim.do("device.session", device=name)
        for name in names:
            self.until(f"the channel of {name}", lambda name=name: self.about(name)["channel"] == "active")
        self.note()
        return names

    def change_app(self, alias, device, members):
        pfn = f"greengate.{alias}_0ab1cd2ef3gh4"
        self.sim.do("wns.app", pfn=pfn, **members)
        new = next(a for a in self.sim.get("/apps")["apps"] if a["pfn"] == pfn)
        secret = self.site.windows.folder / "other-secret"
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(new["client_secret"] + "\n")
        text, wns = self.site.more, self.sim.ready["wns_port"]
        text = text[:text.index("[[wns.app]]")] + (f'[[wns.app]]\npfn = "{pfn}"\nauth = "{new["auth"]}"\nclient_id = "{new["client_id"]}"\nsecret_files = ["{secret}"]\n'
                                                    + (f'tenant = "{new["tenant"]}"\n' if new["tenant"] else ""))
        text = text.replace('"login.live.com=', f'"login.microsoftonline.com=127.0.0.1:{wns}", "login.live.com=')
        self.world.kill("gateway", 15)
        self.world.start_gateway(more=text)
        self.app = new
        self.enrol(device)

    def about(self, name):
        return self.site.about(self.agents[name])

    def order(self, names, task, **options):
        more = [x for key, value in options.items() for x in (f"--{key}", str(value))]
        return self.world.control("notify", "send", "--task", task, "--agents", ",".join(self.agents[n]["id"] for n in names), *more)

    # Verbs.
    def do_wns_app(self, pfn, **members):
        pass  # done before the gateway was started

    def forward(self, verb, members):
        members.pop("pfn", None)
        if verb.startswith("wns.app.") or verb == "wns.throttle.app":
            members["pfn"] = self.app["pfn"]
        if self.scale and "retry_after" in members:
            members["retry_after"] //= self.scale
        answer = self.sim.do(verb, **members)
        if verb == "wns.throttle.channel":
            self.note()
        return answer

    def do_clock_advance(self, **how):
        if self.woken:  # the push leaves before the time passes
            with contextlib.suppress(Exception):
                self.until("the push", self.pushes, 10)
            self.woken = False
        begun = time.monotonic()
        if self.name.startswith("app_throttled"):
            # Counted from the first refusal, as the gateway does; a little less, so that we look before it tries.
            if self.refused_at is None:
                self.first_refusal()
            begun = self.refused_at
            self.waited += sum(how.values()) / self.scale * 0.95
        before = self.sim.get("/clock")["now_ms"]
        self.sim.do("clock.advance", **how)
        if self.scale:
            real = self.waited or (self.sim.get("/clock")["now_ms"] - before) / 1000 / self.scale
            time.sleep(max(0, real - (time.monotonic() - begun)))

    def do_device_report_channel(self, device, uri):
        self.sim.do("device.report_channel", device=device, uri=uri)
        self.until("the channel to be judged", lambda: self.about(device)["channel"] != "active")
        self.note()

    def do_device_session(self, device, channel=None):
        self.mark(device)
        if channel == "same":  # the device keeps telling the old one, whatever is set in this session
            self.sim.do("device.report_channel", device=device, uri=self.sim.device(device)["channel_uri"], session=False)
        self.last_session = self.sim.do("device.session", device=device, **({"channel": "new"} if channel == "new" else {}))["session"]
        if channel == "same":
            self.sim.do("device.report_channel", device=device, uri="", session=False)

    def do_device_session_open(self, device):
        self.sim.do("device.session.open", device=device)

    def do_device_reenroll(self, device):
        self.sim.do("device.reenroll", device=device)
        self.site.write_table()
        time.sleep(1)  # enrolments_check is 200 ms here

    def do_dm_queue(self, device, command):
        self.queued.setdefault(device, []).append(TASKS[command])

    def do_dm_set_pfn(self, device, verb="Replace"):
        # It is set when there is a reason: here the channel ended.
        self.sim.do("wns.channel.expire", device=device)
        self.order([device], "machine_policy")
        self.until("the channel to be dead", lambda: self.about(device)["channel"] == "dead")
        for _ in range(6):
            self.do_device_session(device)
            time.sleep(1.1)  # pfn_spacing here

    def do_dm_read_channel(self, device):
        self.do_device_session(device)  # every session reads it

    def do_gw_set_secret(self, pfn):
        secret = self.site.windows.folder / "wns-secret"
        secret.write_text(next(a for a in self.sim.get("/apps")["apps"] if a["pfn"] == self.app["pfn"])["client_secret"] + "\n")
        self.note()

    def do_gw_wake(self, device=None, devices=None, devices_on_host=None, times=1, within_s=None, apart_s=None, ttl=None, urgency=None, parallel=False,
                   dm_capacity_per_s=None, faults=None):
        options = {"ttl": f"{ttl}s"} if ttl else {}
        if device is None:
            names = self.enrol_many(devices or devices_on_host)
            if self.name == "token_expired_storm":
                self.sim.do("wns.token.invalidate")
            if faults:
                return self.every_outcome(names)
            return self.order(names, "machine_policy", **options)
        self.note()
        self.woken = True
        if within_s is not None or self.name == "channel_throttled":
            self.sim.do("device.set", device=device, queue_mode=True)  # its session is five minutes away
        task = "quick_scan" if urgency == "urgent" else "machine_policy"
        for number in range(times):
            if number and apart_s:
                self.until("the first push", lambda: self.pushes(device))
                self.sim.do("device.session", device=device)  # the first wake is over
                time.sleep(1.2)                               # push_spacing here
            for one in self.queued.pop(device, [task]):
                self.order([device], one, **options)
        return None

    def do_wns_fault(self, **members):
        members.pop("pfn", None)
        self.sim.do("wns.fault", **members)

    def every_outcome(self, names):
        outcomes = [{"push_status": s} for s in (400, 401, 403, 404, 406, 410, 413, 500, 503)] + [{"kind": "close"}]
        for name, fault in zip(names, outcomes):
            self.sim.do("wns.fault", device=name, **fault)
        self.order(names, "machine_policy")
        self.until("pushes", lambda: len(self.pushes()) >= len(names) // 2)

    # Expectations.
    def do_expect_push(self, status=None, status_header=None, device_status=None, count=None, max=None, max_after_first_406=None, new=None, headers=None,
                       body_octets=None, max_attempts_per_wake=None, rate_per_s_max=None):
        if self.answers and status is not None:
            return super().do_expect_push(status, status_header, device_status)
        if count:
            self.until(f"{count} pushes", lambda: len(self.pushes()) >= count)
            time.sleep(0.5)
            equal("the number of pushes", len(self.pushes()), count)
        elif count == 0:
            time.sleep(2)
            equal("the number of pushes", len(self.pushes()), 0)
        if max is not None:
            self.until("a push", self.pushes)
            assert len(self.pushes()) <= max, f"{len(self.pushes())} pushes"
        if max_after_first_406 is not None:
            refused = self.first_refusal()
            assert refused <= max_after_first_406 + 1, f"{refused} pushes"
        if new == 0:
            # One wait of the scenario may end a moment before the gateway's own.
            time.sleep(0 if self.scale else 2)
            equal("the number of new pushes", len(self.pushes()), 0)
        elif new:
            self.until("the probe", self.pushes, 20)
        last = None
        if headers or body_octets or status_header or device_status:
            last = self.until("a push", self.pushes)[-1]
        for name, value in (headers or {}).items():
            found = [p["headers"].get(name.lower()) for p in self.pushes()]
            assert value in found, f"{name} was {found}"
        if body_octets:
            assert body_octets[0] <= last["body_octets"] <= body_octets[1], last["body_octets"]
        if status_header:
            equal("the status word", last["word"], status_header)
        if device_status:
            equal("the device's status", last["device_word"], device_status)
        if max_attempts_per_wake:
            self.until("pushes", lambda: len({p["device"] for p in self.pushes()}) >= len(self.agents) - 1)
            for name in self.agents:
                assert len(self.pushes(name)) <= max_attempts_per_wake, f"{name}: {len(self.pushes(name))}"
        if rate_per_s_max:
            self.until("pushes", lambda: len({p["device"] for p in self.pushes()}) >= len(self.agents) - 1, 60)
            times = sorted(p["time_ms"] for p in self.pushes())
            allowed = 20 * rate_per_s_max / 50  # sessions_per_second here, the scenario's margin on it
            worst = [len([t for t in times if a <= t < a + 2000]) / 2 for a in times]
            assert sorted(worst)[-1] <= allowed, f"{sorted(worst)[-1]} a second over two seconds"

    def do_expect_wake(self, device="d1", state=None, reason=None, results=None, distinct_pushes=None):
        if distinct_pushes is not None:
            equal("the number of pushes", len(self.pushes(device)), distinct_pushes)
            return
        if state == "no_channel":  # no wake is begun where there is nowhere to push
            time.sleep(1)
            equal("the wake", self.wake_of(device), [None, state])
            assert self.about(device)["channel"] != "active", "there is a channel"
            state = self.wake_of(device)
        with contextlib.suppress(Exception):
            self.until(f"the wake to be {state}", lambda: self.wake_of(device) == state, 15)
        equal("the wake", self.wake_of(device), state)
        if reason == "invalid_channel":
            equal("the channel", self.about(device)["channel"], "invalid")

    def wake_of(self, device):
        """Under way, or how the last one ended: the log tells that."""
        now = self.about(device)["wake"]
        ends = re.findall(r'event="wake ended".*? state=(\w+)', self.world.log_of("greengate"))
        return now or (ends[-1] if ends else None)

    def do_expect_channel(self, device="d1", state=None, reason=None, all=None, uri=None, age_days=None):
        if all is not None:
            for name in self.agents:
                equal(f"the channel of {name}", self.about(name)["channel"], all)
            return
        if state is not None:
            with contextlib.suppress(Exception):
                self.until(f"the channel to be {state}", lambda: self.about(device)["channel"] == state, 15)
            equal("the channel", self.about(device)["channel"], state)
        if reason is not None:
            assert reason in self.about(device)["channel_why"], self.about(device)["channel_why"]
        if uri == "new":
            assert self.sim.device(device)["channel_uri"] != self.uris[device], "the URI is the old one"
        if age_days == 0:
            assert self.about(device)["channel_first_seen_at_ms"] >= self.about(device)["channel_last_read_at_ms"] - 5000

    def do_expect_app(self, state):
        def is_so():  # of any app, as each estate has the scenario's alone
            return re.search(f'greengate_wns_app_state{{[^}}]*state="{state}"}} 1', self.world.metrics())
        self.until(f"the app to be {state}", is_so, 90)  # the gateway takes stock once a minute

    def do_expect_token_requests(self, count=None, max_per_minute=None, max_per_hour=None, scope=None):
        asked = self.until("a token request", lambda: self.sim.requests("token", self.request_mark))
        time.sleep(2)
        asked = self.sim.requests("token", self.request_mark)
        if count is not None:
            equal("token requests", len(asked), count)
        for most in (max_per_minute, max_per_hour):
            assert most is None or len(asked) <= most, f"{len(asked)} token requests"
        if scope is not None:
            equal("the scope", asked[-1]["scope"], scope)

    def do_expect_outbound(self, hosts_only):
        time.sleep(1)
        names = set(self.sim.get("/counters")["connections"]["by_name"])
        strange = {n for n in names if not any(n == h or n.endswith("." + h) for h in hosts_only)}
        assert not strange, f"connections to {strange}"

    def do_expect_connects(self, max):
        host = "wns2-sim1p.notify.windows.com"
        time.sleep(5)
        made = self.sim.get("/counters")["connections"]["by_name"].get(host, 0) - self.connects_mark.get(host, 0)
        assert 0 < made <= max, f"{made} connections"

    def do_expect_dm(self, queued=None, next=None, attempts_per_day_max=None, alarm=None):
        sessions = self.sim.sessions("d1")
        writes = [c for s in sessions for c in s["commands"] if c["verb"] in ("Replace", "Add") and c["uri"].endswith("/PFN")]
        if queued == "replace_pfn":
            first = self.new_sessions("d1")[0]  # a device that renews by itself comes for that before its poll
            verbs = [c["verb"] for c in first["commands"] if c["uri"].endswith("/PFN")]
            assert "Replace" in verbs, f"the first session had {[c['verb'] for c in first['commands']]}"
        if attempts_per_day_max is not None:
            assert 0 < len(writes) <= attempts_per_day_max + 1, f"{len(writes)} writes"  # one more: the enrolment's own
        if alarm is not None:
            equal("what became of the PFN", self.about("d1")["push_registration"], ["refused_by_service", "bad_pfn"])
        if next is not None:
            raise LeftOut("expect.dm next")

    def do_expect_dm_http(self, **_):
        """Paced pushes bring no more than the server takes. So a second order, without pushes, and all devices come at once of their own accord."""
        names = [n for n in self.agents if n != "d1"]  # those that were woken

        def states():
            return self.world.control("notify", "list")["notifications"][0]["states"]
        self.until("the woken devices to be done", lambda: states() == {"done": len(names)}, 60)
        self.sim.do("wns.fault", push_status=503, always=True)
        self.order(names, "update_signatures")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.sim.do("device.session", device=name, wait=False), names))
        ends = {name: self.until(f"the end of the session of {name}", lambda name=name: (lambda last: last if last["outcome"] != "running" else None)(
            self.sim.sessions(name)[-1]), 120) for name in names}
        refused = [s for s in ends.values() if 429 in s["http"]]
        assert refused, "nobody was told to come later"
        for name, session in ends.items():
            equal(f"the end of the session of {name}", session["outcome"], "done")
            equal(f"the last answer to {name}", session["http"][-1], 200)
            assert not session["breaches"], session["breaches"]
        for session in refused:
            assert session["retry_after"] in ("1", "2"), f"Retry-After was {session['retry_after']!r}"
            waited = (session["ended_ms"] - session["began_ms"]) / 1000
            assert waited >= session["http"].count(429), f"{session['http']} in {waited} s"
        self.until("nobody to be lost", lambda: states() == {"done": len(names)})

    def do_expect_logs(self, absent):
        text = self.world.log_of("greengate")
        for words in absent + [self.app["client_secret"]]:
            assert words not in text, f"the log holds {words!r}"

    def sessions_since(self, device, none):
        if none:
            time.sleep(2)
            return self.new_sessions(device)
        with contextlib.suppress(Exception):
            self.until("a session", lambda: [s for s in self.new_sessions(device) if s["outcome"] != "running"], PATIENCE_S)
        return self.new_sessions(device)

    def pass_time(self, seconds):
        if seconds > 10:
            self.sim.do("clock.advance", s=seconds)

    def do_expect_command(self, status=None, in_session=None):
        if in_session == "current":
            running = self.sim.sessions("d1")[-1]
            self.sim.do("device.session.resume", device="d1")
            self.last_session = self.until("the session's end", lambda: next((s for s in self.sim.sessions("d1") if s["number"] == running["number"] and
                                                                             s["outcome"] != "running"), None))
        super().do_expect_command(status)


