"""Whose notification server: the one that the site's location answer names for an agent's subnet, whatever the site says or fails to say later."""

import json
import subprocess
import unittest

from estate import estate, main_job

HERE = "127.0.0.0"  # the subnet of every agent of this machine


class SecondServer:
    """A notification server of its own beside the site's, on another address of this machine."""

    def __init__(self, world):
        folder = world.folder / "second"
        child = world.stage.start("greengate-sim", "notify", "--dir", folder, "--bind", "127.0.0.2", "--admin-port", 0, stdout=subprocess.PIPE)
        ports = main_job.first_line(world.stage, child)
        self.door = main_job.Simulator(ports["admin_port"])
        self.address = f"127.0.0.2:{ports['notify_port']}"
        self.certificate = folder / "notify" / "server-certificate.pem"


def names(world, *points, subnet=HERE):
    """What the site's location answer says from now on."""
    world.site.ask("POST", "/mp/locations", {"subnet": subnet, "points": list(points)})


def open_gateway(world, servers, certificates):
    together = world.folder / "servers.pem"
    together.write_text("".join(file.read_text() for file in certificates))
    world.start_gateway(bgb='servers_from = "location"\ntick = "100ms"\n', servers=servers, certificate=together, more='[policy]\nlocation_ttl = "1s"\n')


def connected(door, agent):
    try:
        return door.get(f"/notify/clients/{agent['site']['sms_id']}").get("connected")
    except main_job.Failed:  # it never came
        return False


def push(world, door, agent):
    made = door.ask("POST", "/notify/push", {"clients": [agent["site"]["sms_id"]]})["push_id"]

    def answered():
        one = door.get(f"/notify/pushes/{made}")["clients"][0]
        return one if one["state"] == "answered" else None

    return world.wait(f"the answer to push {made}", answered)["return_code"]


def explained(world, agent):
    return world.control("explain", agent["id"])["notification_servers"]


class NotifyByLocation(unittest.TestCase):
    def test_a_session_is_at_the_server_the_site_names_moves_with_the_answer_and_stays_when_there_is_none(self):
        with estate() as world:
            world.start_site()
            second = SecondServer(world)
            first = f"127.0.0.1:{world.ports['notify_port']}"
            names(world, "127.0.0.2")
            open_gateway(world, [first, second.address], [world.folder / "site" / "notify" / "server-certificate.pem", second.certificate])
            agents = [world.enrol_agent(f"agent{i}") for i in range(3)]
            for agent in agents:
                world.wait("a session at the second server", lambda: connected(second.door, agent))
                world.wait("none at the first", lambda: not connected(world.site, agent))
            self.assertEqual(push(world, second.door, agents[0]), 1)
            about = world.wait("what an operator sees", lambda: (seen := explained(world, agents[0])).get("at", "").startswith(second.address) and seen)
            self.assertEqual((about["servers"], about["named_by_the_site"]), ("location", second.address))
            self.assertIn("Notification servers", world.text_of("explain", agents[0]["id"]))

            names(world, "127.0.0.1")
            for agent in agents:
                world.wait("the session to move to the first", lambda: connected(world.site, agent))
                world.wait("and to leave the second", lambda: not connected(second.door, agent))
            self.assertEqual(push(world, world.site, agents[0]), 1)

            asked = world.metric("greengate_notification_servers_answers_total", outcome="failed")
            names(world, "169.254.169.254", "mp02.evil.test", "localhost")
            world.wait("hosts that may not be used", lambda: world.metric("greengate_notification_servers_refused_total") >= 3)
            names(world)
            world.wait("a question that fails", lambda: world.metric("greengate_notification_servers_answers_total", outcome="failed") > asked)
            self.assertTrue(all(connected(world.site, agent) for agent in agents))
            self.assertEqual(push(world, world.site, agents[1]), 1)
            self.assertEqual(world.metric("greengate_bgb_servers", **{"from": "location"}), 0, "nothing was learned that no setting names")
            for door in (world.site, second.door):
                self.assertEqual(door.get("/notify/violations")["by_code"], {}, "the server found nothing wrong")
            questions = [line for line in world.verdicts() if json.dumps(line).find("EnumerateMPLocationRequest") >= 0]
            self.assertTrue(questions and all(line["verdict"] == "accepted" for line in questions))

    def test_while_the_site_says_nothing_a_session_is_at_a_server_of_the_settings(self):
        with estate() as world:
            world.start_site()
            open_gateway(world, [f"127.0.0.1:{world.ports['notify_port']}"], [world.folder / "site" / "notify" / "server-certificate.pem"])
            agent = world.enrol_agent()
            world.wait("the session", lambda: connected(world.site, agent))
            world.wait("the question that failed", lambda: explained(world, agent).get("last_failure"))
            self.assertEqual(explained(world, agent)["servers"], "settings")
            self.assertEqual(push(world, world.site, agent), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
