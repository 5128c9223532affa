"""Goal: each mistake is refused, and under its own name. Method: one table per kind of message; each row makes one change to
a message that is right, and names the code the verdict must carry. Rows marked `warn` must be accepted with that warning."""
import unittest

from mp_client import *

DECLARATION = '<?xml version="1.0" encoding="UTF-16"?>\n'


def edit(old, new, count=1):
    """Changes the body; a change that changes nothing is a mistake in the table."""
    def change(message):
        assert old in message.body, f"{old} is not in the body"
        message.body = message.body.replace(old, new, count)
    return change


def element(**changes):
    return lambda m: m.elements.update(changes)


def put(**changes):
    def change(message):
        for name, value in changes.items():
            setattr(message, name, value)
    return change


def auth(**changes):
    return lambda m: m.auth.update(changes)


def msg_edit(old, new):
    def change(message):
        def apply(text):
            assert old in text, f"{old} is not in Msg"
            return text.replace(old, new)
        message.msg_edit = apply
    return change


def wire_edit(function):
    return put(wire_edit=function)


def raw_body(function):
    return lambda m: put(body_bytes=function(utf16(m.body)))(m)


def bomb(m):
    m.payload = zlib.compress(b"\0" * (70 * 1024 * 1024))
    m.length = 100


def truncated(m):
    m.payload = zlib.compress(utf16(m.body) + b"\0\0")[:-20]
    m.length = 100


LINE = f"--{BOUNDARY}".encode()

