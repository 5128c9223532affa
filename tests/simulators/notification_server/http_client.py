"""A strict client of the notification server's HTTP side, written from section 3 alone."""

import base64
import http.client
import re
import socket
import ssl


from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from bgb_client import KEEP_ALIVE, NONE, PATIENCE_S, RESPONSE, SIGN_IN, Codec, Frame, stamp

PATH = "/bgb/handler.ashx?RequestType="


class HttpClient:
    """One client: its cookie, its certificate, and requests one at a time on connections of their own."""

    def __init__(self, server, identity, codec=None, tls=True):
        self.server, self.identity, self.tls = server, identity, tls
        self.codec = codec or server.codec
        self.cookie = None
        self.lines = []

    # What goes out.
    def hook(self, payload, signs="payload", reverse=True):
        covered = payload if signs == "payload" and payload else self.identity.sms_id.encode("utf-16le") + b"\0\0"
        signature = self.identity.key.sign(covered, padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature[::-1] if reverse else signature).decode()

    def header_xml(self, payload, source=None, **how):
        return (f"<BgbMessageHeaderHttp><SourceID>{source or self.identity.sms_id}</SourceID><SourceType>SCCM</SourceType>"
                f'<Hooks><Hook Name="clientauth"><Property Name="Token">{self.hook(payload, **how)}</Property></Hook></Hooks>'
                f"</BgbMessageHeaderHttp>")

    def body(self, kind, xml="", header=None, **how):
        payload = self.codec.encode_text(xml) if xml else b""
        head = (header if header is not None else self.header_xml(payload, **how)).encode("utf-16le")
        size = len(payload) + (self.codec.struct.size + len(head) if self.codec.whole_frame else 0)
        return self.codec.struct.pack(size, *self.codec.version, len(head), self.codec.channel(kind)) + head + payload

    def sign_in_xml(self):
        return (f'<BgbSignInMessage TimeStamp="{stamp()}"><ClientType>SCCM</ClientType><ClientVersion>5.00.9141.1000</ClientVersion>'
                f"<ClientID>{self.identity.sms_id}</ClientID></BgbSignInMessage>")

    def response_xml(self, push, code=1):
        return (f'<BgbResponseMessage TimeStamp="{stamp()}"><PushID>{push.member("PushID")}</PushID>'
                f'<TaskID>{push.member("TaskID")}</TaskID><ReturnCode>{code}</ReturnCode></BgbResponseMessage>')

    # The line.
    def ask(self, word, body, method="POST", path=None, cookie=True):
        """Sends a request and leaves it hanging; answer() reads what comes."""
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self.server.certificate_file)
            context.load_cert_chain(self.identity.pem_file)
            line = http.client.HTTPSConnection("localhost", self.server.http_port, timeout=PATIENCE_S, context=context)
        else:
            line = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=PATIENCE_S)
        headers = {"Content-Type": "application/octet-stream"}
        if self.cookie and cookie:
            headers["Cookie"] = self.cookie
        line.request(method, path or PATH + word, body or None, headers)
        self.lines.append(line)
        return line

    def answer(self, line):
        """Status, headers and frames; (0, …) when the line was cut instead."""
        try:
            reply = line.getresponse()
            data = reply.read()
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError, socket.timeout):
            return 0, {}, []
        headers = {name.lower(): value for name, value in reply.getheaders()}
        if "set-cookie" in headers:
            self.cookie = headers["set-cookie"].split(";")[0]
        line.close()
        return reply.status, headers, self.frames(data) if reply.status == 200 else []

    def frames(self, data):
        fixed = self.codec.struct.size
        found = []
        while data:
            header = self.codec.struct.unpack_from(data)
            payload_at = fixed + header[3]
            size = header[0] - (payload_at if self.codec.whole_frame else 0)
            payload = data[payload_at:payload_at + size]
            assert len(payload) == size, "a frame is cut"
            found.append(Frame(header, payload, self.codec.decode_text(payload) if payload else ""))
            found[-1].header_xml = data[fixed:payload_at].decode("utf-16le")
            data = data[payload_at + size:]
        return found

    # What a good client does.
    def log_in(self):
        return self.answer(self.ask("LogIn", self.body(SIGN_IN, self.sign_in_xml())))

    def signed_in(self):
        status, _, frames = self.log_in()
        assert status == 200 and len(frames) == 1 and "BgbSignInConfirmMessage" in frames[0].xml, (status, frames)
        return self

    def wait(self):
        return self.ask("Continue", self.body(NONE))

    def say(self, kind, xml):
        return self.answer(self.ask("Continue", self.body(kind, xml)))

    def respond(self, push, code=1):
        return self.say(RESPONSE, self.response_xml(push, code))

    def keep_alive(self):
        return self.say(KEEP_ALIVE, f'<BgbKeepAliveMessage TimeStamp="{stamp()}"><ClientType>SCCM</ClientType>'
                                    f"<ClientID>{self.identity.sms_id}</ClientID></BgbKeepAliveMessage>")

    def next_push(self):
        status, _, frames = self.answer(self.wait())
        assert status == 200, status
        assert len(frames) == 1 and re.match("<BgbRequestMessage ", frames[0].xml), [f.xml for f in frames]
        return frames[0]

    def drop(self):
        for line in self.lines:
            line.close()
