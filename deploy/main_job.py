"""The main job on this machine: simulated site, gateway, one agent; each step shown with its time and verified at the simulator.

Started by deploy/quickstart. Only Python's standard library.
"""

import argparse
import ctypes
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

BOLD, DIM, GREEN, RED, OFF = ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5
PATIENCE_S = 60


class Failed(Exception):
    """A step did not come true; the text says which and what was seen instead."""


class Interrupted(Exception):
    """Ctrl-C or SIGTERM."""


def die_with_parent():
    """Runs in each child before it starts: even a killed quickstart leaves no process behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    os.setpgid(0, 0)  # Ctrl-C is ours to pass on, in order


class Stage:
    """Everything that runs and is kept, under one folder."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.started = time.monotonic()
        self.children = []

    def start(self, name, *arguments, stdout=None):
        with open(self.folder / f"{name}.log", "ab") as log:
            child = subprocess.Popen([self.programs / name, *map(str, arguments)], stdout=stdout or log, stderr=log,
                                     stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.children.append((name, child))
        return child

    def check_alive(self):
        for name, child in self.children:
            if child.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-5:]
                raise Failed(f"{name} ended by itself (exit {child.returncode}). Its last words:\n    " + "\n    ".join(tail))

    def stop(self):
        for name, child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
            try:
                child.wait(timeout=25)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children.clear()

    def say(self, text):
        print(f"{DIM}{time.monotonic() - self.started:7.2f} s{OFF}  {GREEN}✓{OFF} {text}", flush=True)

    def wait(self, what, probe, patience_s=PATIENCE_S):
        """Calls probe() until it gives something true, and gives that."""
        until = time.monotonic() + patience_s
        while True:
            self.check_alive()
            found = probe()
            if found:
                return found
            if time.monotonic() > until:
                raise Failed(f"waited {patience_s} s for this and did not see it: {what}")
            time.sleep(0.05)


class Simulator:
    """The simulator's JSON door."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if reply.status >= 400:
            raise Failed(f"the simulator answered {method} {path} with {reply.status}: {text.decode(errors='replace')[:200]}")
        return json.loads(text)

    def get(self, path):
        return self.ask("GET", path)


GATEWAY_TOML = """\
# Made by deploy/quickstart. deploy/greengate.toml explains every key.
[gateway]
admin_socket = "{folder}/admin.sock"
observe = "127.0.0.1:0"
seal_key_file = "{folder}/gateway/seal.key"
ready_file = "{folder}/gateway/ready.json"

[store]
directory = "{folder}/gateway"

[agents]
bind = "tcp://127.0.0.1:0"
key_file = "{folder}/gateway/agents.key"
report_window = "1min"

[site]
management_points = ["http://127.0.0.1:{mp_port}"]
site_code = "P01"

[registration]
confirm_first = "300ms"   # a real site wants 30s
confirm_cap = "1s"
failure_base = "500ms"

[bgb]
enabled = true
servers = ["127.0.0.1:{notify_port}"]
certificate_file = "{certificate}"
backoff_base = "500ms"    # a real server wants 1min

[notifications]
wave_window_max = "0s"    # one agent makes no storm
"""

AGENT_TOML = """\
# Made by deploy/quickstart. deploy/greengate-agent.toml explains every key.
[gateway]
endpoints = ["{endpoint}"]
key = '{key}'

[agent]
state_directory = "{folder}/agent"

