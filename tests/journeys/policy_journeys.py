"""The site's policy and where its things are: learned, obeyed, and told to agents that ask."""

import json
import os
import subprocess
import sys
import unittest

from estate import ROOT, estate

QUICK = "\n[policy]\ninterval = \"500ms\"\nfirst_window = \"0s\"\nfailure_base = \"200ms\"\nfailure_cap = \"1s\"\n"


def gets_of(world):
    """Every GET the simulated management point answered, oldest first."""
    lines = (world.folder / "site" / "other.jsonl").read_text().split("\n")
    return [json.loads(line)["get"] for line in lines if line.endswith("}") and '"get"' in line]


def policy_gets(world):
    return [get for get in gets_of(world) if get.startswith(".sms_pol")]


def wire_words(world):
    folder = world.folder / "words"
    folder.mkdir()
    subprocess.run(["protoc", "-I", ROOT / "proto", f"--python_out={folder}", "greengate/v1/frame.proto", "greengate/v1/report.proto",
                    "greengate/v1/notification.proto"], check=True)
    return folder


class Policy(unittest.TestCase):
    def test_a_resync_of_the_site_is_answered_once_with_a_whole_inventory_of_the_next_major(self):
        with estate() as world:
            world.start_site("--policy-date", "2026-01-10T00:00:00Z")
            world.start_gateway(more=QUICK)
            agent = world.enrol_agent()

            def inventories():
                """Version and type of each hardware inventory the site took, in order, and the policy date each named."""
                found = []
                for message in world.verdicts():
                    body = world.folder / "site" / message["folder"] / "body.xml"
                    if message["verdict"] != "accepted" or message["endpoint"] != "MP_HinvEndpoint":
                        continue
                    text = body.read_text()
                    inside = lambda tag: text.split(f"<{tag}>")[1].split("<")[0]
                    found.append((inside("Version"), inside("ReportType"), inside("InventoryActionLastUpdateTime")))
                return found

            world.wait("the first inventory", inventories)
            world.wait("policy", lambda: "event=\"policy received\"" in world.log_of("greengate"))
            self.assertEqual(inventories()[0][:2], ("1.0", "Full"))
            world.site.ask("POST", "/mp/resync", {"smsid": agent["site"]["sms_id"], "kind": "hardware"})
            world.wait("the whole inventory", lambda: len(inventories()) >= 2)
            polls = lambda: len([m for m in world.verdicts() if m["endpoint"] == "MP_PolicyManager"])
            before = polls()
            world.wait("some more polls", lambda: polls() > before + 3)
            self.assertEqual(inventories()[1:], [("2.0", "Full", "20260110000000.000000+000")], "once, and with the policy's own date")
            self.assertEqual(world.log_of("greengate").count("event=\"the site wants an inventory whole again\""), 1)
            # The same policies over several polls, and yet each body was fetched once.
            fetched = policy_gets(world)
            self.assertEqual(len(fetched), len(set(fetched)))
            self.assertEqual(world.refused_at_site(), [])

    def test_bodies_flagged_task_sequence_authentication_or_secret_are_never_downloaded(self):
        with estate() as world:
            world.start_site("--forbidden-policies")
            world.start_gateway(more=QUICK)
            world.enrol_agent()
            world.wait("the harmless body to be fetched", lambda: policy_gets(world))
            polls = lambda: len([m for m in world.verdicts() if m["endpoint"] == "MP_PolicyManager"])
            world.wait("several polls", lambda: polls() >= 3)
            self.assertEqual({get.split("?")[1][:38] for get in policy_gets(world)}, {"{0D0E0F00-0000-4000-8000-0000000000AA}"})

    def test_an_agent_is_told_what_is_assigned_and_where_things_are(self):
        with estate() as world:
            world.start_site("--forbidden-policies")
            world.start_gateway()
            done = subprocess.run([sys.executable, ROOT / "tests" / "agent" / "protocol_example.py", "--gateway",
                                   world.addresses["agent_endpoint"], "--gateway-key", world.addresses["gateway_key"],
                                   "--state", world.folder / "python-agent", "--token", world.token(), "--ask", "policy",
                                   "--ask", "site", "--ask", "update-server", "--ask", "management-points"],
                                  env={**os.environ, "PYTHONPATH": str(wire_words(world))}, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            for said in ('standing: "applied"', 'standing: "not fetched: task sequence"', 'standing: "not fetched: secret"',
                         'standing: "not fetched: needs authentication"', 'version: "5.00.9128.1000"', 'url: "http://sup01.example.test:8530"',
                         f'url: "http://127.0.0.1:{world.ports["mp_port"]}"', 'detail: "configured"'):
                self.assertIn(said, done.stdout)
            self.assertNotIn("\ncode: ", done.stdout)
            self.assertEqual(world.refused_at_site(), [])

    def test_an_agent_hears_that_nobody_can_be_asked(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            words = str(wire_words(world))
            run = [sys.executable, ROOT / "tests" / "agent" / "protocol_example.py", "--gateway", world.addresses["agent_endpoint"],
                   "--gateway-key", world.addresses["gateway_key"], "--state", world.folder / "python-agent", "--token", world.token()]
            environment = {**os.environ, "PYTHONPATH": words}
            first = subprocess.run([*run, "--ask", "site"], env=environment, capture_output=True, text=True, timeout=120)
            self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
            world.kill("site")
            second = subprocess.run([*run, "--ask", "update-server"], env=environment, capture_output=True, text=True, timeout=120)
            self.assertIn('code: "mp.none_available"', second.stdout, second.stderr)


class SiteMap(unittest.TestCase):
    def test_another_site_behind_the_same_address_is_noticed_and_its_list_not_followed(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(site='mp_list_interval = "1s"\n')
            pin = world.folder / "gateway" / "site-signing-certificate.pem"
            world.wait("the pin", pin.exists)
            world.kill("site")
            for file in (world.folder / "site").glob("*sign*"):
                file.unlink()
            world.start_site()
            world.wait("the gateway to say so", lambda: "code=site.certificate_changed" in world.log_of("greengate"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
