"""The simulated push service and devices as a process, and strict clients for it, written from the specification in another language."""

import http.client
import json
import os
import pathlib
import select
import signal
import socket
import ssl
import sys
import subprocess
import tempfile
import urllib.parse

SAMPLE_PFN = "fabrikam.wakebridge_0ab1cd2ef3gh4"
PATIENCE_S = 60


class Sim:
    """`greengate-sim wns|mdm-device|windows`, ended with its test."""

    def __init__(self, command="windows", *options, folder=None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="greengate-windows-"))
        self.log = open(self.folder / "sim.log", "ab")
        self.process = subprocess.Popen([os.environ["GREENGATE_SIM"], command, "--dir", str(self.folder), *map(str, options)],
                                        stdout=subprocess.PIPE, stderr=self.log)
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            self.close()
            raise AssertionError("the simulator did not start: " + (self.folder / "sim.log").read_text()[-2000:])
        self.ready = json.loads(line)
        self.app = json.loads((self.folder / "apps.json").read_text())["apps"][0]

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        self.log.close()
        if code != 0:
            sys.stderr.write((self.folder / "sim.log").read_text(errors="replace")[-12000:])
        return code

    def ask(self, method, path, body=None):
        line = http.client.HTTPConnection("127.0.0.1", self.ready["admin_port"], timeout=300)
        line.request(method, "/windows" + path, None if body is None else json.dumps(body))
        answer = line.getresponse()
        text = answer.read()
        line.close()
        return answer.status, json.loads(text)

    def do(self, verb, **members):
        status, answer = self.ask("POST", "/do", {"do": verb, **members})
        if status != 200:
            raise AssertionError(f"{verb} {members}: {status} {answer}")
        return answer

    def refused(self, verb, **members):
        """The code of a verb that is not carried out."""
        status, answer = self.ask("POST", "/do", {"do": verb, **members})
        assert status != 200, f"{verb} was carried out"
        return answer["code"]

    def get(self, path):
        status, answer = self.ask("GET", path)
        assert status == 200, f"{path}: {status} {answer}"
        return answer

    def device(self, name):
        return self.get(f"/devices/{name}")

    def sessions(self, name):
        return self.get(f"/devices/{name}/sessions")["sessions"]

    def requests(self, kind=None, since=0):
        return [r for r in self.get(f"/requests?since={since}")["requests"] if kind in (None, r["kind"])]

    def app_of(self, pfn):
        return next(a for a in self.get("/apps")["apps"] if a["pfn"] == pfn)


class Answer:
    def __init__(self, status, reason, headers, body, interim):
        self.status, self.reason, self.headers, self.body, self.interim = status, reason, headers, body, interim

    def header(self, name):
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def names(self):
        return [n for n, _ in self.headers]


class Line:
    """One TLS connection to the service under a name of its own; verifies certificate and name as a sender must."""

    def __init__(self, sim, host, alpn=("http/1.1",), timeout=30):
        context = ssl.create_default_context(cafile=sim.ready["wns_ca"])
        if alpn:
            context.set_alpn_protocols(list(alpn))
        plain = socket.create_connection(("127.0.0.1", sim.ready["wns_port"]), timeout=timeout)
        try:
            self.tls = context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self.protocol = self.tls.selected_alpn_protocol()
        self.buffer = b""

    def send(self, octets):
        self.tls.sendall(octets)

    def _more(self):
        some = self.tls.recv(65536)
        if not some:
            raise EOFError(f"closed after {self.buffer[:200]!r}")
        self.buffer += some

    def read(self, head_only=False):
        interim = []
        while True:
            while b"\r\n\r\n" not in self.buffer:
                self._more()
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            _, status, reason = (lines[0] + " ").split(" ", 2)
            headers = [tuple(x.split(": ", 1)) for x in lines[1:]]
            if int(status) // 100 != 1:
                break
            interim.append(int(status))
        length = int(next((v for n, v in headers if n.lower() == "content-length"), "0"))
        while not head_only and len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(int(status), reason.strip(), headers, body, interim)

    def at_end(self):
        """True when the peer closes without another word."""
        try:
            return self.buffer == b"" and self.tls.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self):
        self.tls.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def form(fields):
    return urllib.parse.urlencode(fields).encode()


def token_form(app, **changes):
    scope = "notify.windows.com" if app["auth"] == "legacy" else "https://wns.windows.com/.default"
    fields = {"grant_type": "client_credentials", "client_id": app["client_id"], "client_secret": app["client_secret"], "scope": scope, **changes}
    return form({k: v for k, v in fields.items() if v is not None})


def ask_token(sim, app, body=None, path=None, method="POST", headers=None):
    """The answer of the service that issues this app's tokens."""
    entra = app["auth"] == "entra"
    host = "login.microsoftonline.com" if entra else "login.live.com"
    path = path or (f"/{app['tenant']}/oauth2/v2.0/token" if entra else "/accesstoken.srf")
    body = token_form(app) if body is None else body
    fields = {"Host": host, "Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", "Content-Length": str(len(body)),
              **(headers or {})}
    with Line(sim, host) as line:
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items()) + "\r\n"
        line.send(head.encode() + body)
        return line.read()


def token(sim, app=None):
    answer = ask_token(sim, app or sim.app)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["access_token"]


def push_request(uri, bearer, method="POST", body=b"wake", omit=(), chunked=False, headers=None, target=None):
    """The octets of sample 10, changed as a test wants. `headers`: replaces or adds; a value None leaves the header out."""
    parts = urllib.parse.urlsplit(uri)
    target = target or uri[len("https://") + len(parts.netloc):]
    fields = {"Host": parts.netloc, "Authorization": f"Bearer {bearer}", "Content-Type": "application/octet-stream",
              "Content-Length": str(len(body)), "X-WNS-Type": "wns/raw", "X-WNS-Cache-Policy": "cache", "X-WNS-TTL": "28800",
              "X-WNS-RequestForStatus": "true", "MS-CV": "AAAAAAAAAAAAAAAAAAAAAA.0"}
    for name, value in (headers or {}).items():
        old = next((n for n in fields if n.lower() == name.lower()), name)
        fields[old] = value
    if chunked:
        fields["Content-Length"] = None
        fields["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    lines = [f"{n}: {v}" for n, v in fields.items() if v is not None and n.lower() not in {o.lower() for o in omit}]
    return f"{method} {target} HTTP/1.1\r\n".encode() + "".join(x + "\r\n" for x in lines).encode("latin-1") + b"\r\n" + body


def push(sim, uri, bearer, line=None, **changes):
    host = urllib.parse.urlsplit(uri).hostname
    if line is not None:
        line.send(push_request(uri, bearer, **changes))
        return line.read()
    with Line(sim, host) as one:
        one.send(push_request(uri, bearer, **changes))
        return one.read()
