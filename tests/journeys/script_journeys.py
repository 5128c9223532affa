"""The site asks for a script: machines that allow it run a command of their own, and all others refuse."""

import base64
import hashlib
import json
import os
import pathlib
import pwd
import re
import unittest
import xml.etree.ElementTree

from estate import ROOT, estate

DONE, FAILED = 1, 0
SCRIPT = "3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19"
HASH = "E2D7550E8C36F89AF671FB4465413998CF5D5277E1D45CCF1CDC7AE3E73F9979"
ALLOW = 'scripts = "allow"\n'


def sample(name):
    return (ROOT / "tests" / "data" / "bgb" / name).read_text().strip()


def with_parameters(**values):
    """The sample's script with parameters, as the tool that writes single quotes sends it; its hash is that of the double-quoted form."""
    elements = "".join(f'<ScriptParameter ParameterGroupGuid="" ParameterGroupName="PG_" ParameterName="{name}" ParameterValue="{value}"/>'
                       for name, value in values.items())
    group = f"<ScriptParameters>{elements}</ScriptParameters>"
    digest = hashlib.sha256(group.encode("utf-16-le")).hexdigest()
    return (sample("09-taskparam-script-decoded.xml").replace("<ScriptParameters></ScriptParameters>", group.replace('"', "'"))
            .replace("ParameterHashAlg='SHA256'>", f"ParameterHashAlg='SHA256'>{digest}"))


class Pressed:
    def __init__(self, world, agent, xml):
        self.world = world
        parameter = base64.b64encode(xml.encode()).decode()
        sent = world.site.ask("POST", "/notify/push", {"clients": [agent["site"]["sms_id"]], "task_type": 15, "task_param": parameter})
        self.push, self.task_guid = sent["push_id"], sent["task_guid"]

    def answer(self):
        def answered():
            clients = self.world.site.get(f"/notify/pushes/{self.push}")["clients"]
            return next((one for one in clients if one["state"] == "answered"), None)
        return self.world.wait("the script's push to be answered", answered)["return_code"]


def results_at_site(world, agent):
    """Each script result the site accepted: task GUID, ResultCode, rows; as its own tools would read it."""
    found = []
    for message in world.verdicts():
        if message["client"] != agent["site"]["sms_id"] or message["verdict"] != "accepted":
            continue
        body = (world.folder / "site" / message["folder"] / "body.xml").read_text()
        if 'Type="9003"' not in body:
            continue
        for state in re.findall(r"<StateMessage .*?</StateMessage>", body, re.DOTALL):
            node = xml.etree.ElementTree.fromstring(state)
            if node.find("Topic").get("Type") != "9003":
                continue
            details = node.find("StateDetails")
            assert details.get("Type") == "1" and details.text[0] == details.text[-1] == '"', details.text
            result = xml.etree.ElementTree.fromstring(base64.b64decode(details.text[1:-1], validate=True).decode("utf-16-le").split("?>", 1)[1])
            found.append({"script": node.find("Topic").get("ID"), "state": node.find("State").get("ID"),
                          "parameters": [p.text for p in node.find("UserParameters")], "code": result.get("ResultCode"),
                          "rows": [row.attrib for row in result]})
    return found


def audit_of(world, name="agent"):
    path = world.folder / name / "state" / "script-audit.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def some_user():
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def allowing(world, body, more=""):
    world.folder.chmod(0o755)  # the command runs as somebody else
    command = world.folder / "command"
    command.write_text("#!/bin/sh\n" + body)
    command.chmod(0o755)
    return (f'[scripts]\nenabled = true\n[scripts.allow.example]\nscript_guid = "{SCRIPT}"\nscript_hash = "{HASH.lower()}"\n'
            f'command = ["{command}", "{{param:Path}}"]\nrun_as = "{some_user()}"\nparameters = ["Path", "Word"]\nprocesses_max = 0\n' + more)


def online(world):
    """The journey's only agent has its session at the site."""
    world.wait("the agent's session to be open", lambda: world.control("status")["notifications"]["sessions_online"])


