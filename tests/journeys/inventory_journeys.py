"""Inventories from agents that always send their whole state: what reaches the site is whole once, then changes, then nothing."""

import os
import random
import signal
import sys
import unittest
import xml.etree.ElementTree as ElementTree

from estate import estate
from scripted_agent import ScriptedAgent, frame_pb2, report_pb2

# Class: its columns, the first of which names an instance, and which of them churn.
SHAPES = {
    "Win32Reg_AddRemovePrograms": (["ProdID", "Version", "Publisher"], []),
    "Win32_Service": (["Name", "State", "ProcessId"], ["ProcessId"]),
    "SMS_LogicalDisk": (["DeviceID", "Size", "FreeSpace"], ["FreeSpace"]),
}
NAMESPACES = {"SMS_LogicalDisk": "root\\cimv2\\sms"}


def inventory(state):
    """{class: {key: [values]}} as an agent sends it."""
    message = report_pb2.HardwareInventory(collected_at_ms=1)
    for name, rows in state.items():
        columns, churning = SHAPES[name]
        table = message.classes.add(name=name, name_space=NAMESPACES.get(name, "root\\cimv2"), properties=columns, key_properties=[0],
                                    churning_properties=[columns.index(c) for c in churning])
        for key, values in rows.items():
            table.instances.add(values=[report_pb2.Value(text=text) for text in [key, *values]])
    return message


def without_churn(state):
    kept = {}
    for name, rows in state.items():
        columns, churning = SHAPES[name]
        if rows:
            kept[name] = {key: tuple(v for c, v in zip(columns[1:], values) if c not in churning) for key, values in rows.items()}
    return kept


class Inventories(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(estate())
        self.world.start_site()
        self.world.start_gateway()
        self.one = ScriptedAgent(self.world, "scripted01")
        self.addCleanup(self.one.close)

    def report(self, state):
        return self.one.publish(frame_pb2.LANE_INVENTORY, frame_pb2.KIND_HARDWARE_INVENTORY, inventory(state))

    def messages(self):
        """Type and version of every hardware inventory the site accepted, and its XML."""
        found = []
        for message in self.world.verdicts():
            if message["client"] != self.one.agent["site"]["sms_id"] or message["verdict"] != "accepted" or message["endpoint"] != "MP_HinvEndpoint":
                continue
            report = ElementTree.fromstring((self.world.folder / "site" / message["folder"] / "body.xml").read_bytes())
            details = report.find("ReportHeader/ReportDetails")
            found.append((details.findtext("ReportType"), details.findtext("Version"), report.find("ReportBody")))
        return found

    def replayed(self):
        """What a site knows that applies these messages and nothing else."""
        classes = {}
        for kind, version, body in self.messages():
            if kind == "Full":
                classes = {}
            for instance in body:
                name, content = instance.get("Class"), instance.get("Content")
                columns, _ = SHAPES[name]
                values = {p.tag: p.text or "" for p in instance.find(name)}
                rows = classes.setdefault(name, {})
                key = values[columns[0]]
                self.assertEqual(key in rows, content != "New", f"{content} {name} {key} in {kind} {version}")
                if content == "Deleted":
                    del rows[key]
                else:
                    rows[key] = [values.get(c, "") for c in columns[1:]]
        return classes

    def at_site(self):
        """What the simulated site says it knows."""
        known = self.world.site.get(f"/mp/clients/{self.one.agent['site']['sms_id']}/inventory")["hardware"]
        return {name: {row[SHAPES[name][0][0]]: [row.get(c, "") for c in SHAPES[name][0][1:]] for row in rows} for name, rows in known.items() if rows}

    def test_the_first_is_whole_then_changes_then_nothing(self):
        state = {"Win32Reg_AddRemovePrograms": {f"package{i}": ["1.0", "Example & Söhne"] for i in range(600)},
                 "SMS_LogicalDisk": {"/dev/sda1": ["1000", "500"]}}
        self.assertEqual(self.one.outcome(self.report(state)), ("RECEIPT_STATUS_DELIVERED", ""))

        state["SMS_LogicalDisk"]["/dev/sda1"][1] = "400"
        self.assertEqual(self.one.outcome(self.report(state)), ("RECEIPT_STATUS_SUPERSEDED", "inventory.unchanged"))

        state["Win32Reg_AddRemovePrograms"]["package7"][0] = "2.0"
        del state["Win32Reg_AddRemovePrograms"]["package8"]
        state["Win32Reg_AddRemovePrograms"]["new <one>"] = ["0.1", ""]
        self.assertEqual(self.one.outcome(self.report(state)), ("RECEIPT_STATUS_DELIVERED", ""))

        messages = self.messages()
        self.assertEqual([m[:2] for m in messages], [("Full", "1.0"), ("Delta", "1.1")])
        self.assertEqual([i.get("Content") for i in messages[1][2]], ["Deleted", "Updated", "New"])
        self.assertEqual(without_churn(self.at_site()), without_churn(state))
        self.assertEqual(self.replayed(), self.at_site())
        self.assertEqual(self.world.refused_at_site(), [])
        trace = self.world.reports(self.one.agent)
        self.assertEqual([(r["state"], r["code"]) for r in trace if r["kind"] == "hardware inventory"],
                         [("delivered", ""), ("superseded", "inventory.unchanged"), ("delivered", "")])

    def test_random_states_over_deaths_and_a_failing_site_end_as_the_agents_state(self):
        seed = int(os.environ.get("GREENGATE_SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"seed {seed} (GREENGATE_SEED)", file=sys.stderr)
        dice = random.Random(seed)
        state = {name: {} for name in SHAPES}
        last = None
        for step in range(40):
            for _ in range(dice.randrange(4)):
                name = dice.choice(list(SHAPES))
                key = f"{name[-4:]}-{dice.randrange(8)}"
                if dice.random() < 0.3:
                    state[name].pop(key, None)
                else:
                    state[name][key] = [str(dice.randrange(5)) for _ in SHAPES[name][0][1:]]
            # Sometimes a class could not be looked at; nothing is concluded from that.
            told = {name: rows for name, rows in state.items() if dice.random() > 0.1}
            if step == 39:
                told = state
            last = self.report(told)
            event = dice.randrange(8)
            if event == 0:
                self.world.kill("gateway", signal.SIGKILL)
                self.world.start_gateway()
                self.one.connect()
                self.one.hello()
            elif event == 1:
                self.world.site.ask("POST", "/mp/faults", {"kind": "status", "status": 503, "count": 2})
            elif event == 2:
                self.world.wait("everything to be settled", lambda: not self.unsettled())
        self.world.wait("everything to be settled", lambda: not self.unsettled())
        self.assertNotEqual(last, None)
        self.assertEqual(without_churn(self.at_site()), without_churn(state))
        self.assertEqual(self.replayed(), self.at_site())
        self.assertEqual(self.world.refused_at_site(), [])
        versions = [tuple(map(int, version.split("."))) for _, version, _ in self.messages()]
        self.assertEqual(versions, sorted(set(versions)))

    def unsettled(self):
        return [r for r in self.world.reports(self.one.agent) if r["state"] in ("waiting", "leased")]


if __name__ == "__main__":
    unittest.main(verbosity=2)
