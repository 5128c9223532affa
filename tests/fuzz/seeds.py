"""Seeds for the fuzzers: the recorded samples of tests/data in the form each target reads, and the files of corpus/NAME."""
import base64
import json
import pathlib
import struct
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


def states():
    """Two states of one device, the second of them changed in every way there is."""
    shape = 'name: "%s" name_space: "root\\\\cimv2" properties: "DeviceID" properties: "FreeSpace" %s '
    keyed = shape % ("Win32_LogicalDisk", "key_properties: 0 churning_properties: 1")
    keyless = shape % ("SMS_Processor", "")

    def row(name, free):
        return 'instances { values { text: "%s" } values { unsigned_integer: %d } } ' % (name, free)
    olds = ['classes { ' + keyed + row("/dev/sda1", 5) + row("/dev/sdb1", 6) + '} classes { ' + keyless + row("x", 1) + '}',
            'classes { ' + keyless + row("x", 1) + row("y", 1) + '}',
            'classes { ' + keyed + row("/dev/sda1", 5) + '} classes { name: "Gone" properties: "A" key_properties: 0 }']
    news = ['classes { ' + keyed + row("/dev/sda1", 7) + row("/dev/sdc1", 6) + '} classes { ' + keyless + row("z", 1) + '}',
            'classes { ' + keyless + row("y", 1) + row("x", 1) + '}',
            'classes { name: "Win32_LogicalDisk" name_space: "root\\\\cimv2" properties: "FreeSpace" properties: "DeviceID" key_properties: 1 '
            'instances { values { unsigned_integer: 9 } values { text: "/dev/sda1" } } }']
    for number, (old, new) in enumerate(zip(olds, news)):
        was, now = message("HardwareInventory", old), message("HardwareInventory", new)
        yield f"hardware-{number}", struct.pack("<BH", 0, len(was)) + was + now
    one = 'files { name: "nginx" path: "/usr/sbin/" size: %d product_version: "1.22" } '
    was = message("SoftwareInventory", one % 1 + 'files { name: "ls" path: "/bin/" }')
    now = message("SoftwareInventory", one % 2 + 'files { name: "cat" path: "/bin/" }')
    yield "software", struct.pack("<BH", 1, len(was)) + was + now
    client = b"GUID:5A1B7C3D-0000-4000-8000-00000000A001"
    yield "baseline", b"\x02\x01" + struct.pack("<QQQB", 7, 9, len(was), len(client)) + client + zlib.compress(was)


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


def machine_texts():
    data = HOUSE / "tests" / "data"
    mif = (data / "mif" / "asset.mif").read_bytes()
    yield "mif", b"\x00" + mif
    yield "idmif", b"\x01" + mif
    yield "dpkg", b"\x02" + (data / "logs" / "dpkg.log").read_bytes()
    yield "dnf", b"\x03" + (data / "logs" / "dnf.rpm.log").read_bytes()
    record = struct.pack("<BBHIIIIIIf", 0, 3, 0, 0, 1000, 1000, 42, 1, 1768472430, 120.0) + bytes(16) + b"python3".ljust(16, b"\0")
    yield "accounting", b"\x04" + record * 2
    yield "position", b"\x0512345 678 9 4242"
    yield "package", b"\x05nginx-1:1.20.1-14.el9.x86_64"
    yield "problems", b"\x05a.sh\tcustom.json\tIt printed no JSON.\nb.sh\tscript.timeout\tIt took too long.\n"
    yield "plan", b"\x06" + bytes([0, 1, 2, 3, 0])


def json_documents():
    thing = (b'{"class": "Contoso_Thing", "namespace": "root\\\\cimv2\\\\contoso", "keys": ["Id"], "properties": {"Id": "string", "When": "datetime", '
             b'"Size": "unsigned", "Names": "list", "On": "boolean"}, "instances": [{"Id": "1", "When": "2024-05-01T10:20:30+02:00", '
             b'"Size": 18446744073709551615, "Names": ["a", 2], "On": true}]}')
    for kind in (0, 3):
        yield f"class-{kind}", bytes([kind]) + thing
        yield f"classes-{kind}", bytes([kind]) + thing.replace(b"Contoso_Thing", b"C_T") + b"\n" + thing
    yield "loose", b"\x00" + b'{"class": "C_T", "keys": ["Id"], "instances": [{"Id": "1", "Count": -3, "Nothing": null}, {"Id": "2", "Count": 5}]}'
    yield "shapes", b'\x03{"shapes": {"Contoso_Thing": ' + thing + b"}}"
    yield "policy", b'\x01{"ask": "policy", "refresh": true}'
    yield "content", b'\x01{"ask": "locate", "what": "content", "id": "P0100012", "version": 3}'
    yield "answer", (b'\x02{"code": "", "message": "as of now", "retry_after_ms": 5, "at_ms": 1768472430000, "policies": [{"policy_id": "{B1}", "version": '
                     b'"4.00", "category": "x", "flags": 64, "standing": "read"}], "locations": [{"kind": "content", "url": "http://dp01.example.test/p", '
                     b'"server": "dp01", "site_code": "P01", "version": "3", "https": false, "detail": "d"}]}')


