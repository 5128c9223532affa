"""Windows devices as agents: enrolled by a table, handed their tasks in management sessions, answered for."""

import http.client
import json
import os
import pathlib
import subprocess
import time
import unittest

from estate import estate, main_job
from scripted_windows_device import PUSH, WindowsDevice, fingerprint, make_certificate

SCAN = "./Vendor/MSFT/Defender/Scan"
SCAN_TIME = "./Vendor/MSFT/Defender/Health/QuickScanTime"
ONE, TWO = "0F1E2D3C4B5A69788796A5B4C3D2E1F0", "1F1E2D3C4B5A69788796A5B4C3D2E1F0"


class Windows:
    """The estate with a gateway that speaks with Windows devices."""

    def __init__(self, world, more="", **start):
        self.world = world
        self.folder = world.folder / "windows"
        self.folder.mkdir()
        self.authority = make_certificate(self.folder, "Device-CA")
        self.server = make_certificate(self.folder, "dm.example.test")
        self.table = self.folder / "devices.toml"
        self.rows = {}
        self.write()
        world.start_site()
        self.more = (f'\n[mdm]\nenabled = true\nlisten = "127.0.0.1:0"\ncertificate_file = "{self.server[0]}"\nkey_file = "{self.server[1]}"\n'
                     f'client_ca_file = "{self.authority[0]}"\nenrolments = "{self.table}"\nenrolments_check = "200ms"\nsame_work_window = "0s"\n'
                     f'device_sessions_per_minute = 600\n{more}')
        world.start_gateway(more=self.more, **start)

    def write(self):
        next_table = self.table.with_suffix(".next")
        next_table.write_text("".join(f'[[device]]\nname = "{name}"\ndevice_id = "{device_id}"\ncertificate_sha256 = "{fingerprint(identity[0])}"\n'
                                      for name, (device_id, identity) in self.rows.items()))
        os.replace(next_table, self.table)

    def enrol(self, name, device_id):
        """(device, its entry in the list of agents)."""
        identity = make_certificate(self.folder, name, self.authority)
        self.rows[name] = (device_id, identity)
        self.write()
        agent = self.world.wait("the Windows device to be listed", lambda: next((a for a in self.world.agents() if a["host_name"] == name and a["state"] == "active"), None))
        return WindowsDevice(self.world.addresses["mdm_port"], device_id, identity), agent

    def send(self, task, agent, *more):
        return self.world.control("notify", "send", "--task", task, "--agents", agent["id"], *more)

    def entry(self, sent):
        """(state, code) of the one agent of an order."""
        shown = self.world.control("notify", "show", str(sent["id"]))
        entry = shown["entries"][0]
        return entry["state"], entry["code"]

    def until(self, sent, state):
        return self.world.wait(f"the order to be {state}", lambda: self.entry(sent)[0] == state)


