"""Seeds for the fuzzers: the recorded samples of tests/data in the form each target reads, and the files of corpus/NAME."""
import base64
import pathlib
import subprocess
import zlib

HERE = pathlib.Path(__file__).resolve().parent
HOUSE = HERE.parent.parent
BOUNDARY = b"aAbBcCdDv1234567890VxXyYzZ"


def utf16(text):
    return text.encode("utf-16-le")


def multipart(xml, compressed=True):
    payload = utf16(xml) + b"\0\0"
    if compressed:
        payload = zlib.compress(payload)
    header = b"\xff\xfe" + utf16("<Msg SchemaVersion=\"1.1\"><ID/></Msg>")
    return (b"--" + BOUNDARY + b"\r\ncontent-type: text/plain; charset=UTF-16\r\n\r\n" + header + b"\r\n--" + BOUNDARY +
            b"\r\ncontent-type: application/octet-stream\r\n\r\n" + payload + b"\r\n--" + BOUNDARY + b"--\r\n")


def mp_samples(*stems):
    folder = HOUSE / "tests" / "data" / "mp"
    chosen = [folder / f"{stem}.xml" for stem in stems] if stems else sorted(folder.glob("*.xml"))
    return [(path.stem, path.read_text(encoding="utf-8").strip()) for path in chosen if path.exists()]


ACTION = ('<Policy PolicyID="{B1}" PolicyVersion="4.00"><PolicyRule PolicyRuleID="{B1}"><PolicyAction PolicyActionType="WMI-XML">'
          '<instance class="InventoryAction"><property name="InventoryActionID" type="8"><value><![CDATA['
          '{00000000-0000-0000-0000-000000000001}]]></value></property><property name="ReportType" type="8"><value>Resync</value></property>'
          '<property name="InventoryActionLastUpdateTime" type="8"><value>20260110000000.000000+000</value></property></instance>'
          '</PolicyAction></PolicyRule></Policy>')
ITEM = ('<Policy><instance class="InventoryDataItem"><property name="InventoryActionID"><value>{00000000-0000-0000-0000-000000000002}</value>'
        '</property><property name="ItemClass"><value>Win32_Service</value></property><property name="Namespace"><value>\\\\.\\root\\cimv2</value>'
        '</property><property name="Properties"><value>Name,State;Mode</value></property></instance></Policy>')
SCHEDULE = ('<Policy><CCM_Scheduler_ScheduledMessage ScheduledMessageID="{00000000-0000-0000-0000-000000000003}"><Triggers>'
            '<value>SimpleInterval;Minutes=60;MaxRandomDelayMinutes=5</value><value>0001170000100008</value></Triggers>'
            '</CCM_Scheduler_ScheduledMessage></Policy>')


def policy_bodies():
    for stem, xml in (("action", ACTION), ("item", ITEM), ("schedule", SCHEDULE)):
        yield stem, b"\x00\n\n\n" + xml.encode()
        yield stem + "-wide", b"\x00\n\n\n\xff\xfe" + utf16(xml) + b"\0\0"
        packed = zlib.compress(b"\xff\xfe" + utf16(xml)).hex().upper()
        yield stem + "-packed", b"\x40\n\n\n<PolicyXML Compression=\"zlib\">" + packed.encode() + b"</PolicyXML>"
    yield "hash", (b"\x00SHA256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855\n"
                   b"MD5:D41D8CD98F00B204E9800998ECF8427E\nhttp://<mp>/SMS_MP/.sms_pol?{B1}.SHA256:00\n")
    yield "bomb", b"\x40\n\n\n<a>" + zlib.compress(b"<a>" * 700_000).hex().encode() + b"</a>"


def site_documents():
    for stem, xml in mp_samples("content-location-reply", "wsus-location-reply", "mplist"):
        for kind in (0, 1, 2, 3, 4):
            yield f"{stem}-{kind}", bytes([kind]) + xml.encode()
        yield stem + "-wide", b"\x04\xff\xfe" + utf16(xml) + b"\0\0"
    yield "site", (b"\x03<SiteInfoReply SchemaVersion=\"1.00\"><Sites><Site><SiteCode>P01</SiteCode><Version>5.00</Version>"
                   b"<BuildNumber>9128</BuildNumber></Site></Sites></SiteInfoReply>")
    for host in ("mp01.example.test", "127.0.0.1", "2130706433", "0x7f.1", "mp.localhost", "a.b:80", "a.b/..", "[::1]", "-a.b", "\u00fc.b"):
        yield "list-" + str(abs(zlib.crc32(host.encode()))), ("\x04<MPList><MP Name=\"M\" FQDN=\"" + host + "\" SSLState=\"63\"/></MPList>").encode()
        yield "points-" + str(abs(zlib.crc32(host.encode()))), ("\x00<EnumerateMPLocationReply><MP FQDN=\"" + host + "\"/></EnumerateMPLocationReply>").encode()
    yield "key", b"\x07<MPKEYINFORMATION><FQDN>mp01.example.test</FQDN><SITECODE>P01</SITECODE></MPKEYINFORMATION>"
    pem = (HERE / "corpus" / "site_documents" / "certificate-file").read_bytes()
    der = base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))
    yield "certificate", b"\x05<X509Certificate>" + der.hex().upper().encode() + b"</X509Certificate>"
    yield "certificate-der", b"\x06" + der


