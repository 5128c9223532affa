"""A Windows device by hand: a TLS client with a certificate, and SyncML documents written and read here. Shares nothing with the product."""

import http.client
import itertools
import ssl
import subprocess
import xml.etree.ElementTree as tree
from xml.sax.saxutils import escape

SYNC = "{SYNCML:SYNCML1.2}"
PUSH = "./Device/Vendor/MSFT/DMClient/Provider/Greengate/Push"
SERIALS = itertools.count(0x0AFF)


def make_certificate(folder, name, authority=None):
    """(certificate, key) as PEM files; signed by `authority`, or by itself."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    extensions = ["-addext", "basicConstraints=critical,CA:" + ("FALSE" if authority else "TRUE")]
    if authority:
        extensions += ["-CA", authority[0], "-CAkey", authority[1]]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={name}",
                    "-set_serial", str(next(SERIALS)), "-keyout", key, "-out", certificate, *extensions], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


def fingerprint(certificate):
    shown = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"], check=True, capture_output=True, text=True).stdout
    return shown.strip().split("=")[1]


class WindowsDevice:
    """`nodes`: what Get finds, by LocURI. `answers`: statuses by "Verb LocURI", 200 for others."""

    def __init__(self, port, device_id, identity=None):
        self.port, self.device_id = port, device_id
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        if identity:
            self.context.load_cert_chain(*identity)
        self.nodes = {PUSH + "/Status": "0", PUSH + "/ChannelURI": ""}
        self.answers = {}
        self.asked = []
        self.session = 10

    def post(self, text, content_type="application/vnd.syncml.dm+xml", method="POST"):
        """(status, headers, body) of one exchange on a connection of its own."""
        link = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=30)
        try:
            link.request(method, "/dm?mode=Maintenance", body=text.encode(), headers={"Content-Type": content_type, "User-Agent": "MSFT OMA DM Client/1.2.0.1"})
            answer = link.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            link.close()

    def message(self, number, body):
        return ('<SyncML xmlns="SYNCML:SYNCML1.2"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>'
                f"<SessionID>{self.session}</SessionID><MsgID>{number}</MsgID><Target><LocURI>https://127.0.0.1:{self.port}/dm</LocURI></Target>"
                f"<Source><LocURI>{self.device_id}</LocURI></Source></SyncHdr><SyncBody>{body}<Final/></SyncBody></SyncML>")

    def package1(self):
        return self.message(1, "<Alert><CmdID>2</CmdID><Data>1201</Data></Alert><Alert><CmdID>3</CmdID><Data>1224</Data><Item><Meta>"
                               '<Type xmlns="syncml:metinf">com.microsoft/MDM/LoginStatus</Type></Meta><Data>user</Data></Item></Alert>'
                               f"<Replace><CmdID>4</CmdID><Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>{self.device_id}</Data></Item>"
                               "<Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>Fabrikam Test Works</Data></Item></Replace>")

    def visit(self):
        """A whole session; answers the commands it was sent, as "Exec LocURI data"."""
        self.session += 1
        self.asked = []
        text = self.package1()
        for number in itertools.count(1):
            status, headers, answer = self.post(text)
            assert status == 200, f"{status} {answer}"
            assert "Content-Length" in headers and headers["Content-Type"] == "application/vnd.syncml.dm+xml", headers
            root = tree.fromstring(answer)
            header, body = root.find(SYNC + "SyncHdr"), root.find(SYNC + "SyncBody")
            assert header.findtext(SYNC + "SessionID") == str(self.session) and header.findtext(SYNC + "MsgID") == str(number), answer
            assert header.findtext(f"{SYNC}Target/{SYNC}LocURI") == self.device_id, answer
            assert body.find(SYNC + "Final") is not None, answer
            ids = [each.text for each in body.iter(SYNC + "CmdID")]
            assert len(ids) == len(set(ids)), "a CmdID twice: " + answer
            statuses = [(each.findtext(SYNC + "CmdRef"), each.findtext(SYNC + "Data")) for each in body.findall(SYNC + "Status")]
            expected = [("0", "212"), ("2", "200"), ("3", "200"), ("4", "200")] if number == 1 else [("0", "200")]
            assert statuses == expected, statuses
            commands = [each for each in body if each.tag not in (SYNC + "Status", SYNC + "Final")]
            if not commands:
                return self.asked
            text = self.message(number + 1, self.act(header.findtext(SYNC + "MsgID"), commands))

    def act(self, message, commands):
        ids = itertools.count(1)
        written = f"<Status><CmdID>{next(ids)}</CmdID><MsgRef>{message}</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>200</Data></Status>"
        for command in commands:
            verb, reference = command.tag.removeprefix(SYNC), command.findtext(SYNC + "CmdID")
            place = command.findtext(f"{SYNC}Item/{SYNC}Target/{SYNC}LocURI")
            data = command.findtext(f"{SYNC}Item/{SYNC}Data")
            self.asked.append(f"{verb} {place}" + (f" {data}" if data is not None else ""))
            status = self.answers.get(f"{verb} {place}", 200)
            if verb == "Get" and place not in self.nodes:
                status = 404
            refs = f"<MsgRef>{message}</MsgRef><CmdRef>{reference}</CmdRef>"
            written += f"<Status><CmdID>{next(ids)}</CmdID>{refs}<Cmd>{verb}</Cmd><Data>{status}</Data></Status>"
            if verb == "Get" and status == 200:
                written += (f"<Results><CmdID>{next(ids)}</CmdID>{refs}<Item><Source><LocURI>{place}</LocURI></Source>"
                            f"<Data>{escape(self.nodes[place])}</Data></Item></Results>")
        return written
