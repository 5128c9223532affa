"""A site that is slow, broken in part, or hung: it is spared, what still works goes on, and nothing waits for ever."""

import signal
import threading
import time
import unittest

from estate import estate

STATE, INVENTORY = "MP_RelayEndpoint", "MP_HinvEndpoint"


def unsettled(world, agent):
    return [r for r in world.reports(agent) if r["state"] in ("waiting", "leased")]


def pace(world, kind):
    """What greengatectl status says of one message type at the first management point."""
    return next(t for t in world.control("status")["management_points"][0]["types"] if t["type"] == kind)


def set_faults(world, *faults):
    world.site.ask("DELETE", "/mp/faults")
    for fault in faults:
        world.site.ask("POST", "/mp/faults", fault)


class Demand:
    """State messages of every agent, over and over, until the end of the block."""

    def __init__(self, world, names):
        self.over = threading.Event()
        self.sent = dict.fromkeys(names, 0)
        self.threads = [threading.Thread(target=self.send, args=(world, name)) for name in names]

    def send(self, world, name):
        while not self.over.is_set():
            world.send_state(1, name, self.sent[name])
            self.sent[name] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Pacing(unittest.TestCase):
    def test_a_slow_management_point_gets_fewer_messages_at_once_and_more_again_when_it_recovers(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            names = [f"agent{i}" for i in range(5)]
            agents = {name: world.enrol_agent(name) for name in names}
            usual = {"kind": "latency", "latency_ms": 200, "endpoint": STATE}
            set_faults(world, usual)
            with Demand(world, names) as demand:
                world.wait("the usual latency to be known, and four at once or more",
                           lambda: pace(world, "state")["usual_latency_ms"] >= 150 and pace(world, "state")["concurrency"] >= 4)
                before = pace(world, "state")
                set_faults(world, {"kind": "latency", "latency_ms": 1500, "endpoint": STATE})
                fallen = world.wait("fewer at once", lambda: (lambda p: p if p["concurrency"] <= before["concurrency"] // 2 else None)(pace(world, "state")))
                self.assertGreater(fallen["slowed"], before["slowed"])
                self.assertEqual(fallen["state"], "closed", "slow is not broken")
                world.wait("one at once", lambda: pace(world, "state")["concurrency"] == 1)
                set_faults(world, usual)
                world.wait("four at once again", lambda: pace(world, "state")["concurrency"] >= 4)
            set_faults(world)
            for name, agent in agents.items():
                world.wait("all to be delivered", lambda: not unsettled(world, agent))
                topics = [t for t in world.topics_at_site(agent) if t.startswith("journey-")]
                self.assertEqual(topics, [f"journey-{i}" for i in range(demand.sent[name])])
            self.assertEqual(world.refused_at_site(), [])

    def test_a_broken_inventory_component_rests_while_state_messages_arrive(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            set_faults(world, {"kind": "status", "status": 500, "endpoint": INVENTORY})
            agent = world.enrol_agent()
            world.wait("inventory to rest", lambda: pace(world, "hardware_inventory")["state"] in ("open", "half_open"))
            began = time.monotonic()
            world.send_state(1)
            world.wait("the state message at the site", lambda: "journey-0" in world.topics_at_site(agent))
            self.assertLess(time.monotonic() - began, 10)
            status = world.control("status")["management_points"][0]
            self.assertEqual(status["state"], "closed")
            self.assertEqual([r["kind"] for r in unsettled(world, agent)], ["hardware inventory"])
            set_faults(world)
            world.wait("the inventory to be delivered", lambda: not unsettled(world, agent))
            self.assertEqual(pace(world, "hardware_inventory")["state"], "closed")

    def test_the_site_is_asked_to_wait_no_faster_than_it_says(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            failed = world.control("status")["management_points"][0]["failed"]
            set_faults(world, {"kind": "status", "status": 503, "retry_after_s": 4, "count": 1, "endpoint": STATE})
            began = time.monotonic()
            world.send_state(1)
            world.wait("the message to be taken", lambda: "journey-0" in world.topics_at_site(agent))
            self.assertGreaterEqual(time.monotonic() - began, 3.9)
            self.assertEqual(world.control("status")["management_points"][0]["failed"], failed + 1)

    def test_a_declared_budget_spreads_messages_and_holds_up_no_other_type(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(more='[pacing]\ndiscovery = "30/1min"\nburst = 1\n')
            agents = [world.enrol_agent(f"agent{i}") for i in range(3)]
            for agent in agents:
                world.wait("everything to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            settled = sorted(r["settled_at_ms"] for agent in agents for r in world.reports(agent) if r["kind"] == "discovery")
            self.assertEqual(len(settled), 3)
            for earlier, later in zip(settled, settled[1:]):
                self.assertGreaterEqual(later - earlier, 1900, settled)
            budget = next(b for b in world.control("status")["pacing"] if b["type"] == "discovery")
            self.assertEqual((budget["budget"], budget["sent"]), ("30/1min", 3))

    def test_a_hung_management_point_does_not_delay_the_shutdown_and_nothing_is_lost(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(gateway='drain_timeout = "1s"\n')
            agent = world.enrol_agent()
            world.wait("the first reports to be delivered", lambda: len(world.reports(agent)) >= 3 and not unsettled(world, agent))
            set_faults(world, {"kind": "latency", "latency_ms": 60_000, "endpoint": STATE})
            world.send_state(1)
            world.wait("an exchange that hangs", lambda: pace(world, "state")["in_flight"] == 1)
            began = time.monotonic()
            self.assertEqual(world.kill("gateway", signal.SIGTERM), 0)
            self.assertLess(time.monotonic() - began, 10)
            self.assertIn('event="exchanges abandoned"', world.log_of("greengate"))
            set_faults(world)
            world.start_gateway()
            world.wait("the message to be delivered", lambda: not unsettled(world, agent))
            self.assertIn("journey-0", world.topics_at_site(agent))
            self.assertEqual(world.refused_at_site(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