def chunk_runs():
    def chunk(transfer, index, count, size, own, wrong=0):
        return bytes([transfer, index, count, size, own, wrong])
    file = [chunk(1, i, 3, 30, 10) for i in range(3)]
    other = [chunk(2, i, 2, 8, 4) for i in range(2)]
    yield "whole", b"\x00" + b"".join(file)
    yield "mixed", b"\x00" + file[0] + other[0] + file[1] + other[1] + file[2]
    yield "again", b"\x00" + b"".join(file + file + other)
    yield "broken", b"\x03" + file[0] + file[2] + chunk(2, 0, 255, 255, 4) + chunk(3, 0, 1, 4, 4, 3) + chunk(0, 0, 1, 4, 4, 0xFC)
    yield "waiting", b"\x05" + file[0] + other[0] + chunk(17, 0, 4, 9, 1) + chunk(3, 0, 4, 9, 1)


def wire_words():
    words = ["http://mp01.example.test", "https://[2001:db8::1]:8443/base?x=1", "HTTP://a:1/", "120", "Fri, 31 Dec 1999 23:59:59 GMT",
             "20260115102030.000000+060", "2026-01-15T10:20:30Z", "01/15/2026 10:20:30", "SimpleInterval;Minutes=60;MaxRandomDelayMinutes=5",
             "ScheduleString=0001170000100008", "http://<mp>/SMS_MP/.sms_pol?{B1}.SHA256:00", "mp01.example.test", "https://[::1]", "http://a/b#c", "http://[a\"b]/"]
    for number, word in enumerate(words):
        yield str(number), word.encode()


MADE = {"policy_body": policy_bodies, "site_documents": site_documents, "file_assembly": chunk_runs, "wire_words": wire_words}


def from_samples(name):
    """(file name, bytes) of every seed made from recorded samples, or here."""
    if name in MADE:
        yield from MADE[name]()
    if name == "mp_reply_xml":
        for stem, xml in mp_samples():
            yield stem, xml.encode()
    if name == "mp_answer":
        content_type = b"multipart/mixed; boundary=\"" + BOUNDARY + b"\"\n"
        for stem, xml in mp_samples("registration-response", "confirmation-response", "policy-reply"):
            yield stem, b"\x01" + content_type + multipart(xml)
            yield stem + "-plain", b"\x01" + content_type + multipart(xml, compressed=False)
        yield "bomb", b"\x01" + content_type + multipart("<a>" + "x" * 4_000_000 + "</a>")
        yield "empty", b"\x01\n"
        yield "unavailable", b"\x0e" + b"120\n"
        yield "redirected", b"\x08" + b"Fri, 31 Dec 1999 23:59:59 GMT\n"
    if name == "syncml":
        for path in sorted((HOUSE / "tests" / "data" / "mdm").glob("*.xml")):
            yield path.stem, path.read_bytes().strip()
    if name == "bgb_frame":
        folder = HOUSE / "tests" / "data" / "bgb"
        for path in sorted(folder.glob("[0-9]*.xml")):
            xml = utf16(path.read_text(encoding="utf-8").strip())
            # Layout A: payload size 4, major 1, minor 1, header size 2, channel 4, little-endian.
            frame = len(xml).to_bytes(4, "little") + b"\x01\x00" + (12).to_bytes(2, "little") + (3).to_bytes(4, "little") + xml
            for layout in range(5):
                yield f"{path.stem}-{layout}", bytes([layout]) + frame


def message(kind, text):
    proto = HOUSE / "proto"
    done = subprocess.run(["protoc", f"--encode=greengate.v1.{kind}", "-I", str(proto), "greengate/v1/frame.proto", "greengate/v1/report.proto"],
                          cwd=proto, input=text.encode(), stdout=subprocess.PIPE, check=True)
    return done.stdout


def encode(path):
    """A .textproto whose first line is `# MESSAGE [leading byte]`."""
    text = path.read_text(encoding="utf-8")
    words = text.splitlines()[0].lstrip("# ").split()
    lead = bytes([int(words[1])]) if len(words) > 1 else b""
    return lead + message(words[0], text)


def make(name, into):
    made = 0
    for file_name, content in from_samples(name):
        (into / f"sample-{file_name}").write_bytes(content)
        made += 1
    for path in sorted((HERE / "corpus" / name).glob("*")):
        content = encode(path) if path.suffix == ".textproto" else path.read_bytes()
        (into / path.name).write_bytes(content)
        made += 1
    return made
