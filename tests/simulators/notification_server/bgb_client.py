"""A strict client notification client, written from the specification alone.

It shares no code with the product or with the simulator. Synchronous sockets: one test, one thread.
"""

import datetime
import socket
import ssl
import struct
import subprocess
import sys
import json
import os
import re
import select
import tempfile
import time
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

# Section 2.3: PayloadSize, MajorVersion, MinorVersion, HeaderSize, Channel, as struct format letters.
LAYOUTS = {"A": "IBBHI", "B": "IIIII", "C": "IHHII", "A8": "IBBHB", "A16": "IBBHH"}
SIGN_IN, CONFIRM, KEEP_ALIVE, REQUEST, RESPONSE, DISCONNECT, NEGOTIATION, NONE = range(8)

PATIENCE_S = 10.0


class Frame:
    def __init__(self, header, payload, xml):
        self.payload_size, self.major, self.minor, self.header_size, self.channel = header
        self.payload = payload
        self.xml = xml

    def member(self, name):
        found = re.search(f"<{name}>([^<]*)</{name}>", self.xml)
        return found.group(1) if found else None


class Codec:
    """One choice per switch of section 2.3."""

    def __init__(self, layout="A", big=False, text="utf-16le", whole_frame=False, numbers_from=0,
                 constant=None, xml_header=False, zlib_on=False, version=(1, 0)):
        self.struct = struct.Struct((">" if big else "<") + LAYOUTS[layout])
        self.text = text
        self.whole_frame = whole_frame
        self.numbers_from = numbers_from
        self.constant = constant
        self.xml_header = xml_header
        self.zlib_on = zlib_on
        self.version = version

    def encode_text(self, xml, text=None):
        name, _, mark = (text or self.text).partition("+")
        encoding = "utf-16-le" if name == "utf-16le" else "utf-8"
        data = xml.encode(encoding)
        if mark == "bom":
            data = "\ufeff".encode(encoding) + data
        if mark == "nul":
            data += "\0".encode(encoding)
        if self.zlib_on:
            import zlib
            data = zlib.compress(data)
        return data

    def decode_text(self, data):
        if self.zlib_on:
            import zlib
            data = zlib.decompress(data)
        name, _, mark = self.text.partition("+")
        encoding = "utf-16-le" if name == "utf-16le" else "utf-8"
        xml = data.decode(encoding)
        if mark == "bom":
            assert xml[0] == "\ufeff", "no byte order mark"
            xml = xml[1:]
        if mark == "nul":
            assert xml[-1] == "\0", "no terminator"
            xml = xml[:-1]
        return xml

    def channel(self, kind):
        if self.constant is not None:
            return self.constant
        if self.numbers_from == 0:
            return kind
        return 0 if kind == NONE else kind + 1

    def frame(self, kind, payload=b"", payload_size=None, header_size=None, version=None,
              channel=None):
        fixed = self.struct.size
        size = len(payload) + (fixed if self.whole_frame else 0)
        major, minor = version or self.version
        return self.struct.pack(
            size if payload_size is None else payload_size, major, minor,
            (0 if self.xml_header else fixed) if header_size is None else header_size,
            self.channel(kind) if channel is None else channel) + payload

    def message(self, kind, xml):
        return self.frame(kind, self.encode_text(xml))


def stamp(seconds=None):
    when = time.time() if seconds is None else seconds
    return datetime.datetime.fromtimestamp(when, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Identity:
    """An SMSID with its own self-signed certificate."""

    def __init__(self, folder, name="client"):
        self.sms_id = "GUID:" + str(uuid.uuid4()).upper()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                       .public_key(key.public_key()).serial_number(x509.random_serial_number())
                       .not_valid_before(now - datetime.timedelta(days=1))
                       .not_valid_after(now + datetime.timedelta(days=365))
                       .sign(key, hashes.SHA256()))
        self.key = key
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.pem_file = os.path.join(folder, self.sms_id[5:] + ".pem")
        with open(self.pem_file, "wb") as out:
            out.write(key.private_bytes(serialization.Encoding.PEM,
                                        serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()))
            out.write(certificate.public_bytes(serialization.Encoding.PEM))

    def entry(self, **more):
        return {"sms_id": self.sms_id, "certificate_hex": self.der.hex(), **more}