def package_lists():
    dpkg = b"/.\n/usr\n/usr/sbin/nginx\n/bin/ls\n"
    status = b"Package: nginx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22.1-9\nMaintainer: A <a@example.test>\n\n"
    apk = b"P:musl\nV:1.2.4\nm:B <b@example.test>\nF:usr/bin\nR:apk\nF:etc\nR:passwd\n\n"
    rpm = b"@bash\t0\t5.1.8-6.el9\tExample\n=/usr/bin/\n=/etc/\n0\tls\n1\tpasswd\n"
    yield "all", b"\xff".join((dpkg, status, apk, rpm))
    for place, one in enumerate((dpkg, status, apk, rpm)):
        yield f"only-{place}", b"\xff" * place + one
    folder = HOUSE / "tests" / "data" / "machines" / "debian12-vm" / "var" / "lib" / "dpkg"
    yield "recorded", (folder / "info" / "nginx.list").read_bytes() + b"\xff" + (folder / "status").read_bytes()


def wire_words():
    words = ["http://mp01.example.test", "https://[2001:db8::1]:8443/base?x=1", "HTTP://a:1/", "120", "Fri, 31 Dec 1999 23:59:59 GMT",
             "20260115102030.000000+060", "2026-01-15T10:20:30Z", "01/15/2026 10:20:30", "SimpleInterval;Minutes=60;MaxRandomDelayMinutes=5",
             "ScheduleString=0001170000100008", "http://<mp>/SMS_MP/.sms_pol?{B1}.SHA256:00", "mp01.example.test", "https://[::1]", "http://a/b#c", "http://[a\"b]/"]
    for number, word in enumerate(words):
        yield str(number), word.encode()


def script_tasks():
    """A byte that says how strict, then the TaskParam's XML; what the target encodes itself."""
    folder = HOUSE / "tests" / "data" / "bgb"
    for path in sorted(folder.glob("*-taskparam-*.xml")):
        xml = path.read_bytes().strip()
        yield path.stem, b"\x00" + xml
        yield path.stem + "-loose", b"\x01" + xml.replace(b"E:RSgwKQ==", b"E:RSgxKQ==")
        yield path.stem + "-single", b"\x00" + xml.replace(b'"', b"'")
        yield path.stem + "-as-carried", b"\x02" + base64.b64encode(xml)
    yield "older-form", b"\x00<ScriptHash ScriptHashAlg='SHA256'>00</ScriptHash><ScriptVersion>1</ScriptVersion>"
    yield "dtd", b"\x00<!DOCTYPE a [<!ENTITY b 'c'>]><ScriptContent ScriptGuid='&b;'/>"


def wns_replies():
    folder = HOUSE / "tests" / "data" / "wns"
    for number, case in enumerate(json.loads((folder / "vectors" / "channel-uri.json").read_text(encoding="utf-8"))["cases"]):
        yield f"uri-{number}", b"\x00" + case["uri"].encode()
    for number, case in enumerate(json.loads((folder / "vectors" / "retry-after.json").read_text(encoding="utf-8"))["cases"]):
        yield f"after-{number}", b"\x01" + case["value"].encode()
    for number, case in enumerate(json.loads((folder / "vectors" / "classify.json").read_text(encoding="utf-8"))["cases"]):
        headers = case["headers"]
        words = [headers.get(name, "") for name in ("_reason", "X-WNS-Status", "X-WNS-NotificationStatus", "X-WNS-DeviceConnectionStatus",
                                                    "Retry-After", "X-WNS-Error-Description")]
        yield f"answer-{number}", b"\x02" + "\n".join([str(case["status"])] + words).encode()
    for number, case in enumerate(json.loads((folder / "vectors" / "token-expiry.json").read_text(encoding="utf-8"))["cases"]):
        yield f"token-{number}", b"\x03200\n" + json.dumps(case["json"]).encode()
    for path in sorted((folder / "http").glob("0[2-9]*")):
        head, body = path.read_bytes().split(b"\r\n\r\n", 1)
        yield path.stem, b"\x03" + head.split(b" ")[1] + b"\n" + body
    yield "record", (b"\x04" + json.dumps({"v": 1, "state": "active", "why": "", "enrollment": "0A", "pfn": "p_1", "pfn_asked": "", "uri": "https://a",
                                           "first_seen": 1, "last_read": 2, "since": 3, "unsupported_until": 0, "pfn_set": [1, 2], "changes_day": 0,
                                           "changes": 1, "ended_since_set": False, "push_status": 0}).encode())


MADE = {"script_task": script_tasks, "policy_body": policy_bodies, "site_documents": site_documents, "inventory_delta": states, "file_assembly": chunk_runs,
        "machine_texts": machine_texts, "json_documents": json_documents, "package_lists": package_lists, "wire_words": wire_words, "wns_replies": wns_replies}


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
            # Over HTTP HeaderSize counts an XML header, and most replies have none.
            body = frame[:6] + b"\x00\x00" + frame[8:]
            yield f"{path.stem}-http", b"\x80" + body
            yield f"{path.stem}-http-twice", b"\x80" + body + body
        yield "cookies", b"\xc0session=abc; Path=/bgb; HttpOnly\0session=; Max-Age=0\0b=2"
        yield "retry-after", b"\xc0120\0Thu, 15 Jan 2026 12:00:30 GMT\0soon"


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
