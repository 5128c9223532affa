"""A tiny DM server for tests: SyncML 1.2 over TLS with client certificates, written from the specification alone."""

import base64
import datetime
import hashlib
import http.server
import pathlib
import socketserver
import ssl
import threading
import xml.etree.ElementTree as ET

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "dm.fabrikam.example"
URL = f"https://{NAME}/dm"
TYPE = "application/vnd.syncml.dm+xml"
S = "{SYNCML:SYNCML1.2}"
M = "{syncml:metinf}"


def make_certificate(folder):
    """Authority and server certificate as PEM files; returns (authority, certificate with key)."""
    folder = pathlib.Path(folder)
    now = datetime.datetime.utcnow()

    def build(subject, issuer, key, signer, authority):
        builder = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
                   .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=2))
                   .not_valid_after(now + datetime.timedelta(days=3650))
                   .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True))
        if not authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = build("DM test authority", "DM test authority", ca_key, ca_key, True)
    own = build(NAME, "DM test authority", key, ca_key, False)
    (folder / "dm-ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "dm-server.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / "dm-ca.pem", folder / "dm-server.pem"


def escaped(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def item(uri, data=None, format_="chr"):
    meta = f'<Meta><Format xmlns="syncml:metinf">{format_}</Format><Type xmlns="syncml:metinf">text/plain</Type></Meta>' if data is not None else ""
    return f"<Item><Target><LocURI>{escaped(uri)}</LocURI></Target>{meta}" + (f"<Data>{escaped(data)}</Data>" if data is not None else "") + "</Item>"


def command(verb, *items, inner=""):
    """`@` stands for the CmdID, which the server fills in."""
    return f"<{verb}><CmdID>@</CmdID>{inner}{''.join(items)}</{verb}>"


class Client:
    """One parsed message of a device."""

    def __init__(self, text, certificate):
        self.text, self.certificate = text, certificate
        root = ET.fromstring(text)
        header, body = root.find(S + "SyncHdr"), root.find(S + "SyncBody")
        self.session, self.msg_id = header.findtext(S + "SessionID"), int(header.findtext(S + "MsgID"))
        self.source = header.findtext(f"{S}Source/{S}LocURI")
        self.loc_name = header.findtext(f"{S}Source/{S}LocName")
        self.credential = header.findtext(f"{S}Cred/{S}Data")
        self.elements = [e for e in body if e.tag != S + "Final"]
        self.final = body.find(S + "Final") is not None

    def verbs(self):
        return [e.tag[len(S):] for e in self.elements]

    def commands(self):
        """(verb, CmdID) of what wants a Status."""
        return [(e.tag[len(S):], e.findtext(S + "CmdID")) for e in self.elements if e.tag[len(S):] in ("Alert", "Replace")]

    def alerts(self):
        return [e.findtext(S + "Data") for e in self.elements if e.tag == S + "Alert"]

    def statuses(self):
        return [{"msg_ref": e.findtext(S + "MsgRef"), "cmd_ref": e.findtext(S + "CmdRef"), "cmd": e.findtext(S + "Cmd"),
                 "target": e.findtext(S + "TargetRef"), "code": int(e.findtext(S + "Data"))} for e in self.elements if e.tag == S + "Status"]

    def results(self):
        """uri -> (format, data)"""
        out = {}
        for e in self.elements:
            if e.tag == S + "Results":
                for one in e.findall(S + "Item"):
                    out[one.findtext(f"{S}Source/{S}LocURI")] = (one.findtext(f"{S}Meta/{M}Format"), one.findtext(S + "Data") or "")
        return out


class Device:
    """What the server knows of one device."""

    def __init__(self):
        self.queue = []      # command texts for the next session
        self.messages = []   # of every session, in order
        self.channel_uri = self.push_status = None
        self.open_session = None


class DmServer:
    """Answers every session as R-20 asks: reads ChannelURI and Status, and sends what is queued. Tests replace what they need:

    `pfn`           set with Replace in the first session of each device, None: not
    `http`          callable(message) -> (status, headers) in place of an answer, or None
    `answer`        callable(device, message, default text) -> text
    `password`      (user, password): challenge with auth-md5
    """

    def __init__(self, folder, provider="FABRIKAM"):
        self.provider = provider
        self.push = f"./Device/Vendor/MSFT/DMClient/Provider/{provider}/Push"
        self.devices = {}
        self.requests = []       # (time on the server is of no interest) headers of each request
        self.pfn = self.http = self.answer = self.password = None
        self.reads_channel = True
        self.nonce = b"sim-nonce-1"
        self.lock = threading.RLock()
        self.authority, self.identity = make_certificate(folder)
        self.device_ca = pathlib.Path(folder) / "device-ca.pem"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def setup(self):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(outer.identity)
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(outer.device_ca)
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, text = outer.serve(self.path, dict(self.headers), body, self.request.getpeercert(binary_form=True))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, address):
                pass  # a device that goes away is no failure of the server

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def options(self):
        """For greengate-sim."""
        return ["--dm-url", URL, "--dm-connect", f"127.0.0.1:{self.port}", "--dm-ca", self.authority]

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def device(self, device_id):
        return self.devices.setdefault(device_id, Device())

    def set_pfn(self, pfn, verb="Replace"):
        return command(verb, item(self.push + "/PFN", pfn))

    def reads(self):
        return [command("Get", item(self.push + "/ChannelURI")), command("Get", item(self.push + "/Status"))]

    def serve(self, path, headers, body, certificate):
        with self.lock:
            self.requests.append({"path": path, **headers})
            try:
                message = Client(body.decode(), certificate)
            except (ET.ParseError, UnicodeDecodeError, AttributeError, TypeError):
                return 400, {}, b""
            if self.http is not None:
                other = self.http(message)
                if other is not None:
                    return other[0], other[1], b""
            device = self.device(message.source)
            device.messages.append(message)
            text = self.reply(device, message)
            if self.answer is not None:
                text = self.answer(device, message, text)
            return 200, {"Content-Type": TYPE}, text.encode()

    def reply(self, device, message):
        if self.password is not None and device.open_session != message.session:
            user, password = self.password
            inner = base64.b64encode(hashlib.md5(f"{user}:{password}".encode()).digest())
            expected = base64.b64encode(hashlib.md5(inner + b":" + self.nonce).digest()).decode()
            if message.credential != expected:
                nonce = base64.b64encode(self.nonce).decode()
                chal = ('<Chal><Meta><Format xmlns="syncml:metinf">b64</Format><Type xmlns="syncml:metinf">syncml:auth-md5</Type>'
                        f'<NextNonce xmlns="syncml:metinf">{nonce}</NextNonce></Meta></Chal>')
                return self.compose(message, [], 407, chal, 407)
        first = device.open_session != message.session
        device.open_session = message.session
        results = message.results()
        device.channel_uri = results.get(self.push + "/ChannelURI", (None, device.channel_uri))[1]
        device.push_status = results.get(self.push + "/Status", (None, device.push_status))[1]
        commands = []
        if first:
            if self.pfn and device.channel_uri is None and not device.queue:
                commands.append(self.set_pfn(self.pfn))
            commands += device.queue
            device.queue = []
            if self.reads_channel:
                commands += self.reads()
        return self.compose(message, commands, 212 if first else 200)

    def compose(self, message, commands, header_code, chal="", others=200, final=True, msg_id=None):
        number = 0

        def next_id():
            nonlocal number
            number += 1
            return str(number)

        ref = message.msg_id
        body = f"<Status><CmdID>{next_id()}</CmdID><MsgRef>{ref}</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd>{chal}<Data>{header_code}</Data></Status>"
        for verb, cmd_id in message.commands():
            body += f"<Status><CmdID>{next_id()}</CmdID><MsgRef>{ref}</MsgRef><CmdRef>{cmd_id}</CmdRef><Cmd>{verb}</Cmd><Data>{others}</Data></Status>"
        for text in commands:
            while "@" in text:
                text = text.replace("@", next_id(), 1)
            body += text
        return (f'<SyncML xmlns="SYNCML:SYNCML1.2"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto><SessionID>{message.session}</SessionID>'
                f"<MsgID>{msg_id or ref}</MsgID><Target><LocURI>{message.source}</LocURI></Target><Source><LocURI>{URL}</LocURI></Source></SyncHdr>"
                f"<SyncBody>{body}{'<Final/>' if final else ''}</SyncBody></SyncML>")
