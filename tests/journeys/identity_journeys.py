"""Agents' identities at the site: whose key signs, how it changes, and what happens when the site forgets."""

import re
import subprocess
import unittest

from estate import BIN, estate

QUICK = 'refused_base = "100ms"\nrefused_cap = "500ms"\nrefusal_spacing = "200ms"\nrejected_retry = "1s"\ncertificate_check = "500ms"\n'
ASKING = '\n[policy]\ninterval = "500ms"\nfirst_window = "0s"\nfailure_base = "100ms"\nfailure_cap = "500ms"\n'


def unsettled(world, agent):
    return [r for r in world.reports(agent) if r["state"] in ("waiting", "leased")]


def now(world, agent):
    return next(a for a in world.agents() if a["id"] == agent["id"])


def accepted(world, sms_id, kind):
    return [m for m in world.verdicts()
            if m["client"] == sms_id and m["verdict"] == "accepted" and m.get("report", {}).get("kind") == kind]


def registrations(world):
    """The bodies of all registrations and confirmations, oldest first, with the site's verdict."""
    found = []
    for message in world.verdicts():
        if message["endpoint"] == "MP_ClientRegistration":
            body = (world.folder / "site" / message["folder"] / "body.xml").read_text()
            found.append((message, body))
    return found


def certificates(world):
    return {re.search(r"<Signing [^>]*>([0-9A-F]+)<", body).group(1) for _, body in registrations(world)}


def everything_arrives(test, world, agent):
    """Discovery, inventory and a state message are taken by the site from this agent, as it is now."""
    sms_id = now(world, agent)["site"]["sms_id"]
    for kind in ("discovery", "hardware"):
        world.wait(f"its {kind} at the site", lambda k=kind: accepted(world, sms_id, k))
    before = len(accepted(world, sms_id, "state"))
    world.send_state(1, agent["name"])
    world.wait("its state message at the site", lambda: len(accepted(world, sms_id, "state")) > before)


def enrol(world, name):
    return dict(world.enrol_agent(name), name=name)


class Modes(unittest.TestCase):
    def test_with_a_key_of_its_own_each_client_registers_its_own_certificate(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agents = [enrol(world, "one"), enrol(world, "two")]
            for agent in agents:
                everything_arrives(self, world, agent)
            self.assertEqual(len(certificates(world)), 2)
            self.assertEqual(world.refused_at_site(), [])

    def test_with_a_shared_key_every_client_registers_the_same_certificate_and_stays_itself(self):
        with estate() as world:
            world.start_site()
            shared = f'identity_mode = "shared_key"\nshared_identity_file = "{world.folder}/gateway/shared.identity"\n'
            world.start_gateway(site=shared)
            agents = [enrol(world, "one"), enrol(world, "two")]
            for agent in agents:
                everything_arrives(self, world, agent)
            self.assertNotEqual(agents[0]["site"]["sms_id"], agents[1]["site"]["sms_id"])
            self.assertEqual(len(certificates(world)), 1)
            self.assertTrue(all('AgentType="0"' in body for _, body in registrations(world)))
            self.assertEqual((world.folder / "gateway" / "shared.identity").stat().st_mode & 0o777, 0o600)
            # The key is the same after a restart.
            world.kill("gateway")
            world.start_gateway(site=shared)
            everything_arrives(self, world, agents[0])
            self.assertEqual(len(certificates(world)), 1)
            self.assertEqual(world.refused_at_site(), [])
            refused = subprocess.run([BIN / "greengatectl", "--socket", world.folder / "admin.sock", "agents", "rotate-key",
                                      agents[0]["id"]], capture_output=True, text=True, timeout=60)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("identity.common_key", refused.stderr)

    def test_as_an_isv_proxy_one_imported_key_signs_for_every_client(self):
        with estate() as world:
            world.start_site()
            proxy_key, certificate = world.folder / "proxy.key", world.folder / "proxy.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", proxy_key, "-out", certificate, "-days", "365",
                            "-subj", "/CN=Greengate Proxy", "-addext", "keyUsage=digitalSignature,dataEncipherment", "-addext",
                            "extendedKeyUsage=1.3.6.1.4.1.311.101,1.3.6.1.4.1.311.101.2"], check=True, capture_output=True, timeout=120)
            proxy_key.chmod(0o600)
            der = subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER"], check=True, capture_output=True).stdout
            proxy = world.site.ask("POST", "/mp/proxies", {"certificate": der.hex().upper()})["smsid"]
            world.start_gateway(site=f'identity_mode = "isv_proxy"\nproxy_key_file = "{proxy_key}"\nproxy_certificate_file = "{certificate}"\n'
                                     f'proxy_sms_id = "{proxy}"\nproxy_property = "ProxyID"\n')
            agents = [enrol(world, "one"), enrol(world, "two")]
            for agent in agents:
                everything_arrives(self, world, agent)
                self.assertEqual(world.site.get(f"/mp/clients/{agent['site']['sms_id']}")["agent_type"], 8)
            self.assertEqual(certificates(world), {der.hex().upper()})
            self.assertTrue(all(f'<Signature SMSID="{proxy}">' in body for _, body in registrations(world)))
            header = (world.folder / "site" / accepted(world, agents[0]["site"]["sms_id"], "state")[0]["folder"] / "msg.xml").read_text()
            self.assertIn(f"<SourceID>{agents[0]['site']['sms_id']}</SourceID>", header)
            self.assertIn(f'<Property Name="ProxyID">{proxy}</Property>', header)
            self.assertEqual(world.refused_at_site(), [])


