"""The acceptance scenarios of tests/data/wns/sim-scenarios.json.

    wns_scenarios.py                         with the simulator alone: a plain sender and a tiny DM server stand where the gateway will be
    wns_scenarios.py --with-gateway          with the real gateway (GREENGATE_BIN), one estate a scenario
    wns_scenarios.py [--with-gateway] NAME…  these only

A scenario ends as `whole` (every step ran and held), `in part` (at least one expectation was tried and held; what only a gateway can show was left out, and
is named) or `waits` (no expectation of it can be tried here, with the reason). A step that does not hold fails the run.
"""

import json
import pathlib
import sys
import tempfile
import threading
import traceback

from dm_server import DmServer, command, item
from windows_sim import Sim, push, token

DATA = pathlib.Path(__file__).resolve().parents[2] / "data" / "wns" / "sim-scenarios.json"
COMMANDS = {"defender_quick_scan": ("./Vendor/MSFT/Defender/Scan", "1"), "reboot": ("./Device/Vendor/MSFT/Reboot/RebootNow", None)}


class LeftOut(Exception):
    """This step needs somebody who is not here."""


def pfn_of(alias):
    return f"greengate.{alias}_0ab1cd2ef3gh4"


def equal(what, found, wanted):
    if isinstance(wanted, list):
        assert found in wanted, f"{what} is {found!r}, not one of {wanted!r}"
    else:
        assert found == wanted, f"{what} is {found!r}, not {wanted!r}"