class Client:
    """One session. Reads frames strictly; what it sends is up to the test."""

    def __init__(self, server, identity, codec=None, certificate=True, tls=None):
        self.identity = identity
        self.codec = codec or server.codec
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(server.certificate_file)  # pinned
        if tls:
            context.minimum_version = context.maximum_version = tls
        if certificate:
            context.load_cert_chain(identity.pem_file)
        raw = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
        raw.settimeout(PATIENCE_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line = context.wrap_socket(raw, server_hostname="localhost",
                                        suppress_ragged_eofs=False)
        self.data = b""
        self.pushes = []

    def send(self, data):
        self.line.sendall(data)

    def read_some(self, patience=PATIENCE_S):
        """More bytes, or b"" at an orderly end; ConnectionError or ssl.SSLError at another one."""
        self.line.settimeout(patience)
        return self.line.recv(65536)

    def frame(self, patience=PATIENCE_S):
        """The next frame; None at an orderly end of the session."""
        codec = self.codec
        fixed = codec.struct.size
        while True:
            if len(self.data) >= fixed:
                header = codec.struct.unpack_from(self.data)
                size = header[0] - (fixed if codec.whole_frame else 0)
                assert header[1:3] == codec.version, f"version {header[1:3]}"
                assert header[3] == (0 if codec.xml_header else fixed), f"HeaderSize {header[3]}"
                assert 0 <= size <= 1 << 20, f"PayloadSize {header[0]}"
                if len(self.data) >= fixed + size:
                    payload = self.data[fixed:fixed + size]
                    self.data = self.data[fixed + size:]
                    return Frame(header, payload, codec.decode_text(payload) if payload else "")
            more = self.read_some(patience)
            if not more:
                assert not self.data, "the stream ended inside a frame"
                return None
            self.data += more

    # What a good client says, in the samples' form.
    def sign_in_xml(self, **over):
        v = {"time": stamp(), "type": "SCCM", "version": "5.00.9141.1000",
             "id": self.identity.sms_id, **over}
        return (f'<BgbSignInMessage TimeStamp="{v["time"]}"><ClientType>{v["type"]}</ClientType>'
                f'<ClientVersion>{v["version"]}</ClientVersion><ClientID>{v["id"]}</ClientID>'
                f'</BgbSignInMessage>')

    def keep_alive_xml(self, **over):
        v = {"time": stamp(), "type": "SCCM", "id": self.identity.sms_id, **over}
        return (f'<BgbKeepAliveMessage TimeStamp="{v["time"]}"><ClientType>{v["type"]}</ClientType>'
                f'<ClientID>{v["id"]}</ClientID></BgbKeepAliveMessage>')

    def response_xml(self, push, task, code=1, time=None):
        return (f'<BgbResponseMessage TimeStamp="{time or stamp()}"><PushID>{push}</PushID>'
                f'<TaskID>{task}</TaskID><ReturnCode>{code}</ReturnCode></BgbResponseMessage>')

    def sign_in(self):
        self.send(self.codec.message(SIGN_IN, self.sign_in_xml()))
        frame = self.frame()
        assert frame is not None, "the session ended instead of a confirmation"
        assert frame.channel == self.codec.channel(CONFIRM), f"Channel {frame.channel}"
        assert re.fullmatch(
            r'<BgbSignInConfirmMessage TimeStamp="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ">'
            r'<MessageVersion>[^<]+</MessageVersion></BgbSignInConfirmMessage>', frame.xml), frame.xml
        return frame

    def keep_alive(self):
        self.send(self.codec.message(KEEP_ALIVE, self.keep_alive_xml()))

    def next_push(self, patience=PATIENCE_S):
        frame = self.frame(patience)
        assert frame is not None, "the session ended instead of a push"
        assert frame.channel == self.codec.channel(REQUEST), f"Channel {frame.channel}"
        assert re.fullmatch(
            r'<BgbRequestMessage TimeStamp="[^"]+"><PushID>\d+</PushID><TaskID>\d+</TaskID>'
            r'<TaskGUID>[0-9A-F-]{36}</TaskGUID><TaskType>\d+</TaskType>'
            r'<TaskParam>[A-Za-z0-9+/=]*</TaskParam></BgbRequestMessage>', frame.xml), frame.xml
        return frame

    def respond(self, push, code=1):
        self.send(self.codec.message(
            RESPONSE, self.response_xml(push.member("PushID"), push.member("TaskID"), code)))

    def ended(self, patience=PATIENCE_S):
        """Waits for the end of the session and says how it ended."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            try:
                if not self.read_some(max(0.01, until - time.monotonic())):
                    return "close_notify"
            except ssl.SSLEOFError:
                return "eof"
            except ssl.SSLError as alert:
                return "alert " + (alert.reason or "")
            except (ConnectionError, BrokenPipeError):
                return "reset"
            except TimeoutError:
                break
        return "open"

    def is_silent(self, for_s=0.2):
        """Nothing to read for a moment, and the line is open."""
        readable, _, _ = select.select([self.line], [], [], for_s)
        return not readable and not self.line.pending()

    def leave(self):
        try:
            self.line.unwrap().close()
        except (OSError, ssl.SSLError):
            self.line.close()

    def drop(self):
        self.line.close()


class Server:
    """The simulator as a process of its own, told what to do line by line."""

    program = None

    def __init__(self, folder, clients=(), codec=None, anyone=False, **settings):
        self.folder = tempfile.mkdtemp(dir=folder)
        self.codec = codec or Codec()
        given = {"settings": {"dir": self.folder, "pending_push_delay_max_ms": 0, **settings},
                 "clients": list(clients)}
        if anyone:
            given["anyone"] = True
        config = os.path.join(self.folder, "given.json")
        with open(config, "w", encoding="utf-8") as out:
            json.dump(given, out)
        self.process = subprocess.Popen([self.program, config], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        assert first, "the server did not start"
        self.port = json.loads(first)["port"]
        self.http_port = json.loads(first)["http_port"]
        self.certificate_file = os.path.join(self.folder, "server-certificate.pem")

    def call(self, line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def admin(self, method, path, body=None, status=200):
        got = self.call({"method": method, "path": "/notify/" + path,
                         "body": "" if body is None else json.dumps(body)})
        assert got["status"] == status, got
        return json.loads(got["body"])

    def push(self, *identities, **more):
        return self.admin("POST", "push", {"clients": [i.sms_id for i in identities], **more})

    def advance(self, seconds):
        self.call({"advance_ms": int(seconds * 1000)})

    def lines(self, name):
        self.admin("GET", "stats")  # writes out what is waiting
        with open(os.path.join(self.folder, name + ".jsonl"), encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def codes(self):
        return self.admin("GET", "violations")["by_code"]

    def wait_for(self, what, patience=PATIENCE_S):
        """Asks until `what()` is true; fails loudly at the bound."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            value = what()
            if value:
                return value
            select.select([], [], [], 0.005)
        raise AssertionError("waited in vain; violations so far: " + json.dumps(self.codes()))

    def wait_for_code(self, code):
        return self.wait_for(lambda: self.codes().get(code))

    def stop(self):
        self.process.stdin.close()
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.process.stdout.close()
        assert code == 0, f"the server ended with {code}"


if __name__ == "__main__":
    sys.exit("a module, not a program")