class Changes(unittest.TestCase):
    def test_a_key_change_that_the_old_key_vouches_for_keeps_the_smsid_and_loses_nothing(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(site='registration_hint = "always"\n', registration=QUICK)
            agent = enrol(world, "one")
            everything_arrives(self, world, agent)
            world.send_state(5, "one")
            world.control("agents", "rotate-key", agent["id"])
            world.wait("a second certificate", lambda: len(certificates(world)) == 2)
            world.wait("the new key in use", lambda: "outcome=renewed" in world.log_of("greengate"))
            world.send_state(5, "one", first=5)
            sent = {f"journey-{i}" for i in range(10)}
            world.wait("all of them at the site", lambda: sent <= set(world.topics_at_site(agent)))
            self.assertEqual(now(world, agent)["site"]["sms_id"], agent["site"]["sms_id"])
            self.assertEqual(world.refused_at_site(), [])
            self.assertEqual(world.site.get("/mp/clients")["total"], 1)

    def test_a_key_change_without_a_hint_takes_the_record_the_site_gives(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(registration=QUICK)
            agent = enrol(world, "one")
            everything_arrives(self, world, agent)
            world.control("agents", "rotate-key", agent["id"])
            world.wait("another SMSID", lambda: now(world, agent)["site"]["sms_id"] != agent["site"]["sms_id"])
            world.send_state(1, "one", first=7)
            changed = now(world, agent)
            world.wait("its state under the new SMSID", lambda: "journey-7" in world.topics_at_site(changed))
            # The new record knows no inventory: it gets the whole, without the agent being asked.
            world.wait("the whole inventory under the new SMSID",
                       lambda: any(m["report"]["type"] == "Full" for m in accepted(world, changed["site"]["sms_id"], "hardware")))
            self.assertEqual(world.refused_at_site(), [])

    def test_a_certificate_is_renewed_before_it_ends(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(site="certificate_days = 3\n", registration='renew_before = "0s"\n')  # two of them back-dated
            agent = enrol(world, "one")
            everything_arrives(self, world, agent)
            world.kill("gateway")
            world.start_gateway(site='certificate_days = 40\nregistration_hint = "always"\n', registration=QUICK + 'renew_before = "2d"\n')
            world.wait("the renewal", lambda: "outcome=renewed" in world.log_of("greengate"))
            self.assertEqual(len(certificates(world)), 2)
            self.assertEqual(now(world, agent)["site"]["sms_id"], agent["site"]["sms_id"])
            everything_arrives(self, world, agent)
            self.assertEqual(world.refused_at_site(), [])


class Lost(unittest.TestCase):
    def test_an_agent_the_site_forgot_is_registered_again_under_its_smsid(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(registration=QUICK, more=ASKING)
            agent = enrol(world, "one")
            everything_arrives(self, world, agent)
            world.site.ask("POST", "/mp/forget", {"smsid": agent["site"]["sms_id"]})
            world.wait("the site to know it again",
                       lambda: any(c["smsid"] == agent["site"]["sms_id"] and c["standing"] == "confirmed"
                                   for c in world.site.get("/mp/clients")["clients"]))
            world.wait("it to be ready again", lambda: now(world, agent)["site"]["state"] == "ready")
            asked = [re.search(r'RequestType="(\w+)"', body).group(1) for _, body in registrations(world)]
            self.assertEqual(asked.count("Registration"), 2)
            first_again = len(asked) - 1 - asked[::-1].index("Registration")
            self.assertEqual(asked[first_again - 1], "Confirmation", "it asked first whether it was known")
            world.send_state(1, "one", first=3)
            world.wait("its state at the site", lambda: "journey-3" in world.topics_at_site(agent))

    def test_a_rejected_agent_is_seen_and_its_reports_wait_for_a_kinder_site(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(registration=QUICK)
            world.site.ask("POST", "/mp/faults", {"kind": "registration", "status": 3})
            world.start_agent("one", world.token())
            agent = world.wait("the rejection", lambda: next((a for a in world.agents() if a["site"]["state"] == "rejected"), None))
            self.assertEqual(agent["site"]["last_code"], "registration.rejected")
            world.wait("its reports to wait", lambda: len(unsettled(world, agent)) >= 2)
            world.site.ask("DELETE", "/mp/faults")
            world.wait("all to be delivered", lambda: not unsettled(world, agent))
            self.assertEqual(now(world, agent)["site"]["state"], "ready")


if __name__ == "__main__":
    unittest.main(verbosity=2)