class Scripts(unittest.TestCase):
    def test_an_allowed_script_runs_the_local_command_and_its_result_arrives(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(notifications=ALLOW)
            agent = world.enrol_agent(more=allowing(world, 'echo "$1 as $(id -un)"\necho "<$GREENGATE_PARAM_WORD>"\nexit 3\n'))
            online(world)
            pressed = Pressed(world, agent, with_parameters(Path="/var; id", Word="hunter2 &amp; co"))
            self.assertEqual(pressed.answer(), DONE)
            (result,) = world.wait("the result at the site", lambda: results_at_site(world, agent))
            self.assertEqual(result, {"script": SCRIPT, "state": "1", "parameters": ["{" + pressed.task_guid.upper() + "}", "0"], "code": "3",
                                      "rows": [{"Output": f"/var; id as {some_user()}"}, {"Output": "<hunter2 & co>"}]})
            self.assertEqual([(m["verdict"], m["violations"]) for m in world.verdicts() if m["verdict"] == "refused" or m["violations"]], [])
            started, ended = audit_of(world)
            self.assertEqual((started["event"], ended["event"], ended["exit"]), ("started", "ended", 3))
            for line in (started, ended):
                self.assertEqual((line["script_guid"], line["script_hash"], line["task_guid"], line["user"], line["parameters"]),
                                 (SCRIPT, HASH.lower(), pressed.task_guid.upper(), some_user(), ["Path", "Word"]))
            logs = world.log_of("greengate") + world.log_of("greengate-agent") + (world.folder / "agent" / "state" / "script-audit.log").read_text()
            self.assertNotIn("hunter2", logs)
            self.assertIn("script task passed on", logs)

    def test_what_is_not_allowed_is_answered_with_failure_and_told_in_the_audit(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(notifications=ALLOW)
            agent = world.enrol_agent(more=allowing(world, "echo never\n"))
            online(world)
            good = with_parameters(Path="/", Word="x")
            for xml_text, code in ((good.replace(SCRIPT, "11111111" + SCRIPT[8:]), "task.script_not_allowed"),
                                   (good.replace(HASH, "0" * 64), "task.script_changed"),
                                   (sample("09-taskparam-script-decoded.xml"), "task.script_parameter")):
                self.assertNotEqual(Pressed(world, agent, xml_text).answer(), DONE, code)
                self.assertEqual((audit_of(world)[-1]["event"], audit_of(world)[-1]["code"]), ("refused", code))
            refused = len(audit_of(world))
            # These do not even reach the agent.
            for xml_text, code in ((good.replace("Path' ParameterValue='/'", "Path' ParameterValue='/etc'"), "bgb.script_parameters_hash"),
                                   (sample("10-taskparam-cmpivot-decoded.xml"), "notify.live_query_refused"),
                                   ("<ScriptHash ScriptHashAlg='SHA256'>00</ScriptHash><ScriptVersion>1</ScriptVersion>", "bgb.script_older_form"),
                                   ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + good, "bgb.script_forbidden")):
                self.assertNotEqual(Pressed(world, agent, xml_text).answer(), DONE, code)
                self.assertIn(f"code={code}", world.log_of("greengate"))
            self.assertEqual(len(audit_of(world)), refused)
            self.assertEqual(results_at_site(world, agent), [])

    def test_without_allow_list_or_the_gateways_word_nothing_runs(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(notifications=ALLOW)
            agent = world.enrol_agent()
            online(world)
            self.assertNotEqual(Pressed(world, agent, sample("09-taskparam-script-decoded.xml")).answer(), DONE)
            self.assertEqual([line["code"] for line in audit_of(world)], ["task.scripts_off"])

        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent(more=allowing(world, "echo never\n"))
            online(world)
            self.assertNotEqual(Pressed(world, agent, with_parameters(Path="/", Word="x")).answer(), DONE)
            self.assertIn("code=notify.script_refused", world.log_of("greengate"))
            self.assertEqual(audit_of(world), [])

    def test_a_command_ends_with_its_agent_and_the_next_one_tells(self):
        with estate() as world:
            world.start_site()
            world.start_gateway(notifications=ALLOW)
            (world.folder / "open").mkdir()
            (world.folder / "open").chmod(0o777)
            agent = world.enrol_agent(more=allowing(world, f"echo $$ > {world.folder}/open/pid\nexec sleep 600\n"))
            online(world)
            pressed = Pressed(world, agent, with_parameters(Path="/", Word="x"))
            self.assertEqual(pressed.answer(), DONE)
            pid = world.folder / "open" / "pid"
            process = pathlib.Path("/proc") / world.wait("the command", lambda: pid.exists() and pid.read_text().strip())
            world.kill("agent")
            world.wait("the command to be ended", lambda: not process.exists() or "\nState:\tZ" in (process / "status").read_text())
            world.start_agent()
            (result,) = world.wait("the result at the site", lambda: results_at_site(world, agent))
            self.assertEqual((result["code"], result["parameters"][0], result["rows"]), ("127", "{" + pressed.task_guid.upper() + "}", []))
            self.assertEqual([line["event"] for line in audit_of(world)], ["started", "interrupted"])


if __name__ == "__main__":
    unittest.main()
