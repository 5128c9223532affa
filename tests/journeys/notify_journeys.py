"""The button: pressed at the site or by an operator, for agents that are there, away, slow, or cut off in the middle.

GREENGATE_JOURNEY_AGENTS says how many agents the fleet has (50; up to 1000)."""

import json
import os
import subprocess
import unittest

from estate import BIN, estate
from scripted_fleet import Fleet, notification_pb2

AGENTS = int(os.environ.get("GREENGATE_JOURNEY_AGENTS", "50"))
INVENTORY_TYPE, FULL_SCAN_TYPE = 912, 2
AGENTS_LINES = "ping_interval = \"2s\"\nenrolments_per_second = 1000\nenrol_interval = \"1s\"\n"


def all_ready(world, fleet):
    """The site knows every agent, and every connected one has its session there."""
    patience_s = 60 + len(fleet.members)
    world.wait("the site to know the fleet", lambda: sum(a["site"]["state"] == "ready" for a in world.agents()) == len(fleet.members), patience_s)
    sessions_open(world, len(fleet.members))


def sessions_open(world, count):
    world.wait(f"{count} open notification sessions", lambda: world.control("status")["notifications"]["sessions_online"] == count, 120 + count)


def press(world, task_type, clients="all"):
    return world.site.ask("POST", "/notify/push", {"clients": clients, "task_type": task_type})["push_id"]


def answers(world, push_id):
    return world.site.get(f"/notify/pushes/{push_id}")["clients"]


class Button(unittest.TestCase):
    def test_every_agent_acts_once_and_every_answer_is_counted_though_some_are_away_or_slow_and_the_gateway_dies(self):
        names = [f"host{i:04}" for i in range(AGENTS)]
        away, slow = names[:AGENTS // 10], names[AGENTS // 10:AGENTS // 10 + max(1, AGENTS // 20)]
        with estate() as world:
            world.start_site()
            world.start_gateway(extra=AGENTS_LINES)
            fleet = Fleet(world, names, slow)
            try:
                all_ready(world, fleet)
                fleet.leave(away)
                sessions_open(world, len(names) - len(away))

                push_id = press(world, INVENTORY_TYPE)
                world.wait("a third of the fleet to have heard", lambda: fleet.asked() >= len(names) // 3)
                world.kill("gateway")
                world.start_gateway(extra=AGENTS_LINES)
                fleet.reconnect()
                world.wait("everybody who is there to have acted",
                           lambda: sum(fleet.acted(notification_pb2.TASK_HARDWARE_INVENTORY).values()) >= len(names) - len(away), 120 + AGENTS)
                fleet.come_back(away)
                answered = world.wait("an answer of every agent", lambda: all(one["state"] == "answered" for one in answers(world, push_id)) and answers(world, push_id),
                                      120 + AGENTS)
                self.assertEqual(len(answered), len(names))
                self.assertEqual({one["return_code"] for one in answered}, {1})
                self.assertEqual(set(fleet.acted(notification_pb2.TASK_HARDWARE_INVENTORY).values()), {1})
                world.wait("the receipts", lambda: world.control("notify", "list")["notifications"][0]["states"] == {"done": len(names)})
                violations = [v for v in world.site.get("/notify/violations")["violations"] if v["code"] != "response.late"]
                self.assertEqual(violations, [])
            finally:
                fleet.close()

    def test_an_order_waits_for_an_absent_agent_over_a_restart_unless_it_is_cancelled_or_too_old(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(extra=AGENTS_LINES)
            fleet = Fleet(world, ["db01", "web01"])
            try:
                all_ready(world, fleet)
                fleet.leave(["db01"])
                world.wait("its absence to show", lambda: not next(a for a in world.agents() if a["host_name"] == "db01")["connected"])

                scan = world.control("notify", "send", "--task", "full_scan", "--agents", "db01,web01", "--by", "anna")
                restart = world.control("notify", "send", "--task", "restart", "--group", "db*", "--param", "grace_s=60")
                brief = world.control("notify", "send", "--task", "quick_scan", "--agents", "db01", "--ttl", "1s")
                twice = [world.control("notify", "send", "--task", "discovery", "--agents", "db01") for _ in range(2)]
                self.assertEqual((scan["devices"], restart["devices"], twice[1]["collapsed"]), (2, 1, 1))
                self.assertEqual(world.control("notify", "cancel", restart["id"])["cancelled"], 1)
                world.wait("the one that is there to have acted", lambda: fleet.acted(notification_pb2.TASK_FULL_SCAN)["web01"] == 1)
                states = lambda number: world.control("notify", "show", number)["states"]  # noqa: E731
                world.wait("what was brief to be over", lambda: states(brief["id"]) == {"expired": 1})

                world.kill("gateway")
                world.start_gateway(extra=AGENTS_LINES)
                fleet.reconnect()
                fleet.come_back(["db01"])
                world.wait("the absent one to have done both", lambda: states(scan["id"]) == {"done": 2} and states(twice[1]["id"]) == {"done": 1})
                acted = sorted(task for _, task in fleet.members["db01"].acted)
                self.assertEqual(acted, sorted([notification_pb2.TASK_FULL_SCAN, notification_pb2.TASK_DISCOVERY]), "not what was cancelled, expired or collapsed")
                self.assertEqual(states(restart["id"]), {"cancelled": 1})
                self.assertEqual(states(twice[0]["id"]), {"collapsed": 1})

                self.assertIn("anna", world.text_of("notify", "list"))
                self.assertIn("db01", world.text_of("notify", "show", scan["id"]))
                self.assertIn("LAST NOTIFICATIONS", world.text_of("explain", "db01"))
            finally:
                fleet.close()

    def test_a_program_orders_over_the_socket_and_a_wipe_wants_its_device_named(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(extra=AGENTS_LINES)
            fleet = Fleet(world, ["db01"])
            try:
                all_ready(world, fleet)

                def call(order):
                    done = subprocess.run(["curl", "-s", "--unix-socket", world.folder / "admin.sock", "http://gateway/v1/notifications", "-d", json.dumps(order)],
                                          check=True, capture_output=True, text=True, timeout=60)
                    return json.loads(done.stdout)

                order = {"task": "quick_scan", "all": True, "by": "cron", "key": "tonight"}
                first, again = call(order), call(order)
                self.assertEqual((first["fresh"], again["fresh"], again["id"]), (True, False, first["id"]))
                world.wait("the scan", lambda: fleet.acted(notification_pb2.TASK_QUICK_SCAN)["db01"] == 1)
                self.assertEqual(call({"task": "wipe", "agents": ["db01"]})["code"], "admin.not_confirmed")
                refused = subprocess.run([BIN / "greengatectl", "--socket", world.folder / "admin.sock", "notify", "send", "--task", "wipe", "--agents", "db01",
                                          "--confirm", "wipe-web01"], capture_output=True, text=True, timeout=60)
                self.assertEqual(refused.returncode, 1)
                self.assertIn("wipe-db01", refused.stderr)
                self.assertEqual(fleet.acted(notification_pb2.TASK_WIPE)["db01"], 0)
            finally:
                fleet.close()


if __name__ == "__main__":
    unittest.main()
