"""A small estate for journeys: simulated site, gateway, agents, each a real process that can be killed and started again."""

import contextlib
import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
import main_job  # noqa: E402

BIN = pathlib.Path(os.environ.get("GREENGATE_BIN", ROOT / "build" / "dev" / "bin"))


class Estate:
    """Starts what a journey asks for; everything it started ends with it."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greengate-journey-"))
        self.stage = main_job.Stage(self.folder, BIN)
        self.ports = None
        self.site = None
        self.addresses = None
        self.processes = {}

    # The site.
    def start_site(self, *extra):
        """On the same ports after a restart, as a real site would be."""
        again = []
        if self.ports:
            again = ["--mp-port", self.ports["mp_port"], "--notify-port", self.ports["notify_port"],
                     "--notify-http-port", self.ports["notify_http_port"]]
        child = self.stage.start("greengate-sim", "both", "--dir", self.folder / "site", "--admin-port", 0, "--site-code", "P01",
                                 "--pending-for", 100, *again, *extra, stdout=subprocess.PIPE)
        self.ports = main_job.first_line(self.stage, child)
        self.site = main_job.Simulator(self.ports["admin_port"])
        self.processes["site"] = child

    # The gateway.
    def start_gateway(self, extra="", points=None, site="", gateway="", registration="", bgb="", notifications="", more="", wave="0s", servers=None,
                      certificate=None):
        """`extra`: lines for [agents]; `points`: other management points; `site`, `gateway`, `registration`, `bgb`, `notifications`: lines for these; `more`: whole
        sections; `wave`: the longest window of a wave; `servers`, `certificate`: other notification servers and the file of their certificates."""
        (self.folder / "gateway").mkdir(mode=0o700, exist_ok=True)
        text = main_job.GATEWAY_TOML.format(folder=self.folder, mp_port=self.ports["mp_port"], notify_port=self.ports["notify_port"],
                                            certificate=certificate or self.folder / "site" / "notify" / "server-certificate.pem")
        text += "\n[delivery]\nretry_base = \"100ms\"\nretry_cap = \"500ms\"\nrest_base = \"100ms\"\nrest_cap = \"500ms\"\n"
        text = text.replace('wave_window_max = "0s"', f'wave_window_max = "{wave}"')
        if servers is not None:
            text = text.replace(f'["127.0.0.1:{self.ports["notify_port"]}"]', main_job.json.dumps(servers))
        if points:
            text = text.replace(f'["http://127.0.0.1:{self.ports["mp_port"]}"]', main_job.json.dumps(points))
        text = text.replace("[site]\n", "[site]\n" + site).replace("[gateway]\n", "[gateway]\n" + gateway) + more
        text = text.replace("[registration]\n", "[registration]\n" + registration).replace("[bgb]\n", "[bgb]\n" + bgb)
        text = text.replace("[notifications]\n", "[notifications]\n" + notifications)
        if self.addresses:  # agents look where it was
            text = text.replace('bind = "tcp://127.0.0.1:0"', f'bind = "{self.addresses["agent_endpoint"]}"')
        text = text.replace("[agents]\n", "[agents]\nreconnect_window_min = \"200ms\"\nreconnect_window_max = \"1s\"\n" + extra)
        config = self.folder / "greengate.toml"
        config.write_text(text)
        ready = self.folder / "gateway" / "ready.json"
        ready.unlink(missing_ok=True)
        self.processes["gateway"] = self.stage.start("greengate", "--config", config)
        self.wait("the gateway to be ready", ready.exists)
        self.addresses = main_job.json.loads(ready.read_text())

    def tls_certificate(self):
        """The certificate the simulated management point made for itself."""
        return self.folder / "site" / "mp-tls.pem"

    # Agents.
    def token(self, uses=1):
        return self.control("token", "create", "--uses", str(uses))["token"]

    def agent_config(self, name, token="", software=False, more=""):
        """`more`: whole sections. The software inventory comes when its scan is done; a journey that counts reports does without."""
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        config = folder / "agent.toml"
        config.write_text(f'[gateway]\nendpoints = ["{self.addresses["agent_endpoint"]}"]\nkey = \'{self.addresses["gateway_key"]}\'\n'
                          f'[agent]\nstate_directory = "{folder}/state"\n[enrolment]\ntoken = "{token}"\n'
                          f'[reconnect]\nmin = "100ms"\nmax = "1s"\n'
                          + ("" if "[software]" in more else f'[software]\nenabled = {"true" if software else "false"}\n') + more)
        return config

    def start_agent(self, name="agent", token=None, more=""):
        config = self.folder / name / "agent.toml"
        if token is not None or not config.exists():
            config = self.agent_config(name, token or "", more=more)
        self.processes[name] = self.stage.start("greengate-agent", "--config", config, "run")

    def enrol_agent(self, name="agent", more=""):
        """A running agent that the site knows; its entry in `greengatectl agents list`. `more`: whole sections of its configuration."""
        known = {a["id"] for a in self.agents()}
        self.start_agent(name, self.token(), more)
        return self.wait("a new agent to be ready at the site",
                         lambda: next((a for a in self.agents() if a["id"] not in known and a["site"]["state"] == "ready"), None))

    def send_state(self, count, name="agent", first=0):
        for i in range(first, first + count):
            subprocess.run([BIN / "greengate-agent", "--config", self.folder / name / "agent.toml", "send-state", "--topic-type", "501",
                            "--topic-id", f"journey-{i}", "--state", "2"], check=True, capture_output=True, timeout=60)

    def ask_agent(self, *arguments, name="agent"):
        """A command of greengate-agent beside the running agent of this name."""
        return subprocess.run([BIN / "greengate-agent", "--config", self.folder / name / "agent.toml", *map(str, arguments)],
                              capture_output=True, text=True, timeout=90)

    # Looking.
    def text_of(self, *arguments):
        """What greengatectl shows a person."""
        return subprocess.run([BIN / "greengatectl", "--socket", self.folder / "admin.sock", *map(str, arguments)], check=True,
                              capture_output=True, text=True, timeout=60).stdout

    def control(self, *arguments):
        return main_job.control(self.stage, *map(str, arguments))

    def agents(self):
        return self.control("agents", "list")["agents"]

    def reports(self, agent, count=1000):
        return self.control("reports", "trace", agent["id"], "--count", str(count))["reports"]

    def verdicts(self):
        """The simulator's verdict on every message, over its restarts: one JSON line each, a torn last one left out."""
        text = (self.folder / "site" / "verdicts.jsonl").read_text(errors="replace")
        return [main_job.json.loads(line) for line in text.split("\n")[:-1] if line.endswith("}")]

    def topics_at_site(self, agent):
        """Every state message the site accepted from this client, as topic ids, in the order of acceptance."""
        topics = []
        for message in self.verdicts():
            if message["client"] != agent["site"]["sms_id"] or message["verdict"] != "accepted":
                continue
            body = (self.folder / "site" / message["folder"] / "body.xml").read_text()
            if "<StateMessage " in body:
                topics += [part.split('"')[0] for part in body.split('<Topic ID="')[1:]]
        return topics

    def refused_at_site(self):
        return [m for m in self.verdicts() if m["verdict"] == "refused"]

    def metrics(self):
        """All of the gateway's numbers now, as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.addresses["observe_port"], timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def metric(self, name, **labels):
        """One of them; 0 when it has none of that name with these labels."""
        wanted = "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else ""
        for line in self.metrics().splitlines():
            if line.startswith(f"{name}{wanted} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def log_of(self, program):
        return (self.folder / f"{program}.log").read_text(errors="replace")

    def wait(self, what, probe, patience_s=90):
        return self.stage.wait(what, probe, patience_s)

    # Ending.
    def kill(self, name, number=signal.SIGKILL):
        child = self.processes.pop(name)
        self.stage.children = [(n, c) for n, c in self.stage.children if c is not child]
        child.send_signal(number)
        child.wait(timeout=60)
        return child.returncode

    def close(self, keep=False):
        self.stage.stop()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def estate():
    """An estate for one journey; what it left on disk stays when the journey fails."""
    one = Estate()
    try:
        yield one
    except BaseException:
        one.close(keep=True)
        print(f"what it left: {one.folder}", file=sys.stderr)
        raise
    one.close()