class Journeys(unittest.TestCase):
    def test_a_scan_is_asked_for_taken_in_a_session_and_done_when_the_device_shows_it(self):
        with estate() as world:
            windows = Windows(world)
            device, agent = windows.enrol("PC-0042", ONE)
            device.nodes[SCAN_TIME] = "2026-01-14T08:00:00Z"
            device.answers[f"Exec {SCAN}"] = 202
            self.assertEqual(device.visit(), [f"Get {PUSH}/ChannelURI", f"Get {PUSH}/Status"])
            sent = windows.send("quick_scan", agent)
            asked = device.visit()
            self.assertIn(f"Exec {SCAN} 1", asked)
            windows.until(sent, "accepted")
            device.nodes[SCAN_TIME] = "2026-01-15T10:00:00Z"
            self.assertNotIn(f"Exec {SCAN} 1", device.visit())
            windows.until(sent, "done")
            about = world.control("explain", agent["id"])["windows"]
            self.assertEqual((about["name"], about["session"], about["last_session_ended"], about["manufacturer"]), ("PC-0042", "none", "done", "Fabrikam Test Works"))

    def test_a_task_survives_a_gateway_that_dies_between_asking_and_handing_over(self):
        with estate() as world:
            windows = Windows(world)
            device, agent = windows.enrol("PC-0042", ONE)
            sent = windows.send("update_signatures", agent)
            world.kill("gateway")
            world.start_gateway(more=windows.more)
            device.port = world.addresses["mdm_port"]
            self.assertIn("Exec ./Vendor/MSFT/Defender/UpdateSignature", device.visit())
            windows.until(sent, "done")
            self.assertFalse([a for a in device.visit() if a.startswith("Exec")])

    def test_what_a_windows_device_cannot_do_is_refused_and_failures_have_codes(self):
        with estate() as world:
            windows = Windows(world)
            device, agent = windows.enrol("PC-0042", ONE)
            with self.assertRaisesRegex(Exception, "task.unsupported"):
                windows.send("hardware_inventory", agent)
            with self.assertRaisesRegex(Exception, "task.wipe_refused"):
                windows.send("wipe", agent, "--confirm", "wipe-PC-0042")
            sent = windows.send("full_scan", agent)
            device.answers[f"Exec {SCAN}"] = 406
            device.visit()
            windows.until(sent, "failed")
            self.assertEqual(windows.entry(sent)[1], "mdm.not_supported")

    def test_a_wipe_needs_its_confirmation_and_is_sent_once(self):
        with estate() as world:
            windows = Windows(world, more="allow_wipe = true\n")
            device, agent = windows.enrol("PC-0042", ONE)
            with self.assertRaises(Exception):
                windows.send("wipe", agent)
            sent = windows.send("wipe", agent, "--confirm", "wipe-PC-0042")
            wipe = "Exec ./Device/Vendor/MSFT/RemoteWipe/doWipe"
            self.assertEqual(device.visit().count(wipe), 1)
            windows.until(sent, "done")
            self.assertEqual(device.visit().count(wipe), 0)

    def test_strangers_and_nonsense_are_told_so_in_http(self):
        with estate() as world:
            windows = Windows(world)
            device, _ = windows.enrol("PC-0042", ONE)
            other, _ = windows.enrol("PC-0043", TWO)
            port = world.addresses["mdm_port"]
            package1 = device.package1()
            self.assertEqual(WindowsDevice(port, ONE).post(package1)[0], 401)
            stranger = make_certificate(windows.folder, "stranger")
            self.assertEqual(WindowsDevice(port, ONE, stranger).post(package1)[0], 403)
            self.assertEqual(other.post(package1)[0], 403, "its certificate is another device's")
            self.assertEqual(device.post(package1, method="GET")[0], 405)
            self.assertEqual(device.post(package1, content_type="text/xml")[0], 415)
            self.assertEqual(device.post('<!DOCTYPE a [<!ENTITY b "c">]>' + package1)[0], 400)
            self.assertEqual(device.post("x" * 300_000)[0], 413)
            self.assertEqual(device.visit(), [f"Get {PUSH}/ChannelURI", f"Get {PUSH}/Status"], "and it still answers who behaves")
            del windows.rows["PC-0042"]
            windows.write()
            world.wait("the row's end to be noticed", lambda: device.post(device.package1())[0] == 403)

    def test_the_sites_button_reaches_a_windows_device(self):
        with estate() as world:
            windows = Windows(world)
            device, agent = windows.enrol("PC-0042", ONE)
            ready = world.wait("the site to know it", lambda: next((a for a in world.agents() if a["id"] == agent["id"] and a["site"]["state"] == "ready"), None))
            world.wait("its session at the site", lambda: world.control("explain", agent["id"])["session"] == "online")
            world.site.ask("POST", "/notify/push", {"clients": [ready["site"]["sms_id"]], "task_type": 3})
            world.wait("the push to lie in its mailbox", lambda: world.control("notify", "list")["notifications"])
            device.nodes[SCAN_TIME] = "a"
            self.assertIn(f"Exec {SCAN} 1", device.visit())


class Simulated:
    """Simulated devices and their push service, and a gateway that serves the ones and speaks with the other."""

    def __init__(self, world, more_wns="", more_mdm="", **start):
        self.world = world
        self.windows = Windows(world, more='provider_id = "FABRIKAM"\nscan_watch = "30d"\n' + more_mdm, **start)
        port = world.addresses["mdm_port"]
        child = world.stage.start("greengate-sim", "windows", "--dir", world.folder / "sim", "--admin-port", 0, "--seed", 7, "--poll", "480x0",
                                  "--dm-url", "https://dm.example.test/dm", "--dm-connect", f"127.0.0.1:{port}", "--channel-delay", 0,
                                  "--push-delay", 100, stdout=subprocess.PIPE)
        self.ready = main_job.first_line(world.stage, child)
        app = json.loads((world.folder / "sim" / "apps.json").read_text())["apps"][0]
        secret = self.windows.folder / "wns-secret"
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(app["client_secret"] + "\n")
        wns = self.ready["wns_port"]
        # The gateway again, on the same port, now that there is a service to speak with.
        world.kill("gateway", 15)
        self.more = (self.windows.more.replace("127.0.0.1:0", f"127.0.0.1:{port}") +
                     f'[wns]\nenabled = true\nca_file = "{self.ready["wns_ca"]}"\nfingerprint_key_file = "{self.windows.folder}/wns-fingerprint.key"\n'
                     f'connect_override = ["notify.windows.com=127.0.0.1:{wns}", "login.live.com=127.0.0.1:{wns}"]\n'
                     f'push_spacing = "1s"\npfn_spacing = "1min"\n{more_wns}'
                     f'[[wns.app]]\npfn = "{app["pfn"]}"\nauth = "legacy"\nclient_id = "{app["client_id"]}"\nsecret_files = ["{secret}"]\n')
        world.start_gateway(more=self.more, **start)

    def do(self, verb, **members):
        link = http.client.HTTPConnection("127.0.0.1", self.ready["admin_port"], timeout=120)
        link.request("POST", "/windows/do", json.dumps({"do": verb, **members}))
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        assert answer.status == 200, f"{verb} {members}: {answer.status} {text}"
        return json.loads(text)

    def get(self, path):
        link = http.client.HTTPConnection("127.0.0.1", self.ready["admin_port"], timeout=120)
        link.request("GET", "/windows" + path)
        answer = json.loads(link.getresponse().read())
        link.close()
        return answer

    def enrol(self, name):
        """The device's entry in the list of agents, its channel known to the gateway."""
        self.do("device.enroll", device=name, session=False)
        self.write_table()
        agent = self.world.wait("the device to be listed", lambda: next((a for a in self.world.agents() if a["host_name"] == name and a["state"] == "active"), None))
        self.do("device.session", device=name)
        self.world.wait("its channel", lambda: self.about(agent)["channel"] == "active")
        return agent

    def write_table(self):
        listed = json.loads(pathlib.Path(self.ready["enrolments"]).read_text())["devices"]
        text = "".join(f'[[device]]\nname = "{d["name"]}"\ndevice_id = "{d["device_id"]}"\ncertificate_sha256 = "{d["certificate_sha256"]}"\n' for d in listed)
        self.windows.table.with_suffix(".next").write_text(text)
        os.replace(self.windows.table.with_suffix(".next"), self.windows.table)

    def about(self, agent):
        return self.world.control("explain", agent["id"])["windows"]

    def causes(self, name):
        return [session["cause"] for session in self.get(f"/devices/{name}/sessions")["sessions"]]