# A signed report: discovery data. (name, change, code, "refused" or "warn")
ENVELOPE = [
    ("no opening boundary", wire_edit(lambda d: b"x" + d), "mime.opening"),
    ("no closing boundary", wire_edit(lambda d: d[:-4]), "mime.closing"),
    ("bytes after the end", wire_edit(lambda d: d + b"more"), "mime.closing"),
    ("one part only", wire_edit(lambda d: d[:d.find(b"\r\n" + LINE + b"\r\n")] + b"\r\n" + LINE + b"--\r\n"), "mime.parts"),
    ("three parts", wire_edit(lambda d: d[:-len(LINE) - 6] + b"\r\n" + LINE + b"\r\ncontent-type: text/plain\r\n\r\nx\r\n" + LINE + b"--\r\n"), "mime.parts"),
    ("part header without a colon", put(header_type="content-type"), "mime.part_header"),
    ("part header without end", put(header_type="a: " + "b" * 5000), "mime.part_header"),
    ("part 1 of another type", put(header_type="content-type: application/xml"), "mime.part1_type"),
    ("part 1 of another charset", put(header_type="content-type: text/plain; charset=UTF-8"), "mime.part1_type"),
    ("part 2 of another type", put(payload_type="content-type: application/zlib"), "mime.part2_type"),
    ("part 2 without type", put(payload_type=None), "mime.part2_type_missing", "warn"),
    ("no BOM", put(bom=b""), "envelope.bom_missing"),
    ("odd UTF-16", put(header_bytes=b"\xff\xfe<\0M\0s"), "envelope.utf16"),
    ("a lone surrogate", put(header_bytes=b"\xff\xfe<\0\x00\xd8>\0"), "envelope.utf16"),
    ("big-endian part 1", lambda m: put(header_bytes=b"\xfe\xff" + "<Msg/>".encode("utf-16-be"))(m), "envelope.bom_missing"),
    ("NUL in part 1", msg_edit("</Msg>", "</Msg>\0"), "envelope.nul"),
    ("not well-formed", msg_edit("</Msg>", ""), "envelope.xml"),
    ("two roots", msg_edit("</Msg>", "</Msg><Msg/>"), "envelope.xml"),
    ("an attribute twice", msg_edit("<Msg ", '<Msg SchemaVersion="1.1" '), "envelope.xml"),
    ("DTD", msg_edit("<Msg ", '<!DOCTYPE Msg [<!ENTITY a "b">]><Msg '), "envelope.dtd"),
    ("an entity", msg_edit("<Protocol>http", "<Protocol>&file;http"), "envelope.dtd"),
    ("nested too deep", msg_edit("</Msg>", "<a>" * 100 + "</a>" * 100 + "</Msg>"), "envelope.xml"),
    ("XML declaration", msg_edit("<Msg ", '<?xml version="1.0"?><Msg '), "envelope.xml_declaration"),
    ("a namespace", msg_edit("<Msg ", '<Msg xmlns="urn:x" '), "envelope.namespace"),
    ("another root", put(msg="<Message/>"), "envelope.root"),
    ("an element twice", msg_edit("<Hooks>", "<ID>{0}</ID><Hooks>"), "envelope.duplicate"),
    ("another schema", lambda m: m.attributes.update(SchemaVersion="9.9"), "envelope.schema_version", "warn"),
    ("another reply compression", lambda m: m.attributes.update(ReplyCompression="gzip"), "envelope.reply_compression"),
    ("no id", element(ID=None), "envelope.id_missing", "warn"),
    ("an id without braces", element(ID="0F0E0D0C-0B0A-4908-8706-050403020100"), "envelope.id_form", "warn"),
    ("no SourceID", element(SourceID=None), "envelope.source_id_missing"),
    ("lower-case SourceID", lambda m: m.elements.update(SourceID=m.source_id[:5] + m.source_id[5:].lower()), "envelope.source_id_form"),
    ("no endpoint", element(TargetEndpoint=None), "envelope.target_endpoint_missing"),
    ("unknown endpoint", element(TargetEndpoint="MP_Nowhere"), "envelope.target_endpoint_unknown"),
    ("address of another endpoint", element(TargetAddress="mp:MP_HinvEndpoint"), "envelope.target_address"),
    ("another host", element(TargetHost="other.example.test"), "envelope.target_host", "warn"),
    ("no ReplyMode", element(ReplyMode=None), "envelope.reply_mode_missing"),
    ("Sync for a Post", element(ReplyMode="Sync"), "envelope.reply_mode"),
    ("another spelling of ASync", element(ReplyMode="Async"), "envelope.reply_mode_spelling", "warn"),
    ("another protocol", element(Protocol="ftp"), "envelope.protocol", "warn"),
    ("a priority that is no number", element(Priority="high"), "envelope.number_form", "warn"),
    ("an old SentTime", element(SentTime="2020-01-01T00:00:00Z"), "envelope.sent_time", "warn"),
    ("payload not inline", element(Payload='<Payload Type="file" />'), "envelope.payload_type"),
    ("no Body", element(Body=None), "envelope.body_missing"),
    ("Body of another type", lambda m: msg_edit('<Body Type="ByteRange"', '<Body Type="Whole"')(m), "envelope.body_type"),
    ("a negative offset", put(offset="-2"), "envelope.body_numbers"),
    ("a length that is no number", put(length="many"), "envelope.body_numbers"),
    ("an attachment without numbers", put(attachments='<Attachment Name="a" />'), "envelope.attachment"),
    ("FileType elsewhere", put(file_type="SMX"), "envelope.file_type_unexpected", "warn"),
    ("an encryption hook", put(more_hooks='<Hook1 Name="encrypt" />'), "hooks.unknown"),
    ("a hook twice", put(more_hooks='<Hook3 Name="zlib-compress" />'), "hooks.unknown"),
    ("compressed without hook", put(hook_zlib=False), "zlib.missing_hook"),
    ("hook without compression", put(compress=False), "zlib.not_zlib"),
    ("a damaged stream", lambda m: put(payload=b"\x78\x9c" + b"\xff" * 40, length=10)(m), "zlib.not_zlib"),
    ("a stream cut short", truncated, "zlib.truncated"),
    ("a zip bomb", bomb, "zlib.too_large"),
    ("bytes after the stream", put(after_zlib=b"!"), "zlib.trailing_bytes"),
    ("a second stream", put(after_zlib=zlib.compress(b"more")), "zlib.trailing_bytes"),
    ("a range beyond the stream", put(length=10_000_000), "body.range"),
    ("an offset beyond the stream", put(offset="18446744073709551615"), "body.range"),
    ("an odd length", lambda m: put(length=len(utf16(m.body)) + 1)(m), "body.odd_length"),
    ("a length without the NUL", lambda m: put(length=len(utf16(m.body)))(m), "body.nul_missing"),
    ("no NUL at all", put(nul=b"", tail=b""), "body.nul_missing"),
    ("two NULs in the range", put(nul=b"\0\0\0\0"), "body.nul_inside"),
    ("a BOM in the body", raw_body(lambda b: b"\xff\xfe" + b), "body.bom"),
    ("a body in UTF-8", lambda m: put(body_bytes=m.body.encode() + b" " * (len(m.body) % 2))(m), "body.xml"),
    ("a lone surrogate in the body", raw_body(lambda b: b"\x00\xdc" + b), "body.utf16"),
    ("bytes of no range", put(tail=b"\r\n" + b"x" * 10), "body.trailing_bytes", "warn"),
    ("an attachment outside", put(attachments='<Attachment Type="ByteRange" Name="a" Offset="0" Length="99999999" />'), "attachment.range"),
    ("DTD in the body", lambda m: put(body='<!DOCTYPE Report [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + m.body)(m), "body.dtd"),
    ("an entity in the body", edit("<Domain>example.test", "<Domain>&x;"), "body.dtd"),
    ("a body not well-formed", edit("</Report>", "</Repor>"), "body.xml"),
    ("a control character", edit("example.test", "a\x01b"), "body.xml"),
    ("a declaration of another encoding", lambda m: put(body='<?xml version="1.0" encoding="UTF-8"?>' + m.body)(m), "body.declaration_encoding"),
]

AUTH = [
    ("no hook", put(hook_auth=False), "auth.hook_missing"),
    ("no signature", auth(PayloadSignature=None), "auth.payload_signature_missing"),
    ("a signature that is no hex", auth(PayloadSignature="XYZ"), "auth.payload_signature_form"),
    ("a signature of other bytes", lambda m: put(signature=sign(m.key, b"other"))(m), "auth.payload_signature"),
    ("another key", lambda m: put(signature=sign(key_named("stranger"), m.payload_bytes()))(m), "auth.payload_signature"),
    ("a short signature", auth(PayloadSignature="00" * 20), "auth.payload_signature"),
    ("a signature larger than the modulus", auth(PayloadSignature="FF" * 256), "auth.payload_signature"),
    ("signed before compression", lambda m: put(signature=sign(m.key, utf16(m.body) + b"\0\0"))(m), "auth.payload_signature"),
    ("signed with the line end", lambda m: put(signature=sign(m.key, m.payload_bytes() + b"\r\n"))(m), "auth.payload_signature"),
    ("big-endian", put(signature_order="big"), "auth.payload_signature_byte_order"),
    ("without OID", put(signature_oid=False), "auth.payload_signature_no_oid"),
    ("big-endian without OID", put(signature_order="big", signature_oid=False), "auth.payload_signature_no_oid"),
    ("SHA-1", put(algorithm="sha1"), "auth.sha1"),
    ("no HashAlgorithm", auth(HashAlgorithm=None), "auth.hash_algorithm_missing"),
    ("another HashAlgorithm", auth(HashAlgorithm="1.2.840.113549.1.1.13"), "auth.hash_algorithm"),
    ("an unknown client", lambda m: put(source_id="GUID:" + str(uuid.uuid4()).upper())(m), "auth.client_unknown"),
    ("a wrong ClientIDSignature", auth(ClientIDSignature="00" * 256), "auth.client_id_signature", "warn"),
    ("a wrong PublicKey", auth(PublicKey="0602"), "auth.public_key", "warn"),
    ("another machine", auth(AuthSenderMachine="OTHER"), "auth.sender_machine", "warn"),
    ("no ClientCapabilities", auth(ClientCapabilities=None), "auth.client_capabilities", "warn"),
    ("not compressed", put(compress=False, hook_zlib=False), "auth.uncompressed", "warn"),
]

REPORT = [
    ("another root", edit("<Report>", "<Raport>"), "body.xml"),
    ("a root of another name", lambda m: put(body=m.body.replace("Report>", "Raport>"))(m), "report.root"),
    ("no details", edit("ReportDetails", "Details", 2), "report.header"),
    ("ClientInstalled", edit("<ClientInstalled>1", "<ClientInstalled>7"), "report.client_installed"),
    ("ClientType", edit("<ClientType>1", "<ClientType>3"), "report.client_type"),
    ("somebody else's report", lambda m: put(body=m.body.replace(m.source_id, SAMPLE_ID))(m), "report.client_id"),
    ("no ClientVersion", edit("<ClientVersion>5.00.8325.0000</ClientVersion><NetBIOSName>", "<NetBIOSName>"), "report.client_version"),
    ("no CodePage", edit("<CodePage>437</CodePage>", ""), "report.code_page"),
    ("LCID", edit("<SystemDefaultLCID>1033", "<SystemDefaultLCID>de"), "report.lcid"),
    ("Priority", edit("</Machine>", "<Priority>9</Priority></Machine>"), "report.priority"),
    ("ReportContent", edit("Inventory Data", "Inventory"), "report.content"),
    ("ReportType", edit("<ReportType>Full", "<ReportType>full"), "report.type"),
    ("a delta of discovery", edit("<ReportType>Full", "<ReportType>Delta"), "report.type"),
    ("Date", edit("<Date>20260115102030.000000+000", "<Date>2026-01-15T10:20:30Z"), "report.date"),
    ("a Date of another zone", edit("<Date>20260115102030.000000+000", "<Date>20260115102030.000000+060"), "report.date"),
    ("a Date of the 13th month", edit("<Date>20260115", "<Date>20261315"), "report.date"),
    ("a Date to come", edit("<Date>2026", "<Date>2096"), "report.date_future", "warn"),
    ("Version", edit("<Version>1.0</Version><Format>", "<Version>1</Version><Format>"), "report.version_form"),
    ("Format", edit("<Format>1.1", "<Format>1.0"), "report.format"),
    ("no action", edit("InventoryAction ", "Inventory ", 1), "body.xml"),
    ("an action of another name", lambda m: put(body=m.body.replace("<InventoryAction ", "<Action ").replace("</InventoryAction>", "</Action>"))(m), "report.action_missing"),
    ("ActionType", edit('"Predefined"', '"Custom"'), "report.action_type"),
    ("the hardware action here", edit("000000000003}", "000000000001}"), "report.action_id"),
    ("no update time", edit("<InventoryActionLastUpdateTime>20260110000000.000000+000</InventoryActionLastUpdateTime>", ""), "report.update_time_missing"),
    ("update time's form", edit("LastUpdateTime>20260110000000.000000+000", "LastUpdateTime>yesterday"), "report.update_time_form"),
    ("an update time to come", edit("LastUpdateTime>2026", "LastUpdateTime>2096"), "report.update_time_future"),
    ("no ReportBody", lambda m: put(body=re.sub("<ReportBody>.*</ReportBody>", "", m.body))(m), "report.body_missing"),
    ("a full without instances", lambda m: put(body=re.sub("<ReportBody>.*</ReportBody>", "<ReportBody/>", m.body))(m), "report.full_without_instances"),
    ("something else in ReportBody", edit("<ReportBody>", "<ReportBody><Other/>"), "report.unexpected_element"),
    ("an instance without class", edit(' Class="CCM_Client"', ""), "instance.class"),
    ("an instance of an impossible class", edit(' Class="CCM_Client"', ' Class="CCM Client"'), "instance.class"),
    ("ParentClass", edit('ParentClass="CCM_Client"', 'ParentClass="Other"'), "instance.parent_class"),
    ("no Namespace", lambda m: put(body=re.sub(' Namespace="[^"]*"', "", m.body, count=1))(m), "instance.namespace"),
    ("another Namespace", edit("\\root\\ccm", "\\root\\cimv2"), "instance.namespace"),
    ("a Namespace of another host", edit('"\\\\WRONG-1\\', '"\\\\OTHER\\'), "instance.namespace_host", "warn"),
    ("Content", edit('Content="New"', 'Content="new"'), "instance.content"),
    ("Updated in a full", edit('Content="New"', 'Content="Updated"'), "instance.content_in_full"),
    ("an element of another name", lambda m: put(body=m.body.replace("<CCM_Client>", "<Other>").replace("</CCM_Client>", "</Other>"))(m), "instance.element"),
    ("two elements", edit("</CCM_Client></Instance>", "</CCM_Client><CCM_Client/></Instance>"), "instance.element"),
    ("elements inside a property", edit("<Domain>example.test", "<Domain><b>x</b>"), "instance.property"),
    ("a class missing", lambda m: put(body=re.sub(r'<Instance ParentClass="CCM_ADSiteInfo".*?</Instance>', "", m.body))(m), "ddr.class_missing", "warn"),
]

STATE = [
    ("no FileType", put(file_type=None), "envelope.file_type_missing"),
    ("unknown FileType", put(file_type="XYZ"), "envelope.file_type_unknown"),
    ("no declaration", edit(DECLARATION, ""), "body.declaration_missing"),
    ("ReportContent", edit("State Message Data", "StateMessage"), "report.content"),
    ("Format", edit("<Format>1.0", "<Format>1.1"), "report.format"),
    ("no messages", lambda m: put(body=re.sub("<ReportBody>.*</ReportBody>", "<ReportBody></ReportBody>", m.body))(m), "state.no_messages"),
    ("MessageTime", edit('MessageTime="20260115101500.000000+000"', 'MessageTime="now"'), "state.message_time"),
    ("no Topic", edit("<Topic ", "<Tropic "), "state.topic"),
    ("a topic type that is no number", edit('Type="500"', 'Type="x"'), "state.topic"),
    ("no State", edit('<State ID="2" Criticality="0"/>', ""), "state.state"),
    ("a count that is wrong", edit('Count="1"', 'Count="2"'), "state.user_parameters"),
    ("no UserParameters", edit('<UserParameters Flags="0" Count="0"></UserParameters>', ""), "state.user_parameters"),
    ("a serial number that is none", edit('SerialNumber="', 'SerialNumber="x'), "state.serial_form"),
    ("serial numbers that fall", lambda m: put(body=re.sub(r'(SerialNumber=")\d+(".*SerialNumber=")\d+"', r"\g<1>900\g<2>899" + '"', m.body))(m), "state.serial_order"),
    ("the same serial number twice", lambda m: put(body=re.sub(r'(SerialNumber=")\d+(".*SerialNumber=")\d+"', r"\g<1>900\g<2>900" + '"', m.body))(m), "state.serial_order"),
]

POLICY = [
    ("no ReplyTo", element(ReplyTo=None), "envelope.reply_to_missing"),
    ("another ReplyTo", element(ReplyTo="mp:somewhere"), "envelope.reply_to_form", "warn"),
    ("ASync for an Invoke", put(reply_mode="ASync"), "envelope.reply_mode"),
    ("a declaration", lambda m: put(body=DECLARATION + m.body)(m), "body.declaration_forbidden"),
    ("RequestType", edit('RequestType="Always"', 'RequestType="Sometimes"'), "policy.request"),
    ("SchemaVersion", edit('SchemaVersion="1.00"', 'SchemaVersion="2"'), "policy.request"),
    ("somebody else's policy", lambda m: put(body=m.body.replace(m.source_id, SAMPLE_ID))(m), "policy.client_id"),
    ("another site", edit("SMS:P01", "SMS:XYZ"), "policy.source", "warn"),
    ("ResourceType", edit('ResourceType="Machine"', 'ResourceType="Robot"'), "policy.resource"),
]

OTHERS = [
    ("metering without product", "MP_RelayEndpoint", "metering.xml", "SWM", edit(' ProductVersion="2.4"', ""), "metering.product"),
    ("metering without declaration", "MP_RelayEndpoint", "metering.xml", "SWM", edit(DECLARATION, ""), "body.declaration_missing"),
    ("metering's ReportContent", "MP_RelayEndpoint", "metering.xml", "SWM", edit("Software Metering Data", "Metering"), "report.content"),
    ("a wrong sum of files", "MP_SinvCollFileEndpoint", "file-collection.xml", None, edit("<CollectedFileSum>1", "<CollectedFileSum>2"), "files.sum"),
    ("a file without size", "MP_SinvCollFileEndpoint", "file-collection.xml", None, edit("<Size>812</Size>", ""), "files.entry"),
    ("another collection action", "MP_SinvCollFileEndpoint", "file-collection.xml", None, edit("0010}", "0011}"), "files.action"),
    ("files without attachments", "MP_SinvCollFileEndpoint", "file-collection.xml", None, lambda m: None, "files.attachments", "warn"),
    ("a status without type", "StatusReceiver", "status.xml", None, edit("<Type>SoftwareDistributionPackageEvent</Type>", ""), "status.shape"),
    ("a status signed wrongly", "StatusReceiver", "status.xml", None, lambda m: put(signature=sign(m.key, b"x"))(m), "auth.payload_signature"),
    ("software rows twice", "MP_SinvEndpoint", "sinv-full.xml", None,
     lambda m: put(body=re.sub("(<Instance .*</Instance>)", r"\1\1", m.body))(m), "instance.duplicate", "warn"),
]


def no_property(name):
    return lambda r: setattr(r, "properties", [p for p in r.properties if p[0] != name])


def set_property(name, value):
    return lambda r: setattr(r, "properties", [(n, value if n == name else v) for n, v in r.properties])


def give(**changes):
    return put(**changes)


def small_key(r):
    r.key = key_named("small", 1024)
    r.signing = r.encryption = certificate(r.key).hex().upper()


def elliptic(r):
    from cryptography.hazmat.primitives.asymmetric import ec
    r.signing = certificate(ec.generate_private_key(ec.SECP256R1())).hex().upper()


def with_certificate(**how):
    return lambda r: put(signing=certificate(r.key, **how).hex().upper())(r)


def replaced(field, old, new):
    """An edit of the text before (data) or after (body) signing."""
    def change(r):
        def apply(text):
            assert old in text, f"{old} is not there"
            return text.replace(old, new, 1)
        setattr(r, field, apply)
    return change


def wrap(r):
    # The signed text stands in a comment; a parser would read the other Data.
    r.body_edit = lambda b: b.replace("<ClientRegistrationRequest>", "<ClientRegistrationRequest><!--", 1).replace(
        "</Data>", '</Data>--><Data RequestType="Registration" SMSID=""></Data>', 1)


REGISTRATION = [
    ("another root", lambda r: put(body_edit=lambda b: b.replace("ClientRegistrationRequest", "Request"))(r), "registration.root"),
    ("a declaration", give(body_edit=lambda b: DECLARATION + b), "body.declaration_forbidden"),
    ("DTD", give(body_edit=lambda b: '<!DOCTYPE x>' + b), "body.dtd"),
    ("a thousand laughs", give(body_edit=lambda b: '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + b), "body.dtd"),
    ("not well-formed", give(body_edit=lambda b: b[:-5]), "body.xml"),
    ("signature wrapping", wrap, "registration.data_text"),
    ("RequestType", give(request_type="Renew"), "registration.request_type"),
    ("SMSID without prefix", give(sms_id="5A1B7C3D-0000-4000-8000-00000000A001"), "registration.smsid_form"),
    ("lower-case SMSID", give(sms_id="GUID:5a1b7c3d-0000-4000-8000-00000000a001"), "registration.smsid_form"),
    ("TimeStamp", give(time="today"), "registration.timestamp", "warn"),
    ("no HashAlgorithm", give(hash_oid=None, algorithm="sha1"), "auth.sha1"),
    ("another HashAlgorithm", give(hash_oid="2.16.840.1.101.3.4.2.1"), "registration.hash_algorithm"),
    ("no AgentInformation", give(agent=""), "registration.agent_information"),
    ("AgentType", give(agent='<AgentInformation AgentIdentity="a" AgentVersion="1" AgentType="7" />'), "registration.agent_type"),
    ("no AgentIdentity", give(agent='<AgentInformation AgentVersion="1" AgentType="0" />'), "registration.agent_identity", "warn"),
    ("no signing certificate", give(signing=None), "registration.signing_certificate"),
    ("no encryption certificate", give(encryption=None), "registration.encryption_certificate", "warn"),
    ("Encoding", give(encoding="Base64"), "registration.certificate_encoding"),
    ("a certificate that is no hex", give(signing="certificate"), "registration.certificate_hex"),
    ("a certificate in lower case", lambda r: put(signing=r.signing.lower())(r), "registration.certificate_case"),
    ("no certificate at all", give(signing="3003020101"), "registration.certificate_der"),
    ("bytes after the certificate", lambda r: put(signing=r.signing + "00")(r), "registration.certificate_der"),
    ("an elliptic key", elliptic, "registration.certificate_rsa"),
    ("a small key", small_key, "registration.certificate_key_small"),
    ("KeyType", give(key_type="3"), "registration.key_type"),
    ("KeyType of a CA for a self-signed", give(key_type="2"), "registration.key_type_mismatch", "warn"),
    ("self-signed by another", lambda r: put(signing=certificate(r.key, signer=key_named("stranger")).hex().upper())(r), "registration.certificate_self_signature"),
    ("expired", with_certificate(before_days=-10, after_days=-5), "registration.certificate_validity"),
    ("not yet valid", with_certificate(before_days=5, after_days=10), "registration.certificate_validity"),
    ("no key usage", with_certificate(usage=False), "registration.certificate_key_usage", "warn"),
    ("no data encipherment", with_certificate(data_encipherment=False), "registration.certificate_key_usage", "warn"),
    ("no EKU", with_certificate(eku=False), "registration.certificate_eku", "warn"),
    ("no Netbios Name", no_property("Netbios Name"), "registration.property_missing"),
    ("no FQ Name", no_property("FQ Name"), "registration.property_missing"),
    ("no InternetFlag", no_property("InternetFlag"), "registration.property_missing"),
    ("an empty FQ Name", set_property("FQ Name", ""), "registration.property_empty"),
    ("a property twice", lambda r: r.properties.append(("FQ Name", "b.example.test")), "registration.property_duplicate"),
    ("a long Netbios Name", set_property("Netbios Name", "A-NAME-OF-TWENTY-ONE-"), "registration.netbios_name", "warn"),
    ("InternetFlag", set_property("InternetFlag", "5"), "registration.internet_flag"),
    ("no signature", give(signature_edit=lambda s: ""), "registration.signature_missing"),
    ("a signature that is no hex", give(signature_edit=lambda s: "Q" + s[1:]), "registration.signature_form"),
    ("a wrong signature", give(signature_edit=lambda s: s[2:] + s[:2]), "registration.signature"),
    ("changed after signing", replaced("body_edit", 'Value="1033"', 'Value="1031"'), "registration.signature"),
    ("signed by another key", lambda r: put(key=key_named("stranger"))(r), "registration.signature"),
    ("big-endian", give(order="big"), "registration.signature_byte_order"),
    ("without OID", give(oid=False), "registration.signature_no_oid"),
    ("an unknown proxy", give(signature_attributes=f' SMSID="{SAMPLE_ID}"'), "registration.proxy"),
    ("a proxy's client without proxy", give(agent='<AgentInformation AgentIdentity="a" AgentVersion="1" AgentType="8" />'), "registration.proxy"),
    ("a hint that is no hex", give(hint="<RegistrationHint>x</RegistrationHint>"), "registration.hint"),
]

# (name, bytes on the line, HTTP status, code)
BODY = b"x" * 10
TRANSPORT = [
    ("chunked", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "transport.chunked"),
    ("no length", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\n\r\n", 411, "transport.length_missing"),
    ("POST", b"POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + BODY, 405, "transport.method"),
    ("lower-case method", b"ccm_post /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + BODY, 405, "transport.method"),
    ("GET of messages", b"GET /ccm_system/request HTTP/1.1\r\nHost: a\r\n\r\n", 405, "transport.method"),
    ("CCM_POST of policy", b"CCM_POST /SMS_MP/.sms_pol?x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + BODY, 405, "transport.method"),
    ("another path", b"CCM_POST /ccm_system/other HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + BODY, 404, "transport.path"),
    ("the alternative-authentication path", b"CCM_POST /ccm_system_altauth/request HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + BODY, 404, "transport.path"),
    ("too long", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n", 413, "transport.too_long"),
    ("a length that overflows", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400, "transport.malformed_http"),
    ("a negative length", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "transport.malformed_http"),
    ("two lengths", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n" + BODY, 400, "transport.malformed_http"),
    ("no HTTP", b"HELLO\r\n\r\n", 400, "transport.malformed_http"),
    ("binary", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "transport.malformed_http"),
    ("an endless header", b"CCM_POST /ccm_system/request HTTP/1.1\r\nX: " + b"a" * 20000, 431, "transport.header_too_long"),
    ("no Content-Type", b"CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n" + BODY, 200, "transport.content_type"),
    ("another Content-Type", b"CCM_POST /ccm_system/request HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=a\r\nContent-Length: 10\r\n\r\n" + BODY, 200, "transport.content_type"),
    ("no boundary", b"CCM_POST /ccm_system/request HTTP/1.1\r\nContent-Type: multipart/mixed\r\nContent-Length: 10\r\n\r\n" + BODY, 200, "transport.content_type"),
    ("an empty boundary", b"CCM_POST /ccm_system/request HTTP/1.1\r\nContent-Type: multipart/mixed; boundary=\"\"\r\nContent-Length: 10\r\n\r\n" + BODY, 200, "transport.content_type"),
    ("an empty body", b"CCM_POST /ccm_system/request HTTP/1.1\r\nContent-Type: multipart/mixed; boundary=\"a\"\r\nContent-Length: 0\r\n\r\n", 200, "mime.opening"),
]


class Refused(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator()
        cls.client = Client(cls.sim, "WRONG-1", key_named("wrong"))

    @classmethod
    def tearDownClass(cls):
        cls.sim.stop()

    def judge(self, message, code, expectation):
        reply = post(self.sim, message)
        line = self.sim.last_verdict()
        self.assertEqual(reply.status, 200)
        found = {v["code"] for v in line["warnings" if expectation == "warn" else "violations"]}
        self.assertIn(code, found, line)
        self.assertEqual(line["verdict"], "accepted" if expectation == "warn" else "refused", line)
        if expectation == "refused":
            self.assertEqual(reply.body, b"")

    def run_table(self, table, make):
        for name, change, code, *expectation in table:
            with self.subTest(name):
                message = make()
                change(message)
                self.judge(message, code, (expectation or ["refused"])[0])

    def test_right_is_right(self):
        post(self.sim, self.client.ddr())
        self.assertEqual((self.sim.last_verdict()["verdict"], self.sim.last_verdict()["warnings"]), ("accepted", []))

    def test_envelope(self):
        self.run_table(ENVELOPE, self.client.ddr)

    def test_authentication(self):
        self.run_table(AUTH, self.client.ddr)

    def test_reports(self):
        self.run_table(REPORT, self.client.ddr)

    def test_state_messages(self):
        self.run_table(STATE, self.client.state)

    def test_policy(self):
        self.run_table(POLICY, self.client.policy)

    def test_other_kinds(self):
        for name, endpoint, file, file_type, change, code, *expectation in OTHERS:
            with self.subTest(name):
                message = self.client.message(endpoint, self.client.sample(file), file_type=file_type)
                change(message)
                self.judge(message, code, (expectation or ["refused"])[0])

    def test_location(self):
        self.judge(Message("MP_LocationManager", "<Surprise/>", invoke=True), "location.root", "refused")

    def test_registration(self):
        key = key_named("registering")
        der = certificate(key)

        def registration():
            return Registration(key, der, "REG-1")
        for name, change, code, *expectation in REGISTRATION:
            with self.subTest(name):
                request = registration()
                change(request)
                self.judge(request.message(), code, (expectation or ["refused"])[0])
        message = registration().message()
        message.key, message.hook_auth = key, True
        self.judge(message, "auth.hook_unexpected", "warn")
        message = registration().message()
        message.elements["SourceID"] = SAMPLE_ID
        self.judge(message, "envelope.source_id_unexpected", "warn")

    def test_transport(self):
        for name, data, status, code in TRANSPORT:
            with self.subTest(name):
                received = raw_exchange(self.sim, data)
                self.assertTrue(received.startswith(b"HTTP/1.1 %d " % status), received[:60])
                line = self.sim.last_verdict()
                self.assertEqual([v["code"] for v in line["violations"]], [code])
                self.assertEqual(line["http_status"], status)

    def test_each_violation_names_its_section(self):
        sections = {check["code"]: check["section"] for check in self.sim.admin("GET", "/mp/checks")}
        self.assertGreater(len(sections), 150)
        self.assertTrue(all(sections.values()))
        post(self.sim, Message("MP_Nowhere", "<a/>", SAMPLE_ID, self.client.key))
        for violation in self.sim.last_verdict()["violations"]:
            self.assertEqual(violation["section"], sections[violation["code"]])
            self.assertTrue(violation["text"])


if __name__ == "__main__":
    unittest.main()