[enrolment]
token_file = "{folder}/enrolment-token"
"""


def control(stage, *arguments):
    """greengatectl --json."""
    done = subprocess.run([stage.programs / "greengatectl", "--socket", stage.folder / "admin.sock", "--json", *arguments],
                          capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise Failed(f"greengatectl {' '.join(arguments)} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def span(millis):
    return "–" if millis is None else f"{millis:.0f} ms" if millis < 1000 else f"{millis / 1000:.1f} s"


def size(mebibytes):
    return f"{mebibytes / 1024:.0f} GiB" if mebibytes >= 10 * 1024 else f"{mebibytes} MiB"


def first_line(stage, child):
    """What the simulator says of itself once it is ready."""
    with child.stdout:
        line = child.stdout.readline()
    if not line:
        stage.check_alive()
        raise Failed("the simulator said nothing at its start")
    return json.loads(line)


def start_site(stage):
    child = stage.start("greengate-sim", "both", "--dir", stage.folder / "site", "--mp-port", 0, "--notify-port", 0,
                        "--admin-port", 0, "--site-code", "P01", "--pending-for", 200, stdout=subprocess.PIPE)
    ports = first_line(stage, child)
    stage.say(f"simulated site: management point on port {ports['mp_port']}, notification server on port {ports['notify_port']}")
    return ports, Simulator(ports["admin_port"])


def start_gateway(stage, ports):
    (stage.folder / "gateway").mkdir(mode=0o700, exist_ok=True)
    config = stage.folder / "greengate.toml"
    ready = stage.folder / "gateway" / "ready.json"
    ready.unlink(missing_ok=True)
    config.write_text(GATEWAY_TOML.format(folder=stage.folder, mp_port=ports["mp_port"], notify_port=ports["notify_port"],
                                          certificate=stage.folder / "site" / "notify" / "server-certificate.pem"))
    stage.start("greengate", "--config", config)
    stage.wait("the gateway's ready file", ready.exists)
    addresses = json.loads(ready.read_text())
    stage.say(f"gateway: agents on {addresses['agent_endpoint']}, metrics on port {addresses['observe_port']}")
    return addresses


def start_agent(stage, addresses):
    token_file = stage.folder / "enrolment-token"
    if not token_file.exists():
        token = control(stage, "token", "create", "--note", "quickstart")
        with open(os.open(token_file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            file.write(token["token"] + "\n")
        stage.say(f"token {token['id']} made: it lets one agent in, within a day")
    config = stage.folder / "greengate-agent.toml"
    config.write_text(AGENT_TOML.format(folder=stage.folder, endpoint=addresses["agent_endpoint"], key=addresses["gateway_key"]))
    stage.start("greengate-agent", "--config", config, "run")


def one_agent(stage, wanted):
    agents = control(stage, "agents", "list")["agents"]
    return agents[0] if agents and wanted(agents[0]) else None


def reports_of(stage, agent):
    return control(stage, "reports", "trace", agent["id"], "--count", "100")["reports"]


def delivered(stage, agent, kind, count=1):
    found = [r for r in reports_of(stage, agent) if r["kind"] == kind and r["state"] == "delivered"]
    return found if len(found) >= count else None


def inventories_settled(stage, agent):
    """Delivered ones, and those the site has all of already: nothing is sent when nothing changed."""
    return len([r for r in reports_of(stage, agent) if r["kind"] == "hardware inventory" and
                (r["state"] == "delivered" or (r["state"], r["code"]) == ("superseded", "inventory.unchanged"))])


def accepted_at_site(site, client, tracking):
    """The simulator's own verdict on the message a report travelled in."""
    for message in site.get(f"/mp/messages?since=0&limit=10000"):
        if message["id"].strip("{}").upper() == tracking.strip("{}").upper():
            if message["verdict"] == "refused" or message["violations"]:
                raise Failed(f"the management point found fault with {message['endpoint']}: {json.dumps(message['violations'])}")
            return message
    return None


def push(stage, site, client, task_type, name):
    sent = site.ask("POST", "/notify/push", {"clients": [client], "task_type": task_type})

    def answered():
        for one in site.get(f"/notify/pushes/{sent['push_id']}")["clients"]:
            if one.get("answered_at") or one.get("round_trip_ms") is not None:
                return one
        return None

    answer = stage.wait(f"an answer to the push “{name}”", answered, 15)
    if answer.get("return_code") != 1:
        raise Failed(f"the push “{name}” was answered with return code {answer.get('return_code')}; 1 means done")
    stage.say(f"notification “{name}” answered with return code 1 in {span(answer['round_trip_ms'])}")
    return answer["round_trip_ms"]


def main_job(stage):
    ports, site = start_site(stage)
    addresses = start_gateway(stage, ports)
    start_agent(stage, addresses)

    agent = stage.wait("an active, connected agent", lambda: one_agent(stage, lambda a: a["state"] == "active" and a["connected"]))
    stage.say(f"agent {agent['id']} on {agent['host_name']} enrolled and connected")
    agent = stage.wait("the site's confirmation", lambda: one_agent(stage, lambda a: a["site"]["state"] == "ready"))
    client = agent["site"]["sms_id"]
    stage.say(f"registered and confirmed at the site as {client}")

    for kind in ("discovery", "hardware inventory", "state messages"):
        report = stage.wait(f"a delivered report: {kind}", lambda: delivered(stage, agent, kind))[-1]
        message = stage.wait(f"the site's verdict on {kind}", lambda: accepted_at_site(site, client, report["tracking"]))
        stage.say(f"{kind} delivered and verified at the management point (message {message['number']}, {message['bytes']:,} bytes)")

    stage.wait("an open notification session", lambda: control(stage, "status")["notifications"]["sessions_online"])
    stage.say("notification session open: the site sees this machine online")
    round_trips = {}
    heartbeats = len(delivered(stage, agent, "discovery") or [])
    policies = site.get("/mp/stats")["endpoints"].get("MP_PolicyManager", {}).get("accepted", 0)
    round_trips["download computer policy"] = push(stage, site, client, 1, "download computer policy")
    stage.wait("the heartbeat that follows", lambda: delivered(stage, agent, "discovery", heartbeats + 1))
    stage.wait("the policy request that follows",
               lambda: site.get("/mp/stats")["endpoints"].get("MP_PolicyManager", {}).get("accepted", 0) > policies)
    stage.say("the agent sent a heartbeat, and the gateway fetched its policy assignments")
    inventories = inventories_settled(stage, agent)
    round_trips["collect hardware inventory"] = push(stage, site, client, 912, "collect hardware inventory")
    stage.wait("the inventory that follows", lambda: inventories_settled(stage, agent) > inventories)
    stage.say("the agent sent a fresh hardware inventory")

    refused = site.get("/mp/stats")["refused"]
    violations = site.get("/notify/violations")
    violations = violations.get("violations", violations) if isinstance(violations, dict) else violations
    if refused or violations:
        raise Failed(f"the site refused {refused} messages and found {len(violations)} violations in notification sessions; see {stage.folder}/site")
    stage.say("nothing was refused, no rule was broken")
    return site, agent, client, addresses, round_trips