class Woken(unittest.TestCase):
    def test_a_sleeping_device_is_woken_does_its_task_and_tells(self):
        with estate() as world:
            sim = Simulated(world)
            agent = sim.enrol("d1")
            before = len(sim.causes("d1"))
            sent = sim.windows.send("quick_scan", agent)
            sim.windows.until(sent, "accepted")
            self.assertEqual(sim.causes("d1")[before:], ["push"])
            sim.do("clock.advance", minutes=5)
            sim.do("device.session", device="d1")
            sim.windows.until(sent, "done")
            for secret in (self.channel(sim, "d1"), "token="):
                self.assertNotIn(secret, world.log_of("greengate"))

    def test_a_channel_that_expired_is_renewed_and_wakes_again(self):
        with estate() as world:
            sim = Simulated(world)
            agent = sim.enrol("d1")
            old = sim.about(agent)["channel_fingerprint"]
            sim.do("wns.channel.expire", device="d1")
            sent = sim.windows.send("update_signatures", agent)
            world.wait("the channel to be dead", lambda: sim.about(agent)["channel"] == "dead")
            self.assertEqual(sim.windows.entry(sent)[0], "waiting", "a wake that fails does not fail the work")
            sim.do("device.session", device="d1")  # its poll
            sim.windows.until(sent, "done")

            def renewed():
                sim.do("device.session", device="d1")  # the gateway renews at most once in pfn_spacing
                return sim.about(agent)["channel"] == "active" and sim.about(agent)["channel_fingerprint"] != old

            world.wait("a new channel", renewed, 240)
            before = len(sim.causes("d1"))
            again = sim.windows.send("machine_policy", agent)
            sim.windows.until(again, "done")
            self.assertEqual(sim.causes("d1")[before:], ["push"])

    def test_a_waves_work_waits_for_its_time_whether_the_device_is_woken_or_comes_by_itself(self):
        with estate() as world:
            sim = Simulated(world, notifications='wave_window_per_1000 = "4h"\n', wave="4h")  # 14.4 s for one device
            agent = sim.enrol("d1")
            due = 0
            while due < 4000:  # an order that can be looked at before it is due; an earlier one gives way to it
                sent = sim.windows.send("discovery", agent)
                due = sim.about(agent)["wake_due_in_ms"] or 0
            begun = time.monotonic()
            came = sim.do("device.session", device="d1")["session"]
            self.assertEqual(came["outcome"], "done")
            self.assertLess(time.monotonic() - begun, due / 1000, "this machine is too slow to look in time")
            self.assertEqual(sim.windows.entry(sent)[0], "waiting", "it came too early")
            before = len(sim.causes("d1"))
            sim.windows.until(sent, "done")
            self.assertGreaterEqual(time.monotonic() - begun, due / 1000 - 0.2)
            self.assertEqual(sim.causes("d1")[before:], ["push"])

    def test_without_the_push_service_the_poll_still_works(self):
        with estate() as world:
            sim = Simulated(world)
            agent = sim.enrol("d1")
            sim.do("wns.fault", push_status=503, always=True)
            sent = sim.windows.send("update_signatures", agent)
            world.wait("the push to have failed", lambda: sim.about(agent)["last_push_outcome"])
            self.assertEqual(sim.windows.entry(sent)[0], "waiting")
            sim.do("clock.advance", to="next_poll")
            sim.windows.until(sent, "done")
            self.assertIn("poll", sim.causes("d1"))

    def channel(self, sim, name):
        return sim.get(f"/devices/{name}")["channel_uri"]


if __name__ == "__main__":
    unittest.main()