class Stage:
    """Simulator and verbs that need nobody else. Subclasses bring the sender and the DM server."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greengate-scenario-"))
        self.left_out = []
        self.keep = False         # what it left on disk, for whoever looks for the reason
        self.answers = []         # of raw pushes
        self.uris = {}            # the URI each device had first
        self.marks = {}           # sessions of each device before the last thing that may cause one
        self.request_mark = 0     # requests at the service before that
        self.last_session = None
        self.sim = None

    # Helpers.
    def mark(self, *names):
        for name in names or list(self.marks):
            self.marks[name] = self.sim.device(name)["sessions"]["count"]

    def pushes(self, device=None):
        return [r for r in self.sim.requests("push", self.request_mark) if device is None or r["device"] == device]

    def new_sessions(self, name):
        return self.sim.sessions(name)[self.marks.get(name, 0):]

    def forward(self, verb, members):
        if "pfn" in members:
            members["pfn"] = pfn_of(members["pfn"])
        if "push_pfn" in members:
            members["push_pfn"] = pfn_of(members["push_pfn"])
        return self.sim.do(verb, **members)

    # Verbs.
    def run(self, step):
        step = dict(step)
        verb = step.pop("do")
        step.pop("note", None)
        handler = getattr(self, "do_" + verb.replace(".", "_"), None)
        if handler is not None:
            handler(**step)
        elif verb.split(".")[0] in ("wns", "device", "clock"):
            self.forward(verb, step)
        else:
            raise LeftOut(verb)

    def do_clock_advance(self, **how):
        self.sim.do("clock.advance", **how)

    def do_device_enroll(self, device, pfn="p1"):
        pass  # every scenario begins with d1 enrolled, and its app is p1

    def do_device_online(self, device):
        self.mark(device)
        self.sim.do("device.online", device=device)

    def do_device_battery_saver(self, device, on):
        self.mark(device)
        self.sim.do("device.battery_saver", device=device, on=on)

    def do_device_session(self, device, channel="same"):
        self.mark(device)
        self.last_session = self.sim.do("device.session", device=device, channel=channel)["session"]

    def do_device_unenroll(self, device):
        self.sim.do("device.unenroll", device=device)

    def do_wns_app(self, pfn, **members):
        self.sim.do("wns.app", pfn=pfn_of(pfn), **members)

    def do_raw_push(self, device="d1", omit=(), times=1, cache=None, ttl=None, body_octets=4, headers=None, chunked=False, method="POST", mutate_uri=None,
                    token_of="p1", to=None):
        if token_of != "p1":
            self.sim.do("wns.app", pfn=pfn_of(token_of))
        bearer = token(self.sim, self.sim.app_of(pfn_of(token_of)))
        uri = self.uris[device] if to == "old_uri" else self.sim.device(device)["channel_uri"]
        target = None
        if mutate_uri == "percent_case":
            target = uri[uri.index("/?"):]
            at = target.rindex("%")
            target = target[:at] + (target[at:].upper() if target[at:].islower() else target[at:].lower())
        fields = dict(headers or {})
        if cache is not None:
            fields["X-WNS-Cache-Policy"] = "cache" if cache else "no-cache"
        if ttl is not None:
            fields["X-WNS-TTL"] = str(ttl)
        for i in range(times):
            body = (b"%04d" % i + b"x" * body_octets)[:body_octets]
            self.answers.append(push(self.sim, uri, bearer, omit=omit, headers=fields, chunked=chunked, method=method, target=target, body=body))

    # Expectations.
    def do_expect_push(self, status=None, status_header=None, device_status=None, **of_a_gateway):
        if of_a_gateway or not self.answers:
            raise LeftOut("expect.push of a gateway")
        last = self.answers[-1]
        if status is not None:
            equal("the status", last.status, status)
        if status_header is not None:
            equal("X-WNS-Status", last.header("X-WNS-Status"), status_header)
        if device_status is not None:
            equal("the device's status", last.header("X-WNS-DeviceConnectionStatus"), device_status)

    def do_expect_deliveries(self, count, which=None):
        deliveries = [d for d in self.sim.get("/deliveries")["deliveries"] if d["device"] == "d1"]
        equal("deliveries", len(deliveries), count)
        if which == "last":
            equal("what was delivered", deliveries[-1]["message_id"], self.answers[-1].header("X-WNS-Msg-ID"))

    def do_expect_session(self, device="d1", within_s=None, none=False, alert=None, cause=None, gets=None, identical_to=None):
        if within_s:
            self.pass_time(within_s)
        sessions = self.sessions_since(device, none)
        if none:
            assert not sessions, f"there were sessions: {[s['cause'] for s in sessions]}"
            return
        assert sessions, "there was no session"
        if cause is not None:
            sessions = [s for s in sessions if s["cause"] == cause]
            assert sessions, f"no session was by {cause}"
        last = self.last_session = sessions[-1]
        equal("the session's end", last["outcome"], "done")
        if alert is not None:
            equal("the alert", last["alert"], str(alert))
        if gets is not None:
            assert set(gets) <= set(last["gets"]), f"{last['gets']} were read, not {gets}"
        if identical_to is not None:
            other = self.sim.do("device.session", device=device)["session"]
            plain = [s["package1"].replace(f"<SessionID>{s['session_id']}<", "<SessionID><") for s in (last, other)]
            equal("package 1", plain[0], plain[1])

    def sessions_since(self, device, none):
        return self.new_sessions(device)

    def pass_time(self, seconds):
        self.sim.do("clock.advance", s=seconds)

    def do_expect_command(self, status=None, in_session=None):
        if self.last_session is None:
            raise LeftOut("expect.command in a session of a gateway")
        codes = [c["status"] for c in self.last_session["commands"] if c["verb"] == "Exec"]
        assert codes, "no command was carried out"
        if status is not None:
            equal("the command's status", codes[-1], status)

    def do_expect_status(self, code):
        codes = [c["status"] for c in self.last_session["commands"]]
        assert code in codes, f"{codes} has no {code}"

    def close(self):
        if self.sim is not None:
            code = self.sim.close()
            assert code == 0, f"the simulator ended with {code}"


class Alone(Stage):
    """A plain sender that pushes once a wake, and the tests' own DM server. Time is simulated and stands still in between."""

    def __init__(self):
        super().__init__()
        self.sending, self.delayed = None, False
        self.dm = DmServer(self.folder)
        apps = self.folder / "given-apps.json"
        apps.write_text(json.dumps([{"pfn": pfn_of("p1")}]))
        self.dm.pfn = pfn_of("p1")
        self.sim = Sim("windows", "--clock", "held", "--start", "2026-01-15T09:30:00Z", "--seed", "7", "--poll", "480x0", "--apps", apps,
                       *self.dm.options(), folder=self.folder)
        for name in ("d1", "d2"):
            self.do_device_enroll_now(name)
        self.mark("d1", "d2")

    def known(self, name):
        return self.dm.device(self.sim.device(name)["device_id"])

    def one_push(self, device, app, headers):
        self.answers.append(push(self.sim, self.sim.device(device)["channel_uri"], token(self.sim, app), headers=headers))

    def do_gw_wake(self, device=None, ttl=28800, urgency=None, **more):
        """The simulator's part of a wake: one push with cache, as R-15 and R-33 say. What a gateway decides is left out."""
        self.left_out.append("gw.wake by a plain sender")
        if device is None or more:
            raise LeftOut("gw.wake of many")
        alias = "p1" if device in ("d1", "d2") else "p" + device[1:]
        app = self.sim.app_of(pfn_of(alias))
        if app["closed"]:
            raise LeftOut("gw.wake without a token")
        if device not in self.uris:
            self.dm.pfn = app["pfn"]
            self.do_device_enroll_now(device)
        if not self.sim.device(device)["channel_uri"]:
            raise LeftOut("gw.wake without a channel")
        self.mark(device)
        headers = {"X-WNS-TTL": str(ttl), **({"X-WNS-PRIORITY": "1"} if urgency == "urgent" else {})}
        self.sending = threading.Thread(target=self.one_push, args=(device, app, headers), daemon=True)
        self.sending.start()
        self.sending.join(1 if self.delayed else 30)  # a delayed answer comes when the clock has moved

    def do_device_enroll_now(self, device):
        self.sim.do("device.enroll", device=device)
        self.uris[device] = self.sim.device(device)["channel_uri"]

    def do_wns_delay(self, **members):
        self.delayed = True
        self.sim.do("wns.delay", **members)

    def do_expect_push(self, **members):
        if self.sending is not None:
            self.sending.join(30)
        super().do_expect_push(**members)

    def do_dm_queue(self, device, command):
        uri, data = COMMANDS[command]
        self.known(device).queue.append(globals()["command"]("Exec", item(uri, data)))

    def do_dm_set_pfn(self, device, verb="Replace"):
        self.known(device).queue.append(self.dm.set_pfn(pfn_of("p1"), verb))
        self.do_device_session(device)

    def do_dm_read_channel(self, device):
        self.dm.pfn = None
        self.do_device_session(device)

    def do_device_session_open(self, device):
        raise LeftOut("device.session.open, which a gateway must notice")

    def do_device_reenroll(self, device):
        self.sim.do("device.reenroll", device=device)

    def close(self):
        self.dm.close()
        super().close()


