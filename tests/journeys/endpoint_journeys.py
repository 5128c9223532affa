"""Every endpoint of the management point: from a real agent's collectors to the site's verdict, and the receipt back."""

import base64
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import unittest

from estate import ROOT, estate
from scripted_agent import ScriptedAgent, frame_pb2, report_pb2

POLLED = '\n[policy]\ninterval = "500ms"\nfirst_window = "0s"\nfailure_base = "200ms"\nfailure_cap = "1s"\n'
LOWEST_PRIORITY_S = 200  # scans give way to everything else, on a busy machine for long
CHUNK_BYTES, FILE_BYTES = 16 << 10, 40_000
CUSTOM = {"class": "Contoso_Rack", "keys": ["Tag"], "properties": {"Tag": "string", "Height": "integer", "Locked": "boolean"},
          "instances": [{"Tag": "R<7> & co", "Height": 42, "Locked": True}, {"Tag": "Süd", "Height": 24, "Locked": False}]}


class Machine:
    """A small tree that an agent looks at, with something for each of its collectors."""

    def __init__(self, world):
        self.tree = world.folder / "machine"
        for folder in ("bin", "etc", "mif", "inventory.d"):
            (self.tree / folder).mkdir(parents=True, mode=0o755)
        self.program = self.tree / "bin" / "renderer"
        shutil.copy(shutil.which("sleep"), self.program)
        self.file = self.tree / "etc" / "plan & more.conf"
        self.file.write_bytes(bytes(i * i % 251 for i in range(FILE_BYTES)))
        shutil.copy(ROOT / "tests" / "data" / "mif" / "asset.mif", self.tree / "mif")
        script = self.tree / "inventory.d" / "racks"
        script.write_text("#!/bin/sh\ncat <<'END'\n" + json.dumps(CUSTOM) + "\nEND\n")
        script.chmod(0o755)
        self.log = self.tree / "dpkg.log"
        self.log.touch()

    def sections(self):
        return (f'[software]\npaths = ["{self.tree}/bin"]\n'
                f'[files]\ncollect = ["{self.tree}/etc/*.conf"]\nchunk_bytes = "{CHUNK_BYTES >> 10}KiB"\n'
                f'[status]\nlogs = ["{self.log}"]\ninterval = "10s"\n'
                f'[metering]\nprograms = ["{self.program}"]\nsample_interval = "5s"\nreport_interval = "1h"\n'
                f'[mif]\nfolder = "{self.tree}/mif"\ninterval = "1s"\n'
                f'[custom]\nfolder = "{self.tree}/inventory.d"\n')

    def install_packages(self):
        with open(self.log, "ab") as log:
            log.write((ROOT / "tests" / "data" / "logs" / "dpkg.log").read_bytes())


def an_hour_of_metering_has_passed(world, name="agent"):
    """In what a stopped agent keeps: an hour is the shortest interval it takes."""
    with sqlite3.connect(world.folder / name / "state" / "outbox.sqlite") as outbox:
        (note,) = outbox.execute("SELECT value FROM meta WHERE key = 'note.metering'").fetchone()
        note = note if isinstance(note, str) else note.decode()
        began, _, rest = note.split(" ", 2)
        outbox.execute("UPDATE meta SET value = ? WHERE key = 'note.metering'", (f"{int(began) - 3_600_000} 3600000 {rest}",))
    outbox.close()


def at_agent(world, name="agent"):
    """The agent's own reports: kind, status, code; oldest first."""
    done = world.ask_agent("status", "--json", "--count", 1000, name=name)
    return [(r["kind"], r["status"], r["code"]) for r in reversed(json.loads(done.stdout)["reports"])]


def sent_to(world):
    """Each message the site has seen: its endpoint, with the file type of a relayed one."""
    seen = []
    for message in world.verdicts():
        header = (world.folder / "site" / message["folder"] / "msg.xml").read_text()
        relayed = re.search(r"<FileType>(\w+)<", header)
        seen.append((message["endpoint"] + (" " + relayed.group(1) if relayed else ""), message))
    return seen


def gets_of(world):
    lines = (world.folder / "site" / "other.jsonl").read_text().split("\n")
    return {json.loads(line)["get"].split("?")[0] for line in lines if line.endswith("}") and '"get"' in line}


