"""A management point client written from the specification alone, in another language than the simulator.

Every step of a message can be replaced, so that tests can make each mistake there is, one at a time.
"""
import datetime
import hashlib
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
import uuid
import zlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

DATA = pathlib.Path(__file__).resolve().parents[2] / "data" / "mp"
BOUNDARY = "aAbBcCdDv1234567890VxXyYzZ"
SHA256_OID = "1.2.840.113549.1.1.11"
SHA1_OID = "1.2.840.113549.1.1.5"
SAMPLE_ID = "GUID:5A1B7C3D-0000-4000-8000-00000000A001"
PATIENCE_S = 20


# ---------------------------------------------------------------------------------------------- keys and signatures

def utf16(text):
    return text.encode("utf-16-le")


def digest_info(data, algorithm):
    prefix = {"sha256": "3031300d060960864801650304020105000420", "sha1": "3021300906052b0e03021a05000414"}[algorithm]
    return bytes.fromhex(prefix) + hashlib.new(algorithm, data).digest()


def raw_sign(key, content):
    """m^d mod n over a padded block made by hand: PKCS#1 v1.5 around `content`."""
    numbers = key.private_numbers()
    size = key.key_size // 8
    block = b"\x00\x01" + b"\xff" * (size - len(content) - 3) + b"\x00" + content
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")


def sign(key, data, order="little", oid=True, algorithm="sha256"):
    content = digest_info(data, algorithm) if oid else hashlib.new(algorithm, data).digest()
    signature = raw_sign(key, content)
    return (signature[::-1] if order == "little" else signature).hex().upper()


def public_key_blob(key):
    numbers = key.public_key().public_numbers()
    size = key.key_size // 8
    return (bytes.fromhex("0602000000A40000") + b"RSA1" + key.key_size.to_bytes(4, "little")
            + numbers.e.to_bytes(4, "little") + numbers.n.to_bytes(size, "little")).hex().upper()


_keys = {}


def key_named(name, bits=2048):
    if (name, bits) not in _keys:
        _keys[name, bits] = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return _keys[name, bits]