def summary(stage, site, agent, client, addresses, round_trips):
    known = site.get(f"/mp/clients/{client}")
    disks = sorted(known["disks"], key=lambda d: -d["size_mib"])
    shown = ", ".join(f"{d['device']} {size(d['size_mib'])} ({size(d['free_mib'])} free)" for d in disks[:4])
    lines = [
        ("name", f"{known['name']} ({known.get('discovered_fqdn') or known['fqdn']})"),
        ("operating system", known["os_caption"]),
        ("model", f"{known['manufacturer']} {known['model']}".strip() or "not told by this machine"),
        ("processor", known["cpu"] or "not told by this machine"),
        ("memory", size(known["memory_kib"] // 1024)),
        ("disks", (shown + (f" and {len(disks) - 4} more" if len(disks) > 4 else "")) or "none seen"),
        ("software", f"{known['packages']:,} packages, {known['services']:,} services, {known['processes']:,} processes"),
        ("state messages", str(known["state_messages"])),
    ]
    print(f"\n{BOLD}What the site now knows of this machine{OFF}")
    for name, value in lines:
        print(f"  {name:<17} {value}")

    print(f"\n{BOLD}Reports{OFF}")
    print(f"  {'kind':<20} {'size':>10}  {'collected → stored':>18}  {'stored → delivered':>18}  message")
    for report in sorted(reports_of(stage, agent), key=lambda r: r["stored_at_ms"]):
        stored = report["stored_at_ms"] - report["collected_at_ms"]
        settled = report["settled_at_ms"] - report["stored_at_ms"] if report["settled_at_ms"] else None
        print(f"  {report['kind']:<20} {report['bytes']:>8,} B  {span(stored):>18}  {span(settled):>18}  {report['tracking'] or report['state']}")

    print(f"\n{BOLD}Notifications, from the site's push to its answer{OFF}")
    for name, millis in round_trips.items():
        print(f"  {name:<27} {span(millis)}")

    print(f"\n{BOLD}Where everything is{OFF}")
    print(f"  {stage.folder}/site      what the management point and the notification server received, raw and decoded")
    print(f"  {stage.folder}/gateway   the gateway's store and keys")
    print(f"  {stage.folder}/agent     the agent's outbox and key")
    print(f"  {stage.folder}/*.log     what each program said")


def arguments():
    parser = argparse.ArgumentParser(prog="./deploy/quickstart", description="Runs the main job on this machine.")
    parser.add_argument("--once", action="store_true", help="end by itself; exit 0 only if every step was verified")
    parser.add_argument("--state", type=pathlib.Path, help="keep everything under this folder (default: a new one under /tmp)")
    parser.add_argument("--bin", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def stop_signal(number, frame):
    # Once is enough: a second signal must not disturb the orderly end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted()


def main():
    options = arguments()
    missing = [p for p in ("greengate", "greengate-agent", "greengatectl", "greengate-sim") if not (options.bin / p).exists()]
    if missing:
        print(f"Not built: {', '.join(missing)}.", file=sys.stderr)
        return 1
    folder = options.state or pathlib.Path(tempfile.mkdtemp(prefix="greengate-"))
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if len(str(folder / "admin.sock")) > 100:
        print(f"{folder} is too long a path for a Unix socket; choose a shorter one with --state.", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, stop_signal)
    signal.signal(signal.SIGINT, stop_signal)
    stage = Stage(folder, options.bin.absolute())
    print(f"{BOLD}Greengate, the main job.{OFF} State: {folder}\n")
    try:
        site, agent, client, addresses, round_trips = main_job(stage)
        summary(stage, site, agent, client, addresses, round_trips)
        if options.once:
            print(f"\n{GREEN}Every step was verified.{OFF}")
            return 0
        print(f"\n{BOLD}It goes on until Ctrl-C. Try, in another terminal:{OFF}")
        print(f"  {stage.programs}/greengatectl --socket {folder}/admin.sock status")
        print(f"  {stage.programs}/greengatectl --socket {folder}/admin.sock reports trace {agent['host_name']}")
        print(f"  curl -s 127.0.0.1:{addresses['observe_port']}/metrics | grep greengate_")
        print(f"  curl -s 127.0.0.1:{site.port}/notify/push -d '{{\"clients\": \"all\", \"task_type\": 912}}'", flush=True)
        while True:
            stage.check_alive()
            time.sleep(0.5)
    except Interrupted:
        print("\nStopping.")
        return 130 if options.once else 0
    except Failed as failure:
        print(f"\n{RED}Not so:{OFF} {failure}\nLogs and evidence: {folder}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stage.stop()


if __name__ == "__main__":
    sys.exit(main())
