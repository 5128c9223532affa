"""How the gateway and the agent end: whatever the site does, in the time they have, and nothing acknowledged is lost."""

import pathlib
import re
import signal
import socket
import unittest

from estate import estate
from pacing_journeys import STATE, pace, set_faults, unsettled
from script_journeys import ALLOW, Pressed, allowing, online, with_parameters

DRAIN_MS = 3_000
HUNG = {"kind": "latency", "latency_ms": 600_000, "endpoint": STATE}
# A sanitized build on a busy machine; what is asserted closely is what the gateway itself measured.
PATIENCE_S = 60


def last_stop(world):
    """The log from the last SIGTERM on."""
    text = world.log_of("greengate")
    return text[text.rindex("event=stopping"):]


def drained_ms(log):
    return int(re.search(r'event="all stopped" drain_ms=(\d+)', log).group(1))


def has_settled(world, agent):
    return len(world.reports(agent)) >= 3 and not unsettled(world, agent)


def descendants(pid):
    """Every process below this one, now."""
    found = []
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class GatewayStops(unittest.TestCase):
    def start(self, **gateway):
        world = self.enterContext(estate())
        world.start_site()
        world.start_gateway(gateway=f'drain_timeout = "{DRAIN_MS}ms"\n', **gateway)
        return world

    def stop(self, world):
        """SIGTERM; the exit status."""
        child = world.processes["gateway"]
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=PATIENCE_S)
        return world.kill("gateway")

    def test_a_site_that_hangs_everywhere_delays_nothing_beyond_the_drain_time_and_its_report_comes_once(self):
        world = self.start()
        agents = [world.enrol_agent(f"agent{i}") for i in range(3)]
        for agent in agents:
            world.wait("the first reports to be delivered", lambda: has_settled(world, agent))
        world.wait("the sessions", lambda: world.control("status")["notifications"]["sessions_online"] == 3)

        set_faults(world, HUNG)
        world.site.ask("POST", "/notify/faults", {"fault": "black-hole", "on": "push", "count": -1})
        world.site.ask("POST", "/notify/push", {"clients": [agents[0]["site"]["sms_id"]], "task_type": 1})
        world.send_state(1, name="agent0")
        world.wait("an exchange that hangs", lambda: pace(world, "state")["in_flight"] == 1)
        # Two operators who began to ask and went for coffee.
        half_asked = socket.create_connection(("127.0.0.1", world.addresses["observe_port"]))
        self.addCleanup(half_asked.close)
        half_asked.sendall(b"GET /metr")
        at_the_socket = socket.socket(socket.AF_UNIX)
        self.addCleanup(at_the_socket.close)
        at_the_socket.connect(str(world.folder / "admin.sock"))
        at_the_socket.sendall(b"POST /v1/tokens HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")

        self.assertIn(self.stop(world), (0, 1))
        log = last_stop(world)
        self.assertIn('event="exchanges abandoned"', log)
        self.assertIn('event="agents told to come back" agents=3', log)
        if "left as it is" not in log:
            self.assertLess(drained_ms(log), DRAIN_MS + 2_000, log)

        set_faults(world)
        world.site.ask("DELETE", "/notify/faults")
        world.start_gateway()
        world.wait("everything to be delivered", lambda: has_settled(world, agents[0]))
        self.assertEqual([r for r in world.reports(agents[0]) if r["state"] not in ("delivered", "superseded")], [])
        self.assertEqual(world.topics_at_site(agents[0]).count("journey-0"), 1)
        self.assertEqual(world.refused_at_site(), [])

    def test_a_second_signal_ends_it_at_once(self):
        world = self.start()
        agent = world.enrol_agent()
        world.wait("the first reports to be delivered", lambda: has_settled(world, agent))
        set_faults(world, HUNG)
        world.send_state(1)
        world.wait("an exchange that hangs", lambda: pace(world, "state")["in_flight"] == 1)
        child = world.processes["gateway"]
        child.send_signal(signal.SIGTERM)
        world.wait("the stop to begin", lambda: "event=stopping" in world.log_of("greengate"))
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=PATIENCE_S)
        self.assertEqual(world.kill("gateway"), 1)
        self.assertNotIn("event=stopped", world.log_of("greengate"))

    def test_a_signal_while_it_starts_ends_it(self):
        world = self.start()
        self.assertEqual(self.stop(world), 0)
        child = world.stage.start("greengate", "--config", world.folder / "greengate.toml")
        world.processes["gateway"] = child
        world.wait("its signals to be its own", lambda: child.poll() is not None or signals_are_taken(child.pid))
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=PATIENCE_S)
        self.assertEqual(world.kill("gateway"), 0)


def signals_are_taken(pid):
    """Whether SIGTERM is blocked in the main thread, for another to wait for."""
    blocked = re.search(r"^SigBlk:\s*([0-9a-f]+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(blocked.group(1), 16) >> (signal.SIGTERM - 1) & 1 == 1


class AgentStops(unittest.TestCase):
    def test_a_command_and_what_it_begot_end_with_an_agent_that_is_told_to_stop(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(notifications=ALLOW)
            body = "setsid sleep 600 &\nsleep 600\n"
            agent = world.enrol_agent(more=allowing(world, body, SCAN))
            online(world)
            Pressed(world, agent, with_parameters(Path="/", Word="x"))
            child = world.processes["agent"]
            below = world.wait("the command and its daemon", lambda: two_sleepers(child.pid))
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=PATIENCE_S)
            self.assertEqual(world.kill("agent"), 0)
            world.wait("everything below it to be gone", lambda: not any(map(alive, below)))


def two_sleepers(pid):
    below = descendants(pid)
    return below if [name_of(p).strip() for p in below].count("sleep") == 2 else None


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text()
    except FileNotFoundError:
        return ""


# It looks at all of the machine's files meanwhile.
SCAN = '[software]\nenabled = true\npaths = ["/usr"]\nfiles_per_second = 100\n'

if __name__ == "__main__":
    unittest.main(verbosity=2)
