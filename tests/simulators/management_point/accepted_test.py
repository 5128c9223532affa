"""Goal: everything the specification calls right is accepted. Method: a client of its own makes, the line says."""
import re
import unittest
import hashlib
import http.client

from mp_client import *


class Accepted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator()

    @classmethod
    def tearDownClass(cls):
        cls.sim.stop()

    def accept(self, message, verdict="accepted", **more):
        reply = post(self.sim, message, **more)
        line = self.sim.last_verdict()
        self.assertEqual(reply.status, 200)
        self.assertEqual(line["verdict"], verdict, line)
        return reply, line

    def test_registers_confirms_and_reports(self):
        client = Client(self.sim, "FULL-1", key_named("full"))
        self.assertTrue(re.fullmatch(r"GUID:[0-9A-F-]{36}", client.sms_id))
        _, line = self.accept(client.ddr())
        self.assertEqual(line["warnings"], [])
        self.assertEqual(line["signature"], "LE+OID")
        self.assertEqual(line["client"], client.sms_id)
        self.assertEqual(line["report"]["instances"]["CCM_Client"], 1)
        for message in (client.hinv_full(), client.hinv_delta(), client.sinv(), client.state()):
            _, line = self.accept(message)
            self.assertEqual([w for w in line["warnings"] if w["code"] != "instance.row_unknown"], [], line)
        self.accept(client.message("MP_RelayEndpoint", client.sample("metering.xml"), file_type="SWM"))
        self.accept(client.message("MP_SinvCollFileEndpoint", client.sample("file-collection.xml")))
        self.accept(client.message("StatusReceiver", client.sample("status.xml")))
        picture = self.sim.admin("GET", f"/mp/clients/{client.sms_id}")
        self.assertEqual(picture["os_caption"], "Ubuntu 24.04.1 LTS")
        self.assertEqual(picture["model"], "Edge Box 3")
        self.assertEqual(picture["memory_kib"], 16301234)
        self.assertEqual(picture["discovered_fqdn"], "full-1.example.test")
        self.assertEqual(picture["packages"], 2)  # openssl and, by the delta, jq
        self.assertEqual(picture["disks"], [{"device": "/dev/sda1", "size_mib": 240000, "free_mib": 118000}])
        self.assertEqual(picture["versions"]["hardware"], "1.1")
        self.assertEqual((picture["last_serial"], picture["state_messages"]), (42, 2))
        self.assertEqual(picture["standing"], "confirmed")
        self.assertGreaterEqual(len(picture["last_messages"]), 8)
        rows = self.sim.admin("GET", f"/mp/clients/{client.sms_id}/inventory")
        self.assertEqual({p["ProdID"] for p in rows["hardware"]["Win32Reg_AddRemovePrograms"]}, {"openssl", "jq"})

    def test_keeps_the_raw_bytes_and_the_texts(self):
        client = Client(self.sim, "EVID-1", key_named("evid"))
        message = client.ddr()
        wire = message.wire()
        _, line = self.accept(wire)
        folder = self.sim.dir / line["folder"]
        raw = (folder / "request.http").read_bytes()
        self.assertTrue(raw.startswith(b"CCM_POST /ccm_system/request HTTP/1.1\r\n"))
        self.assertTrue(raw.endswith(wire))
        self.assertEqual((folder / "body.xml").read_text(), message.body)
        self.assertIn("<TargetEndpoint>MP_DdrEndpoint</TargetEndpoint>", (folder / "msg.xml").read_text())

    def test_a_post_is_answered_empty(self):
        reply, _ = self.accept(Client(self.sim, "EMPTY-1", key_named("empty")).ddr())
        self.assertEqual((reply.headers["Content-Length"], reply.body), ("0", b""))

    def test_what_other_clients_do_is_tolerated(self):
        client = Client(self.sim, "TOL-1", key_named("tol"))

        def variant(change):
            message = client.ddr()
            change(message)
            return message

        def reorder(m):
            m.more_hooks, m.hook_zlib = "", True
            m.msg_edit = lambda t: t.replace('<Hook3 Name="zlib-compress" />', "").replace("<Hooks>", '<Hooks><Hook3 Name="zlib-compress" />')

        changes = {
            "no tail": lambda m: setattr(m, "tail", b""),
            "a stray NUL byte": lambda m: setattr(m, "tail", b"\0"),
            "lower-case signature": lambda m: setattr(m, "signature", sign(m.key, m.payload_bytes()).lower()),
            "no PublicKey and ClientIDSignature": lambda m: m.auth.update(PublicKey=None, ClientIDSignature=None),
            "wrong PublicKey": lambda m: m.auth.update(PublicKey="00"),
            "wrong ClientIDSignature": lambda m: m.auth.update(ClientIDSignature="00" * 256),
            "no part 2 content type": lambda m: setattr(m, "payload_type", None),
            "transfer encoding": lambda m: setattr(m, "payload_type", m.payload_type + "\r\nContent-Transfer-Encoding: binary"),
            "raw target address": lambda m: m.elements.update(TargetAddress="raw:httpsync:mp01:MP_DdrEndpoint"),
            "http target address": lambda m: m.elements.update(TargetAddress="mp:[http]MP_DdrEndpoint"),
            "few elements": lambda m: m.elements.update(TargetAddress=None, TargetHost=None, Priority=None, Timeout=None, CorrelationID=None, SourceHost=None, Protocol=None),
            "hook order": reorder,
            "no final line end": lambda m: setattr(m, "wire_edit", lambda d: d[:-2]),
            "other compression level": lambda m: setattr(m, "payload", zlib.compress(utf16(m.body) + b"\0\0", 9)) or setattr(m, "length", len(utf16(m.body)) + 2),
            "with a declaration": lambda m: setattr(m, "body", '<?xml version="1.0" encoding="UTF-16"?>\r\n' + m.body),
        }
        for name, change in changes.items():
            with self.subTest(name):
                self.accept(variant(change))

    def test_other_boundaries_and_paths(self):
        client = Client(self.sim, "PATH-1", key_named("path"))
        message = client.ddr()
        message.boundary = "simple"
        self.accept(message, content_type="multipart/mixed; boundary=simple")
        self.accept(client.ddr(), path="/CCM_System/REQUEST")
        self.accept(client.ddr(), path="/ccm_system_windowsauth/request")

    def test_a_report_in_an_attachment(self):
        client = Client(self.sim, "ATT-1", key_named("att"))
        full = client.sample("hinv-full.xml")
        header = re.sub(r"<ReportBody>.*</ReportBody>", "<ReportBody />", full)
        message = client.message("MP_HinvEndpoint", header)
        first, second = utf16(header) + b"\0\0\r\n", utf16(full)
        message.stream = first + second + b"\0\0\r\n"
        message.attachments = (f'<Attachment Type="ByteRange" Name="{{00000000-0000-0000-0000-000000000001}}" Offset="{len(first)}" Length="{len(second)}" />')
        _, line = self.accept(message)
        self.assertEqual(line["report"]["instances"]["Win32_BIOS"], 1)
        # The layout seen once on the wire: both in attachments, the body being the second again.
        message = client.message("MP_HinvEndpoint", full.replace("<Version>1.0</Version><Format>", "<Version>2.0</Version><Format>"))
        second = utf16(message.body)
        message.stream = first + second + b"\0\0\r\n"
        message.length, message.offset = len(second) + 2, str(len(first))
        message.attachments = (f'<Attachment Type="ByteRange" Length="{len(first) - 4}" Name="403838f7-69bb-43d5-8362-28a5755b97b5" Offset="0" />'
                               f'<Attachment Length="{len(second)}" Offset="{len(first)}" />')
        self.accept(message)

    def test_policy_with_a_body_that_matches_its_hash(self):
        client = Client(self.sim, "POL-1", key_named("pol"))
        reply, _ = self.accept(client.policy())
        self.assertIn("<ReplyAssignments", reply.xml)
        location = re.search(r"<!\[CDATA\[http://<mp>(/SMS_MP/\.sms_pol\?[^\]]*)\]\]>", reply.xml).group(1)
        promised = re.search(r'PolicyHashEx="SHA256:([0-9A-F]{64})"', reply.xml).group(1)
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=PATIENCE_S)
        for path in (location, location.replace("{", "%7B").replace("}", "%7D").lower()):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            self.assertEqual(response.status, 200)
            self.assertEqual(hashlib.sha256(body).hexdigest().upper(), promised)
            self.assertTrue(body.startswith(b"\xff\xfe") and body.endswith(b"\0\0"))
        self.assertIn("InventoryAction", body.decode("utf-16"))
        connection.request("GET", "/SMS_MP/.sms_pol?{nothing}")
        self.assertEqual(connection.getresponse().status, 404)
        connection.close()

    def test_reply_compression_is_honoured(self):
        client = Client(self.sim, "COMP-1", key_named("comp"))
        message = client.policy()
        message.attributes["ReplyCompression"] = "none"
        reply, _ = self.accept(message)
        self.assertIn("<\0R\0e\0p\0l\0y\0A\0".encode(), reply.body)
        message = client.policy()
        del message.attributes["ReplyCompression"]
        reply, _ = self.accept(message)
        self.assertEqual(reply.split()[1][:1], b"\x78")

    def test_locations(self):
        for file, root in (("wsus-location-request.xml", "WSUSLocationReply"), ("content-location-request.xml", "ContentLocationReply"),
                           ("site-information-request.xml", "SiteInfoReply")):
            reply, _ = self.accept(Message("MP_LocationManager", (DATA / file).read_text(), invoke=True))
            self.assertIn(f"<{root} ", reply.xml)

    def test_bootstrap_information(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=PATIENCE_S)
        texts = {}
        for verb in ("MPLIST", "MPLIST1&P01", "MPCERT", "SITESIGNCERT", "MPKEYINFORMATION", "MPKEYINFORMATIONMEDIA", "SMSTRC"):
            connection.request("GET", f"/SMS_MP/.sms_aut?{verb}")
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            texts[verb] = response.read().decode("utf-16") if verb != "SMSTRC" else response.read()
        self.assertIn('FQDN="mp01.example.test"', texts["MPLIST"])
        der = bytes.fromhex(re.search("<X509Certificate>([0-9A-F]+)</X509Certificate>", texts["SITESIGNCERT"]).group(1))
        self.assertEqual(x509.load_der_x509_certificate(der).subject.rfc4514_string(), "CN=Site Server")
        connection.request("GET", "/sms_mp/.SMS_AUT?NOTHING")
        self.assertEqual(connection.getresponse().status, 404)
        connection.close()

    def test_the_specification_s_vectors(self):
        vectors = json.loads((DATA / "sign-vectors.json").read_text())
        n, e, d = int(vectors["rsa"]["n_hex"], 16), vectors["rsa"]["e"], int(vectors["rsa"]["d_hex"], 16)
        p, q = rsa.rsa_recover_prime_factors(n, e, d)
        key = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)).private_key()
        # The client here makes what the vectors hold ...
        registration = vectors["vectors"]["RegistrationData"]
        self.assertEqual(sign(key, utf16(registration["xml"])), registration["signature_reversed_hex"])
        self.assertEqual(sign(key, utf16(registration["xml"]), oid=False), registration["signature_no_hash_oid_reversed_hex"])
        self.assertEqual(public_key_blob(key), vectors["public_key_blob_hex"])
        # ... and the simulator takes the vectors' own bytes.
        body = (f"<ClientRegistrationRequest>{registration['xml']}<Signature><SignatureValue>{registration['signature_reversed_hex']}"
                "</SignatureValue></Signature></ClientRegistrationRequest>")
        reply, _ = self.accept(Message("MP_ClientRegistration", body, invoke=True))
        self.assertEqual(attribute(reply.xml, "Status"), "1")
        sms_id = attribute(reply.xml, "SMSID")
        confirmation = Registration(key, bytes.fromhex(vectors["certificate_der_hex"]), "LNX-A001", sms_id, True)
        reply, _ = self.accept(confirmation.message())
        self.assertEqual(attribute(reply.xml, "Status"), "0")
        payload = vectors["vectors"]["PayloadSignature_zlib"]
        message = Message("MP_PolicyManager", "", sms_id, key, invoke=True)
        message.payload = bytes.fromhex(payload["signed_bytes_hex"])
        message.length, message.signature = payload["body_length_attr"], payload["signature_reversed_hex"]
        post(self.sim, message)
        line = self.sim.last_verdict()
        self.assertEqual(line["signature"], "LE+OID")
        # The vector's body names the sample's client, so this alone is refused.
        self.assertEqual([v["code"] for v in line["violations"]], ["policy.client_id"])


if __name__ == "__main__":
    unittest.main()