def run_one(scenario, make):
    """(end, notes): end is whole, in part, waits or FAILED."""
    stage = make(scenario["name"])
    if isinstance(stage, str):
        return "waits", [stage]
    ran, ok = 0, False
    try:
        for number, step in enumerate(scenario["steps"], 1):
            try:
                stage.run(step)
                ran += step["do"].startswith("expect.")
            except LeftOut as left:
                stage.left_out.append(f"{number} {left}")
            except Exception as broken:
                raise AssertionError(f"step {number} {json.dumps(step)}: {broken}") from broken
        ok = True
    except Exception as broken:
        cause = "" if isinstance(broken.__cause__, AssertionError) else "".join(traceback.format_exception(broken.__cause__)[-6:])
        return "FAILED", [str(broken), cause, f"what it left: {stage.folder}"]
    finally:
        try:
            stage.keep = not ok
            stage.close()
        except Exception as broken:
            if ok:
                return "FAILED", [str(broken)]
    if ran == 0:
        return "waits", ["a gateway"]
    return ("in part" if stage.left_out else "whole"), stage.left_out


def main(arguments):
    gateway = "--with-gateway" in arguments
    names = [a for a in arguments if not a.startswith("--")]
    scenarios = [s for s in json.loads(DATA.read_text())["scenarios"] if not names or s["name"] in names]
    assert scenarios, "no scenario has such a name"
    if gateway:
        from gateway_stage import GatewayStage
        make = GatewayStage.make
    else:
        def make(_):
            return Alone()
    ends = {}
    for scenario in scenarios:
        end, notes = run_one(scenario, make)
        ends.setdefault(end, []).append(scenario["name"])
        print(f"{end:8} {scenario['name']}" + (": " + " · ".join(dict.fromkeys(n for n in notes if n)) if notes else ""), flush=True)
    print(" ".join(f"{len(ends.get(e, []))} {e}," for e in ("whole", "in part", "waits", "FAILED")).rstrip(","), f"of {len(scenarios)}")
    return 1 if "FAILED" in ends else 0


if __name__ == "__main__":
    import wns_scenarios  # so that whoever imports this file has the same classes
    sys.exit(wns_scenarios.main(sys.argv[1:]))