def certificate(key, name="ConfigMgr Client", before_days=-2, after_days=365, usage=True, eku=True, issuer=None, signer=None,
                data_encipherment=True):
    now = datetime.datetime.utcnow()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issued_by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else subject
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issued_by).public_key(key.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=before_days))
               .not_valid_after(now + datetime.timedelta(days=after_days)))
    if usage:
        builder = builder.add_extension(x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=data_encipherment,
            key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False), critical=False)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(
            [ObjectIdentifier("1.3.6.1.4.1.311.101.2"), ObjectIdentifier("1.3.6.1.4.1.311.101")]), critical=False)
    return builder.sign(signer or key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# ------------------------------------------------------------------------------------------------------- the simulator

class Simulator:
    """A greengate-sim process of its own folder; ports come from its first line."""

    def __init__(self, *arguments, folder=None):
        self.own_folder = tempfile.TemporaryDirectory() if folder is None else None
        self.dir = pathlib.Path(folder or self.own_folder.name)
        self.process = subprocess.Popen(
            [os.environ["GREENGATE_SIM"], "mp", "--dir", str(self.dir), "--log-level", "warn", *arguments], stdout=subprocess.PIPE)
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError("the simulator did not start")
        self.ready = json.loads(line)
        self.port = self.ready["mp_port"]
        self.admin_port = self.ready["admin_port"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        if self.own_folder:
            self.own_folder.cleanup()
        if code != 0:
            raise AssertionError(f"the simulator ended with {code}")

    def admin(self, method, path, body=None, expect=200):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE_S)
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        if expect is not None and response.status != expect:
            raise AssertionError(f"{method} {path}: {response.status} {content}")
        return content

    def verdicts(self):
        return [json.loads(line) for line in (self.dir / "verdicts.jsonl").read_text().splitlines()]

    def last_verdict(self):
        return self.verdicts()[-1]


# ------------------------------------------------------------------------------------------------------------ messages

def new_message_id():
    return "{" + str(uuid.uuid4()).upper() + "}"


class Message:
    """One message, with every part of it open to change before `wire()` is called."""

    def __init__(self, endpoint, body, source_id=None, key=None, host="LNX-A001", invoke=False, file_type=None):
        self.endpoint, self.body, self.source_id, self.key, self.host = endpoint, body, source_id, key, host
        self.id = new_message_id()
        self.reply_mode = "Sync" if invoke else "ASync"
        self.file_type = file_type
        self.compress = True
        self.hook_zlib = True
        self.tail = b"\r\n"                     # after the body's NUL
        self.nul = b"\x00\x00"
        self.body_bytes = None                  # instead of UTF-16LE of the body
        self.length = None                      # Body/@Length instead of the true one
        self.offset = "0"
        self.stream = None                      # instead of body, NUL and tail
        self.payload = None                     # instead of the compressed stream
        self.after_zlib = b""
        self.signature = None                   # PayloadSignature instead of the true one
        self.signature_order, self.signature_oid, self.algorithm = "little", True, "sha256"
        self.hash_oid = None
        self.auth = {}                          # replaces clientauth properties; None leaves one out
        self.hook_auth = key is not None
        self.elements = {}                      # replaces elements of Msg; None leaves one out
        self.attributes = {"ReplyCompression": "zlib", "SchemaVersion": "1.1"}
        self.attachments = ""
        self.more_hooks = ""
        self.msg = None                         # instead of the whole Msg text
        self.msg_edit = lambda text: text
        self.bom = b"\xff\xfe"
        self.header_bytes = None                # part 1 as a whole
        self.header_type = "content-type: text/plain; charset=UTF-16"
        self.payload_type = "content-type: application/octet-stream"
        self.boundary = BOUNDARY
        self.wire_edit = lambda data: data

    def payload_bytes(self):
        if self.payload is not None:
            return self.payload
        body = utf16(self.body) if self.body_bytes is None else self.body_bytes
        if self.length is None:
            self.length = len(body) + len(self.nul)
        stream = body + self.nul + self.tail if self.stream is None else self.stream
        return (zlib.compress(stream) if self.compress else stream) + self.after_zlib

    def msg_text(self, payload):
        hooks = ""
        if self.hook_auth:
            properties = {
                "AuthSenderMachine": self.host,
                "PublicKey": public_key_blob(self.key),
                "ClientIDSignature": sign(self.key, utf16((self.source_id or "") + "\0"), algorithm=self.algorithm),
                "PayloadSignature": self.signature if self.signature is not None else sign(
                    self.key, payload, self.signature_order, self.signature_oid, self.algorithm),
                "ClientCapabilities": "NonSSL",
                "HashAlgorithm": self.hash_oid or (SHA256_OID if self.algorithm == "sha256" else SHA1_OID),
            }
            properties.update(self.auth)
            hooks += '<Hook2 Name="clientauth">' + "".join(
                f'<Property Name="{n}">{v}</Property>' for n, v in properties.items() if v is not None) + "</Hook2>"
        if self.hook_zlib:
            hooks += '<Hook3 Name="zlib-compress" />'
        elements = {
            "Body": f'<Body Type="ByteRange" Length="{self.length}" Offset="{self.offset}" />',
            "CorrelationID": "{00000000-0000-0000-0000-000000000000}",
            "Hooks": f"<Hooks>{hooks}{self.more_hooks}</Hooks>",
            "ID": self.id, "Payload": '<Payload Type="inline" />', "Priority": "0", "Protocol": "http", "ReplyMode": self.reply_mode,
            "ReplyTo": f"direct:{self.host}:SccmMessaging",
            "SentTime": datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "SourceID": self.source_id, "SourceHost": self.host, "TargetAddress": f"mp:{self.endpoint}",
            "TargetEndpoint": self.endpoint, "TargetHost": "mp01.example.test", "Timeout": "60000", "FileType": self.file_type,
        }
        elements.update(self.elements)
        inner = self.attachments + "".join(
            v if v.startswith("<") else f"<{n}>{v}</{n}>" for n, v in elements.items() if v is not None)
        attributes = "".join(f' {n}="{v}"' for n, v in self.attributes.items())
        return f"<Msg{attributes}>{inner}</Msg>"

    def wire(self):
        payload = self.payload_bytes()
        header = self.header_bytes
        if header is None:
            header = self.bom + utf16(self.msg_edit(self.msg if self.msg is not None else self.msg_text(payload)))
        line = b"--" + self.boundary.encode()
        second = b"\r\n" if self.payload_type is None else self.payload_type.encode() + b"\r\n\r\n"
        return self.wire_edit(line + b"\r\n" + self.header_type.encode() + b"\r\n\r\n" + header + b"\r\n"
                              + line + b"\r\n" + second + payload + b"\r\n" + line + b"--\r\n")


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.msg = self.xml = None
        if status == 200 and body:
            first, second = self.split()
            self.msg = first.decode("utf-16")
            if second is not None:
                raw = zlib.decompress(second) if second[:1] == b"\x78" else second
                assert raw.endswith(b"\0\0")
                length = int(re.search(r'<Body[^>]*Length="(\d+)"', self.msg).group(1))
                assert length == len(raw), f"Body Length {length} of {len(raw)} bytes"
                self.xml = raw[:-2].decode("utf-16-le")

    def split(self):
        assert self.headers["Content-Type"] == f'multipart/mixed; boundary="{BOUNDARY}"', self.headers
        parts = self.body.split(b"--" + BOUNDARY.encode())
        assert parts[0] == b"" and parts[-1] == b"--\r\n" and len(parts) in (3, 4)
        contents = []
        for part in parts[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            contents.append((head, content[:-2]))
        assert b"charset=UTF-16" in contents[0][0] and contents[0][1].startswith(b"\xff\xfe")
        if len(contents) == 1:
            return contents[0][1], None
        assert contents[1][0] == b"\r\ncontent-type: application/octet-stream", contents[1][0]
        return contents[0][1], contents[1][1]


def post(simulator, message, path="/ccm_system/request", content_type=None, method="CCM_POST", headers=None):
    data = message if isinstance(message, bytes) else message.wire()
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=PATIENCE_S)
    try:
        all_headers = {"Content-Type": content_type or f'multipart/mixed; boundary="{BOUNDARY}"', "User-Agent": "test"}
        all_headers.update(headers or {})
        connection.request(method, path, data, all_headers)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def raw_exchange(simulator, data, port=None):
    """Writes bytes as they are; returns what comes back until the end."""
    with socket.create_connection(("127.0.0.1", port or simulator.port), PATIENCE_S) as line:
        line.sendall(data)
        received = b""
        while True:
            try:
                block = line.recv(65536)
            except ConnectionResetError:
                break
            if not block:
                break
            received += block
            head, found, rest = received.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            if found and length and len(rest) >= int(length.group(1)):
                break
        return received


# -------------------------------------------------------------------------------------------------------- registration

class Registration:
    """A registration or confirmation, every piece of it replaceable."""

    def __init__(self, key, der, name="LNX-A001", sms_id="", confirmation=False):
        self.key, self.name, self.sms_id = key, name, sms_id
        self.request_type = "Confirmation" if confirmation else "Registration"
        self.signing, self.encryption = der.hex().upper(), der.hex().upper()
        self.encoding, self.key_type = "HexBinary", "1"
        self.hash_oid, self.algorithm = SHA256_OID, "sha256"
        self.time = "2026-01-15T10:20:30Z"
        self.agent = '<AgentInformation AgentIdentity="InteropGateway" AgentVersion="5.00.8325.0000" AgentType="0" />'
        self.properties = [("Netbios Name", name), ("FQ Name", f"{name.lower()}.example.test"), ("Locale ID", "1033"), ("InternetFlag", "0")]
        self.order, self.oid = "little", True
        self.hint = ""
        self.data_edit = lambda text: text      # before it is signed
        self.body_edit = lambda text: text      # after
        self.signature_edit = lambda text: text
        self.signature_attributes = ""

    def body(self):
        certificates = "".join(
            f'<{n} Encoding="{self.encoding}" KeyType="{self.key_type}">{v}</{n}>'
            for n, v in (("Encryption", self.encryption), ("Signing", self.signing)) if v is not None)
        properties = "".join(f'<Property Name="{n}" Value="{v}" />' for n, v in self.properties)
        oid = f' HashAlgorithm="{self.hash_oid}"' if self.hash_oid else ""
        data = self.data_edit(
            f'<Data{oid} SMSID="{self.sms_id}" RequestType="{self.request_type}" TimeStamp="{self.time}">{self.agent}'
            f"<Certificates>{certificates}</Certificates><DiscoveryProperties>{properties}</DiscoveryProperties>{self.hint}</Data>")
        signature = self.signature_edit(sign(self.key, utf16(data), self.order, self.oid, self.algorithm))
        return self.body_edit(f"<ClientRegistrationRequest>{data}<Signature{self.signature_attributes}>"
                              f"<SignatureValue>{signature}</SignatureValue></Signature></ClientRegistrationRequest>")

    def message(self):
        return Message("MP_ClientRegistration", self.body(), invoke=True, host=self.name)


def attribute(xml, name):
    found = re.search(rf'{name}="([^"]*)"', xml or "")
    return found.group(1) if found else None


class Client:
    """A registered and confirmed client with its own counters."""

    def __init__(self, simulator, name="LNX-A001", key=None, confirm=True, register=True):
        self.simulator, self.name = simulator, name
        self.key = key or key_named("client")
        self.der = certificate(self.key)
        self.sms_id = None
        if register:
            reply = post(simulator, Registration(self.key, self.der, name).message())
            assert attribute(reply.xml, "Status") == "1", reply.xml
            self.sms_id = attribute(reply.xml, "SMSID")
            if confirm:
                assert self.confirm() == "0"

    def confirm(self):
        reply = post(self.simulator, Registration(self.key, self.der, self.name, self.sms_id, True).message())
        return attribute(reply.xml, "Status")

    def sample(self, file):
        text = (DATA / file).read_text()
        return text.replace(SAMPLE_ID, self.sms_id).replace("LNX-A001", self.name).replace("lnx-a001", self.name.lower())

    def message(self, endpoint, body, **more):
        return Message(endpoint, body, self.sms_id, self.key, self.name, **more)

    def ddr(self, version="1.0"):
        return self.message("MP_DdrEndpoint", self.sample("ddr-full.xml").replace("<Version>1.0</Version><Format>", f"<Version>{version}</Version><Format>"))

    def hinv_full(self, version="1.0"):
        return self.message("MP_HinvEndpoint", self.sample("hinv-full.xml").replace("<Version>1.0</Version><Format>", f"<Version>{version}</Version><Format>"))

    def hinv_delta(self, version="1.1"):
        return self.message("MP_HinvEndpoint", self.sample("hinv-delta.xml").replace("<Version>1.1</Version><Format>", f"<Version>{version}</Version><Format>"))

    def sinv(self):
        return self.message("MP_SinvEndpoint", self.sample("sinv-full.xml"))

    def state(self, first=41):
        body = self.sample("state-messages.xml").replace('SerialNumber="41"', f'SerialNumber="{first}"').replace('SerialNumber="42"', f'SerialNumber="{first + 1}"')
        return self.message("MP_RelayEndpoint", body, file_type="SMX")

    def policy(self):
        return self.message("MP_PolicyManager", self.sample("policy-request.xml"), invoke=True)
