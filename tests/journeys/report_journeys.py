"""Reports on their way to the site while things die, are away, or are hostile."""

import os
import random
import signal
import subprocess
import sys
import time
import unittest

from estate import BIN, ROOT, estate


def unsettled(world, agent):
    return [r for r in world.reports(agent) if r["state"] in ("waiting", "leased")]


class MainJob(unittest.TestCase):
    def test_every_step_is_verified_and_no_process_stays_behind(self):
        done = subprocess.run([sys.executable, ROOT / "deploy" / "main_job.py", "--bin", BIN, "--once"], capture_output=True,
                              text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("Every step was verified.", done.stdout)
        folder = done.stdout.split("State: ")[1].split()[0]
        left = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True).stdout.split()
        self.assertEqual(left, [], "processes stayed behind")
        subprocess.run(["rm", "-rf", folder], check=True)


class Delivery(unittest.TestCase):
    def test_reports_wait_while_the_management_point_is_down_and_arrive_when_it_is_back(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            world.kill("site")
            world.send_state(5)
            world.wait("five stored reports that wait", lambda: len(unsettled(world, agent)) == 5)
            world.start_site()
            world.wait("all to be delivered", lambda: not unsettled(world, agent))
            topics = [t for t in world.topics_at_site(agent) if t.startswith("journey-")]
            self.assertEqual(topics, [f"journey-{i}" for i in range(5)])
            self.assertEqual(world.refused_at_site(), [])

    def test_a_gateway_killed_between_keep_and_deliver_loses_nothing_and_repeats_nothing(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            world.site.ask("POST", "/mp/faults", {"kind": "status", "status": 503})
            world.send_state(20)
            world.wait("twenty stored reports that wait", lambda: len(unsettled(world, agent)) == 20)
            world.kill("gateway", signal.SIGKILL)
            world.site.ask("DELETE", "/mp/faults")
            world.start_gateway()
            world.wait("all to be delivered", lambda: not unsettled(world, agent))
            topics = [t for t in world.topics_at_site(agent) if t.startswith("journey-")]
            self.assertEqual(topics, [f"journey-{i}" for i in range(20)])
            self.assertEqual(world.refused_at_site(), [])

    def test_an_agents_outbox_survives_its_own_death_and_the_gateways_absence(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            world.kill("gateway", signal.SIGTERM)
            world.send_state(5)
            world.kill("agent", signal.SIGKILL)
            world.start_agent()
            world.start_gateway()
            world.wait("all five at the site",
                       lambda: len([t for t in world.topics_at_site(agent) if t.startswith("journey-")]) >= 5)
            topics = [t for t in world.topics_at_site(agent) if t.startswith("journey-")]
            self.assertEqual(topics, [f"journey-{i}" for i in range(5)])

    def test_deaths_at_random_moments_lose_nothing(self):
        seed = int(os.environ.get("GREENGATE_SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"seed {seed} (GREENGATE_SEED)", file=sys.stderr)
        dice = random.Random(seed)
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            sent = 0
            for _ in range(6):
                world.send_state(3, first=sent)
                sent += 3
                time.sleep(dice.random())  # the moment of death is the point of the test
                victim = dice.choice(["gateway", "agent", "site"])
                world.kill(victim, signal.SIGKILL)
                {"gateway": world.start_gateway, "agent": world.start_agent, "site": world.start_site}[victim]()
            expected = {f"journey-{i}" for i in range(sent)}
            world.wait("every state message at the site", lambda: expected <= set(world.topics_at_site(agent)), 120)
            # A message the site took in the moment it died may come again, and is recognised as the same; its order holds.
            first_seen = [t for t in dict.fromkeys(world.topics_at_site(agent)) if t.startswith("journey-")]
            self.assertEqual(first_seen, [f"journey-{i}" for i in range(sent)])


class ManagementPoints(unittest.TestCase):
    def test_reports_go_over_https_to_a_management_point_whose_certificate_is_trusted(self):
        with estate() as world:
            world.start_site("--tls", "--https-only")
            world.start_gateway(points=[f"https://127.0.0.1:{world.ports['mp_tls_port']}"],
                                site=f'ca_file = "{world.tls_certificate()}"\n')
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            self.assertEqual(world.refused_at_site(), [])

    def test_a_management_point_that_asks_for_a_certificate_gets_the_gateways(self):
        with estate() as world:
            ca, ours = world.folder / "ca.pem", world.folder / "gateway-tls.pem"
            for command in (["req", "-x509", "-subj", "/CN=Journey CA", "-keyout", "ca.key", "-out", ca, "-addext", "basicConstraints=critical,CA:TRUE"],
                            ["req", "-subj", "/CN=gateway", "-keyout", "gateway-tls.key", "-out", "gateway.csr"],
                            ["x509", "-req", "-in", "gateway.csr", "-CA", ca, "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-out", ours]):
                new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"] if command[0] == "req" else []
                subprocess.run(["openssl", command[0], *new_key, *map(str, command[1:])], cwd=world.folder, check=True, capture_output=True)
            world.start_site("--tls", "--https-only", "--client-ca", ca, "--require-client-certificate")
            trusting = f'ca_file = "{world.tls_certificate()}"\n'
            points = [f"https://127.0.0.1:{world.ports['mp_tls_port']}"]
            world.start_gateway(points=points, site=trusting)
            world.start_agent(token=world.token())
            world.wait("the site to shut out who shows none", lambda: world.control("status")["management_points"][0]["last_code"] not in ("", None))
            self.assertEqual(world.site.get("/mp/clients")["total"], 0)
            world.kill("gateway", signal.SIGTERM)
            world.start_gateway(points=points, site=trusting + f'client_certificate_file = "{ours}"\nclient_key_file = "{world.folder}/gateway-tls.key"\n')
            agent = world.wait("the agent to be ready at the site", lambda: next((a for a in world.agents() if a["site"]["state"] == "ready"), None))
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))

    def test_a_certificate_nobody_vouches_for_gets_no_report(self):
        with estate() as world:
            world.start_site("--tls")
            world.start_gateway(points=[f"https://127.0.0.1:{world.ports['mp_tls_port']}"])
            world.start_agent(token=world.token())
            world.wait("the refusal in the gateway's log", lambda: "code=http.tls" in world.log_of("greengate"))
            self.assertEqual(world.site.get("/mp/clients")["total"], 0)

    def test_the_next_management_point_takes_over_when_the_first_cannot_be_reached(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(points=["http://127.0.0.1:1", f"http://127.0.0.1:{world.ports['mp_port']}"])
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            first, second = world.control("status")["management_points"]
            self.assertEqual((first["answered"], first["last_code"]), (0, "http.connect"))
            self.assertGreater(second["answered"], 0)


class Enrolment(unittest.TestCase):
    def test_an_operator_lets_an_agent_in_and_shuts_it_out_within_a_second(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(extra='pending_retry = "1s"\n')
            world.start_agent(token="")
            pending = world.wait("a pending agent", lambda: next(iter(world.agents()), None))
            self.assertEqual(pending["state"], "pending")
            self.assertEqual(world.reports(pending), [])
            world.control("agents", "approve", pending["id"])
            world.wait("its first delivered report",
                       lambda: any(r["state"] == "delivered" for r in world.reports(pending)))
            world.control("agents", "revoke", pending["id"])
            began = time.monotonic()
            world.wait("the agent to be cut off", lambda: not world.agents()[0]["connected"], 5)
            self.assertLess(time.monotonic() - began, 1.5)
            before = len(world.reports(pending))
            world.send_state(1)
            time.sleep(1)
            self.assertEqual(len(world.reports(pending)), before, "a revoked agent's report was kept")

    def test_a_spent_token_lets_nobody_in_and_the_agent_says_why(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            token = world.token(uses=1)
            world.start_agent("first", token)
            world.wait("the first agent", lambda: len(world.agents()) == 1)
            world.start_agent("second", token)
            world.wait("the second agent's complaint", lambda: "enrol.token_spent" in world.log_of("greengate-agent"))
            self.assertEqual(len(world.agents()), 1)


class Notifications(unittest.TestCase):
    def answer(self, world, agent, task_type):
        sent = world.site.ask("POST", "/notify/push", {"clients": [agent["site"]["sms_id"]], "task_type": task_type})
        def answered():
            clients = world.site.get(f"/notify/pushes/{sent['push_id']}")["clients"]
            return next((c for c in clients if c.get("round_trip_ms") is not None), None)
        return world.wait("an answer to the push", answered, 20)["return_code"]

    def test_a_push_comes_back_with_its_return_code_and_an_unknown_one_with_the_failure_code(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            world.wait("the session", lambda: world.control("status")["notifications"]["sessions_online"])
            self.assertEqual(self.answer(world, agent, 1), 1)
            self.assertEqual(self.answer(world, agent, 910), 1)
            self.assertEqual(self.answer(world, agent, 950), 0)
            world.kill("agent", signal.SIGKILL)

    def test_the_session_comes_back_by_itself_after_the_server_was_away(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            world.wait("the session", lambda: world.control("status")["notifications"]["sessions_online"])
            world.kill("site")
            world.wait("the loss to be noticed", lambda: not world.control("status")["notifications"]["sessions_online"])
            world.start_site()
            world.wait("the session again", lambda: world.control("status")["notifications"]["sessions_online"])
            self.assertEqual(self.answer(world, agent, 912), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
