"""The site presses a button, and a machine scans, refuses, restarts or sends its logs."""

import io
import os
import shutil
import sys
import tarfile
import unittest
import zlib

from estate import estate, main_job

DONE, FAILED = 1, 0


def script(path, body):
    path.write_text("#!/bin/sh\n" + body + "\n")
    path.chmod(0o755)
    return path


def press(world, agent, task_type):
    """A push of this type; the return code the site was answered with."""
    sent = world.site.ask("POST", "/notify/push", {"clients": [agent["site"]["sms_id"]], "task_type": task_type})

    def answered():
        clients = world.site.get(f"/notify/pushes/{sent['push_id']}")["clients"]
        return next((one for one in clients if one["state"] == "answered"), None)

    return world.wait(f"task type {task_type} to be answered", answered)["return_code"]


def online(world, agent):
    def is_online():
        try:
            return world.site.get(f"/notify/clients/{agent['site']['sms_id']}")["online"]
        except main_job.Failed:  # the site has not heard of it yet
            return False
    world.wait("the agent's session to be open", is_online)


def task_lines(world, event):
    return [line for line in world.log_of("greengate-agent").splitlines() if f'event="{event}"' in line]


def files_at_site(world):
    """What arrived as collected files, unpacked where it was compressed."""
    posts = b"".join(part.read_bytes() for message in world.verdicts() if message.get("report", {}).get("kind") == "files"
                     for part in (world.folder / "site" / message["folder"]).iterdir())
    found = []
    for after in posts.split(b"application/octet-stream\r\n\r\n")[1:]:
        try:
            found.append(zlib.decompressobj().decompress(after))
        except zlib.error:
            found.append(after)
    return found


class Tasks(unittest.TestCase):
    def test_a_scan_with_clamav_finds_what_its_signatures_know_and_the_site_learns_it(self):
        if not shutil.which("clamscan"):
            self.skipTest("NOT TESTED: clamscan is missing; install the package clamav (deploy/packages.txt names it)")
        with estate() as world:
            world.start_site()
            world.start_gateway()
            # Harmless; from parts, so that no scanner finds it here.
            bad = b"GREENGATE-HARMLESS" + b"-TEST-" + b"PATTERN-4712"
            (world.folder / "database").mkdir()
            (world.folder / "database" / "test.ndb").write_text("Greengate.Journey:0:*:" + bad.hex() + "\n")
            (world.folder / "tree").mkdir()
            (world.folder / "tree" / "fine.txt").write_text("nothing")
            agent = world.enrol_agent(more=f'[scan]\nscanners = ["{shutil.which("clamscan")}"]\ndatabase = "{world.folder}/database"\n'
                                           f'quick_paths = ["{world.folder}/tree"]\nfull_paths = ["{world.folder}/tree"]\n')
            online(world, agent)
            self.assertEqual(press(world, agent, 3), DONE)
            world.wait("the clean scan's state at the site", lambda: "greengate:malware-scan:quick" in world.topics_at_site(agent))
            (world.folder / "tree" / "bad.bin").write_bytes(bad)
            self.assertEqual(press(world, agent, 2), DONE)
            world.wait("the infected scan's state at the site", lambda: "greengate:malware-scan:full" in world.topics_at_site(agent))
            ends = task_lines(world, "task completed")
            self.assertTrue(any("task=full_scan" in line and "code=task.infected" in line and "Greengate.Journey" in line for line in ends), ends)
            self.assertTrue(any("task=quick_scan" in line and 'code=""' in line for line in ends), ends)

    def test_without_a_scanner_and_for_an_unknown_type_the_site_hears_failure(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent(more='[scan]\nscanners = ["/nowhere/clamscan"]\n')
            online(world, agent)
            self.assertNotEqual(press(world, agent, 3), DONE)
            self.assertNotEqual(press(world, agent, 4711), DONE)
            self.assertEqual(press(world, agent, 1), DONE)
            self.assertTrue(any("code=task.no_scanner" in line for line in task_lines(world, "task refused")))

    def test_a_restart_warns_and_commands_unless_vetoed(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            words, told, veto = (world.folder / name for name in ("words", "told", "no-restart"))
            command = script(world.folder / "shutdown", f'echo "$@" > {words}.new; mv {words}.new {words}')
            wall = script(world.folder / "wall", f"cat > {told}")
            agent = world.enrol_agent(more=f'[restart]\ncommand = ["{command}", "-r", "+{{minutes}}"]\nwarn_command = ["{wall}"]\n'
                                           f'warn_text = "In {{minutes}} minutes."\ngrace = "10min"\nveto_file = "{veto}"\n')
            online(world, agent)
            veto.write_text("It is the end of the month.\n")
            self.assertNotEqual(press(world, agent, 917), DONE)
            self.assertFalse(words.exists())
            self.assertTrue(any("end of the month" in line for line in task_lines(world, "task refused")))
            veto.unlink()
            self.assertEqual(press(world, agent, 917), DONE)
            world.wait("the restart's command", words.exists)
            self.assertEqual(words.read_text(), "-r +10\n")
            self.assertEqual(told.read_text(), "In 10 minutes.\n")
            # Only the agent is started anew; the machine is not.
            words.unlink()
            world.kill("agent")
            world.start_agent()
            world.wait("the task to be taken up", lambda: task_lines(world, "task taken up"))
            self.assertFalse(words.exists(), "the command was given twice")
            self.assertEqual(task_lines(world, "task completed"), [])

    def test_the_agents_logs_arrive_at_the_site(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            log = world.folder / "agent-of-mine.log"
            log.write_text("a line that only this log has\n" + os.urandom(300_000).hex())
            agent = world.enrol_agent(more=f'[logs]\nfiles = ["{world.folder}/agent-*.log"]\ncommand = []\n[files]\nbytes_per_second = "64MiB"\n')
            online(world, agent)
            self.assertEqual(press(world, agent, 922), DONE)
            package = world.wait("the package at the site", lambda: next((one for one in files_at_site(world) if b"\x1f\x8b\x08" in one), None))
            package = package[package.index(b"\x1f\x8b\x08"):]
            text = zlib.decompressobj(31).decompress(package)
            with tarfile.open(fileobj=io.BytesIO(text)) as archive:
                self.assertEqual(sorted(archive.getnames()), ["agent-of-mine.log", "status.json"])
                self.assertEqual(archive.extractfile("agent-of-mine.log").read(), log.read_bytes())
            world.wait("the task to be over", lambda: task_lines(world, "task completed"))
            self.assertEqual(world.refused_at_site(), [])
            self.assertEqual(list((world.folder / "agent" / "state").glob("*.tar.gz")), [])

    def test_a_verbose_log_lasts_over_a_restart_until_it_is_turned_off(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            agent = world.enrol_agent()
            online(world, agent)

            def verbose():
                return [line for line in world.log_of("greengate-agent").splitlines() if "level=debug" in line]

            def connections():
                return world.log_of("greengate-agent").count("event=link state=connected")

            self.assertEqual(verbose(), [])
            self.assertEqual(press(world, agent, 920), DONE)
            world.kill("agent")
            world.start_agent()
            world.wait("the new agent to be verbose and connected", lambda: verbose() and connections() == 2)
            online(world, agent)
            self.assertEqual(press(world, agent, 921), DONE)
            world.wait("both tasks to be over", lambda: len(task_lines(world, "task completed")) == 2)
            world.kill("agent")
            before = len(verbose())
            world.start_agent()
            world.wait("the third agent to be connected", lambda: connections() == 3)
            self.assertEqual(len(verbose()), before)


if __name__ == "__main__":
    sys.exit(unittest.main())