class EveryKind(unittest.TestCase):
    def test_a_real_agent_reaches_every_endpoint_and_hears_that_all_was_delivered(self):
        with estate() as world:
            machine = Machine(world)
            world.start_site()
            world.start_gateway(more=POLLED)
            running = subprocess.Popen([machine.program, "600"])
            self.addCleanup(lambda: (running.kill(), running.wait()))
            agent = world.enrol_agent(more=machine.sections())
            sms_id = agent["site"]["sms_id"]

            def reached(endpoint):
                return any(seen == endpoint for seen, _ in sent_to(world))

            for endpoint in ("MP_DdrEndpoint", "MP_HinvEndpoint", "MP_SinvEndpoint", "MP_SinvCollFileEndpoint", "MP_RelayEndpoint SMX", "MP_RelayEndpoint MIF"):
                world.wait(f"a message to {endpoint}", lambda e=endpoint: reached(e), LOWEST_PRIORITY_S)

            def all_settled():
                world.wait("every report to be settled at the agent",
                           lambda: all(status not in ("waiting", "stored", "sent") for _, status, _ in at_agent(world)))

            all_settled()
            # The agent goes, packages come, and it is back when its metering is due.
            world.kill("agent", signal.SIGTERM)
            an_hour_of_metering_has_passed(world)
            machine.install_packages()
            world.start_agent()
            for endpoint in ("StatusReceiver", "MP_RelayEndpoint SWM"):
                world.wait(f"a message to {endpoint}", lambda e=endpoint: reached(e))
            world.wait("policy", lambda: ".sms_pol" in gets_of(world))
            located = world.ask_agent("locate", "site", "--refresh", "--json")
            self.assertEqual(located.returncode, 0, located.stderr)

            all_settled()
            kinds = {"discovery", "inventory", "software", "files", "state", "status", "metering", "idmif"}
            self.assertEqual({kind for kind, _, _ in at_agent(world)}, kinds)
            self.assertEqual([r for r in at_agent(world) if r[1:] != ("delivered", "")], [])
            trace = world.reports(agent)
            self.assertEqual(len(trace), len(at_agent(world)))
            self.assertEqual([(r["kind"], r["state"], r["code"]) for r in trace if r["state"] != "delivered"], [])
            self.assertEqual(len([r for r in trace if r["kind"] == "collected file"]), -(-FILE_BYTES // CHUNK_BYTES))
            self.assertEqual(len([r for r in trace if r["kind"] == "status"]), 6)

            self.assertEqual([(m["endpoint"], m["verdict"], m["violations"]) for _, m in sent_to(world) if m["verdict"] != "accepted" or m["violations"]], [])
            self.assertEqual({seen for seen, _ in sent_to(world)},
                             {"MP_ClientRegistration", "MP_DdrEndpoint", "MP_HinvEndpoint", "MP_SinvEndpoint", "MP_SinvCollFileEndpoint", "StatusReceiver",
                              "MP_RelayEndpoint SMX", "MP_RelayEndpoint SWM", "MP_RelayEndpoint MIF", "MP_PolicyManager", "MP_LocationManager"})
            self.assertEqual(gets_of(world), {".sms_aut", ".sms_pol"})

            # And it is this machine they tell of.
            def only(endpoint):
                (message,) = [m for seen, m in sent_to(world) if seen == endpoint]
                folder = world.folder / "site" / message["folder"]
                return (folder / "body.xml").read_text(), (folder / "request.http").read_bytes()
            known = world.site.get(f"/mp/clients/{sms_id}/inventory")
            self.assertEqual({row["Tag"]: (row["Height"], row["Locked"]) for row in known["hardware"]["Contoso_Rack"]},
                             {"R<7> & co": ("42", "1"), "Süd": ("24", "0")})
            self.assertEqual([f["Name"] for f in known["software"]["FileSystemFile"]], ["renderer"])
            self.assertIn("plan &amp; more.conf", only("MP_SinvCollFileEndpoint")[0])
            self.assertIn("renderer", only("MP_RelayEndpoint SWM")[0])

            mof = world.text_of("mof", "Contoso_Rack")
            for said in ("class Contoso_Rack : SMS_Class_Template", "SInt64 Height;", "Boolean Locked;", "[ SMS_Report (TRUE), key ] String Tag;"):
                self.assertIn(said, " ".join(mof.split()))
            self.assertEqual(world.control("mof", "Contoso_Rack")["mof"].replace("\r\n", "\n"), mof, "the same text; a person's is read with plain line ends")
            explained = world.text_of("explain", agent["host_name"])
            for said in ("enrolled", "What the site has of its inventory", "hardware inventory", "Policy", "Slots", sms_id):
                self.assertIn(said, explained)


class Layouts(unittest.TestCase):
    def deliver(self, layout):
        with estate() as world:
            machine = Machine(world)
            world.start_site()
            world.start_gateway(site=f'inventory_layout = "{layout}"\n')
            world.enrol_agent(more=machine.sections())
            for endpoint in ("MP_DdrEndpoint", "MP_HinvEndpoint", "MP_SinvEndpoint"):
                world.wait(f"a message to {endpoint} in the layout {layout}", lambda e=endpoint: any(seen == e for seen, _ in sent_to(world)), LOWEST_PRIORITY_S)
            world.wait("the receipts", lambda: all(("delivered", "") == r[1:] for r in at_agent(world) if r[0] in ("discovery", "inventory", "software")))
            self.assertEqual([(m["endpoint"], m["verdict"], m["violations"]) for _, m in sent_to(world) if m["verdict"] != "accepted" or m["violations"]], [], layout)

    def test_discovery_and_inventories_inline(self):
        self.deliver("inline")

    def test_discovery_and_inventories_as_an_attachment(self):
        self.deliver("attach")

    def test_discovery_and_inventories_as_captured(self):
        self.deliver("captured")


class Asking(unittest.TestCase):
    def test_policy_and_locations_are_told_through_the_gateway_and_its_absence_plainly(self):
        with estate() as world:
            world.start_site("--forbidden-policies")
            world.start_gateway(more=POLLED)
            world.enrol_agent()

            def told(*question):
                # The gateway answers so many questions a minute; beyond that it says when to come again.
                done = world.wait("an answer", lambda: next((d for d in [world.ask_agent(*question)] if "(ask.busy)" not in d.stderr), None))
                self.assertEqual((done.returncode, done.stderr), (0, ""), question)
                return done.stdout

            def as_json(*question):
                return json.loads(told(*question, "--json"))

            world.wait("the site's policy", lambda: ".sms_pol" in gets_of(world))
            policies = {p["policy_id"]: p["standing"] for p in as_json("policy", "--refresh")["policies"]}
            self.assertEqual(policies["{0D0E0F00-0000-4000-8000-0000000000AA}"], "applied")
            self.assertEqual(sorted(standing for standing in policies.values() if standing != "applied"),
                             ["not fetched: needs authentication", "not fetched: secret", "not fetched: secret", "not fetched: task sequence"])
            self.assertRegex(told("policy"), r"(?m)^\{0D0E0F00-0000-4000-8000-0000000000AA\} .* applied$")

            (point,) = as_json("locate", "management-points")["locations"][:1]
            self.assertEqual(point["url"], f"http://127.0.0.1:{world.ports['mp_port']}")
            self.assertIn(point["url"], told("locate", "management-points"))
            (server,) = as_json("locate", "update-server")["locations"]
            self.assertEqual((server["url"], server["server"]), ("http://sup01.example.test:8530", "sup01.example.test"))
            self.assertIn("http://sup01.example.test:8530", told("locate", "update-server"))
            (site,) = as_json("locate", "site")["locations"]
            self.assertEqual((site["site_code"], site["version"]), ("P01", "5.00.9128.1000"))
            self.assertIn("5.00.9128.1000", told("locate", "site"))
            self.assertEqual(as_json("locate", "content", "P0100012", "1")["locations"], [])
            self.assertIn("The site names none.", told("locate", "content", "P0100012", "1"))
            self.assertEqual(world.refused_at_site(), [])

            nothing = world.ask_agent("locate", "content")
            self.assertEqual(nothing.returncode, 2)
            self.assertIn("P0100012 1", nothing.stderr)
            world.kill("gateway", signal.SIGTERM)
            world.wait("the agent to notice", lambda: json.loads(world.ask_agent("status", "--json").stdout)["link_state"] != "connected")
            for question in (("policy",), ("locate", "site")):
                away = world.ask_agent(*question)
                self.assertEqual((away.returncode, away.stdout), (1, ""))
                self.assertIn("not connected to a gateway", away.stderr)
                self.assertEqual(json.loads(world.ask_agent(*question, "--json").stdout)["code"], "ask.not_connected")
            world.kill("agent")
            gone = world.ask_agent("policy")
            self.assertEqual(gone.returncode, 1)
            self.assertIn("start greengate-agent", gone.stderr)


class DeadLetters(unittest.TestCase):
    def test_what_cannot_be_told_is_buried_explained_exported_replayed_and_discarded(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            one = ScriptedAgent(world, "scripted01")
            self.addCleanup(one.close)
            inventory = report_pb2.HardwareInventory(collected_at_ms=1)
            inventory.classes.add(name="Contoso Rack!", properties=["Tag"], key_properties=[0]).instances.add(values=[report_pb2.Value(text="R7")])
            bad = one.publish(frame_pb2.LANE_INVENTORY, frame_pb2.KIND_HARDWARE_INVENTORY, inventory)
            self.assertEqual(one.outcome(bad), ("RECEIPT_STATUS_REJECTED", "mp.inventory_class"))
            world.site.ask("POST", "/mp/faults", {"kind": "status", "status": 400, "endpoint": "MP_RelayEndpoint"})
            state = report_pb2.StateMessages()
            state.messages.add(topic_type=501, topic_id="journey-<7>", state_id=2, time_ms=1_768_464_000_000)
            unlucky = one.publish(frame_pb2.LANE_STATE, frame_pb2.KIND_STATE_MESSAGES, state)
            self.assertEqual(one.outcome(unlucky), ("RECEIPT_STATUS_REJECTED", "mp.bad_request"))

            listed = world.control("dead-letters", "list")
            self.assertEqual([(d["host_name"], d["kind"], d["code"]) for d in listed["dead_letters"]],
                             [("scripted01", "hardware inventory", "mp.inventory_class"), ("scripted01", "state messages", "mp.bad_request")])
            broken, refused = (d["id"] for d in listed["dead_letters"])
            self.assertEqual([d["id"] for d in world.control("dead-letters", "list", "--kind", "hardware-inventory")["dead_letters"]], [broken])

            shown = world.text_of("dead-letters", "show", broken)
            self.assertIn("no message can be made of it: mp.inventory_class", shown)
            self.assertIn('name: "Contoso Rack!"', shown)
            self.assertIn('"journey-<7>"', world.control("dead-letters", "show", refused)["report"])
            self.assertIn("journey-&lt;7&gt;", world.control("dead-letters", "show", refused)["message_xml"])
            beside = world.text_of("dead-letters", "diff", refused)
            self.assertRegex(beside, r"(?m)^ *topic_id: \"journey-<7>\" +│")
            self.assertIn("journey-&lt;7&gt;", beside)

            file = world.folder / "letters.jsonl"
            world.text_of("dead-letters", "export", file)
            exported = [json.loads(line) for line in file.read_text().splitlines()]
            self.assertEqual([(d["id"], base64.b64decode(d["body"])) for d in exported],
                             [(broken, inventory.SerializeToString()), (refused, state.SerializeToString())])

            explained = world.text_of("explain", "scripted01")
            for said in ("2 dead letters", "mp.inventory_class", "mp.bad_request"):
                self.assertIn(said, explained)

            world.site.ask("DELETE", "/mp/faults")
            world.text_of("dead-letters", "replay", refused)
            world.wait("the replayed report at the site", lambda: world.topics_at_site(one.agent) == ["journey-&lt;7&gt;"])
            world.wait("its outcome", lambda: next(r for r in world.reports(one.agent) if r["sequence"] == unlucky)["state"] == "delivered")
            progress = world.control("dead-letters", "replay", "--progress")
            self.assertEqual((progress["letters"], progress["put_back"], progress["running"]), (1, 1, False))
            self.assertIn("1 of 1 dead letter, 10 a second; 1 went back", world.text_of("dead-letters", "replay", "--progress"))

            # What nothing has changed for comes back, with a reason.
            world.text_of("dead-letters", "replay", "--code", "mp.inventory_class")
            world.wait("it to be buried again", lambda: [d["code"] for d in world.control("dead-letters", "list")["dead_letters"]] == ["mp.inventory_class"]
                       and world.control("dead-letters", "replay", "--progress")["put_back"] == 1)
            (again,) = world.control("dead-letters", "list")["dead_letters"]
            self.assertIn("1 dead letter is gone.", world.text_of("dead-letters", "discard", again["id"]))
            self.assertEqual(world.control("dead-letters", "list")["dead_letters"], [])
            self.assertEqual(world.text_of("dead-letters", "list"), "No dead letters.\n")
            self.assertEqual(world.refused_at_site(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
