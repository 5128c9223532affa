"""A model of the client notification codec, written from the specification alone (bgb-protocol 2.2, 2.3, 8.2).

It shares no line with the product and none with the simulator: what all three misread in the same way is a common mistake of people,
not of copying. It says what a frame must look like, and what must be made of one.
"""

import datetime
import re
import struct
import zlib
from xml.etree import ElementTree

# 2.3: the five fields in declaration order, and the hypotheses about their widths.
FIELDS = ("payload_size", "major_version", "minor_version", "header_size", "channel")
WIDTHS = {"A": (4, 1, 1, 2, 4), "B": (4, 4, 4, 4, 4), "C": (4, 2, 2, 4, 4), "A8": (4, 1, 1, 2, 1), "A16": (4, 1, 1, 2, 2)}
KINDS = ("sign_in", "sign_in_confirm", "keep_alive", "request", "response", "disconnect", "negotiation_needed", "none")
# 2.2: root and members in writing order.
SHAPES = {
    "sign_in": ("BgbSignInMessage", ("ClientType", "ClientVersion", "ClientID")),
    "sign_in_confirm": ("BgbSignInConfirmMessage", ("MessageVersion",)),
    "keep_alive": ("BgbKeepAliveMessage", ("ClientType", "ClientID")),
    "request": ("BgbRequestMessage", ("PushID", "TaskID", "TaskGUID", "TaskType", "TaskParam")),
    "response": ("BgbResponseMessage", ("PushID", "TaskID", "ReturnCode")),
}
NUMBERS = {"PushID", "TaskID", "TaskType", "ReturnCode"}
LETTER = {1: "B", 2: "H", 4: "I"}


class Need(Exception):
    """More bytes must come; `total` is how many there must be."""

    def __init__(self, total):
        super().__init__(total)
        self.total = total


class Bad(Exception):
    """The session must end."""


class Layout:
    """One choice per switch of 2.3."""

    def __init__(self, layout="A", big=False, xml_header=False, whole_frame=False, constant=None, numbers_from=0, version=(1, 0),
                 text="utf-16le", bom=False, nul=False, compress=False, header_max=4096, payload_max=1 << 20):
        self.name, self.widths, self.big = layout, WIDTHS[layout], big
        self.xml_header, self.whole_frame, self.constant = xml_header, whole_frame, constant
        self.numbers_from, self.version = numbers_from, version
        self.text, self.bom, self.nul, self.compress = text, bom, nul, compress
        self.header_max, self.payload_max = header_max, payload_max
        self.struct = struct.Struct((">" if big else "<") + "".join(LETTER[w] for w in self.widths))

    def number_of(self, kind):
        at = KINDS.index(kind)
        return at if self.numbers_from == 0 else (0 if kind == "none" else at + 1)

    def kind_of(self, number):
        for kind in KINDS[:-1]:
            if self.number_of(kind) == number:
                return kind
        return None

    def profile(self):
        """The same choices as a profile file of the product's."""
        def guessed(value):
            return {"value": value, "basis": "guessed"}
        members = {"ClientID": "client_id", "ClientType": "client_type", "ClientVersion": "client_version",
                   "MessageVersion": "message_version", "PushID": "push_id", "TaskID": "task_id", "TaskGUID": "task_guid",
                   "TaskType": "task_type", "TaskParam": "task_param", "ReturnCode": "return_code"}
        return {
            "format": 1, "name": f"model {self.name}",
            "frame": {
                "order": guessed(list(FIELDS)), "widths": guessed(dict(zip(FIELDS, self.widths))),
                "byte_order": guessed("big" if self.big else "little"),
                "header_size_means": guessed("xml_header" if self.xml_header else "fixed_part"),
                "payload_size_means": guessed("frame" if self.whole_frame else "payload"),
                "channel_means": guessed("message_type" if self.constant is None else "constant"),
                "channel_constant": guessed(self.constant or 0),
                "type_numbers": guessed({kind: self.number_of(kind) for kind in KINDS}),
                "versions": guessed([list(self.version)])},
            "limits": {"header_bytes_max": self.header_max, "payload_bytes_max": self.payload_max},
            "text": {"encoding": guessed(self.text), "bom": guessed(self.bom), "nul": guessed(self.nul),
                     "compression": guessed("zlib" if self.compress else "none"),
                     "timestamp_name": guessed("TimeStamp"), "client_type": guessed("SCCM")},
            "messages": {kind: {"root": root, "members": [[members[m], m] for m in names], "basis": "guessed"}
                         for kind, (root, names) in SHAPES.items()},
            "codes": {"success": guessed(1), "failure": guessed(0)}}

    # -- writing ------------------------------------------------------------------------------------------------------

    def header(self, kind, payload_bytes, header_size=None, payload_size=None):
        fixed = self.struct.size
        if header_size is None:
            header_size = 0 if self.xml_header else fixed
        if payload_size is None:
            payload_size = payload_bytes + (fixed if self.whole_frame else 0)
        channel = self.number_of(kind) if self.constant is None else self.constant
        return self.struct.pack(payload_size, self.version[0], self.version[1], header_size, channel)

    def payload(self, xml):
        if not xml:
            return b""
        encoding = "utf-16-le" if self.text == "utf-16le" else "utf-8"
        data = (("\ufeff" if self.bom else "") + xml + ("\0" if self.nul else "")).encode(encoding)
        return zlib.compress(data) if self.compress else data

    def frame(self, kind, xml):
        data = self.payload(xml)
        return self.header(kind, len(data)) + data

    # -- reading ------------------------------------------------------------------------------------------------------

    def cut(self, data):
        """(bytes of the frame, kind its header names, its text or None)"""
        fixed = self.struct.size
        if len(data) < fixed:
            raise Need(fixed)
        payload_size, major, minor, header_size, channel = self.struct.unpack(data[:fixed])
        if major > 255 or minor > 255:
            raise Bad("version")
        if self.xml_header:
            header = fixed + header_size
        elif header_size < fixed:
            raise Bad("HeaderSize")
        else:
            header = header_size
        if header > self.header_max:
            raise Bad("header")
        if self.whole_frame and payload_size < header:
            raise Bad("PayloadSize")
        payload = payload_size - header if self.whole_frame else payload_size
        if payload > self.payload_max:
            raise Bad("payload")
        if len(data) < header + payload:
            raise Need(header + payload)
        kind = self.kind_of(channel) if self.constant is None else None
        return header + payload, kind, self.read_text(data[header:header + payload]) if payload else None

    def read_text(self, data):
        if data[:1] == b"\x78" and data[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
            try:
                data = zlib.decompress(data)
            except zlib.error as why:
                raise Bad("zlib") from why
        encoding = "utf-16-le" if self.text == "utf-16le" else "utf-8"
        for mark, named in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
            if data.startswith(mark):
                data, encoding = data[len(mark):], named
                break
        else:
            for pattern, named in ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"), (b"<", "utf-8")):
                if data.startswith(pattern):
                    encoding = named
                    break
        try:
            return data.decode(encoding).rstrip("\0")
        except UnicodeDecodeError as why:
            raise Bad("text") from why


def escape(text, quotes=False):
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&apos;") if quotes else text


def time_text(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(kind, seconds, members):
    """The message's one line; a member that is None is left out."""
    if kind not in SHAPES:
        return ""
    root, names = SHAPES[kind]
    inside = "".join(f"<{name}>{escape(str(members[name]))}</{name}>" for name in names if members.get(name) is not None)
    return f'<{root} TimeStamp="{time_text(seconds)}">{inside}</{root}>'


def fold(name):
    """Names are compared without the case of a trailing Id or Guid (2.2)."""
    return re.sub(r"(?i)(guid|id)$", lambda found: found.group(0).upper(), name)


def read(text, hint):
    """(kind, seconds, members) of a well-formed text; the root decides (8.2 rule 4)."""
    if text is None:
        return hint, None, {}
    root = ElementTree.fromstring(text)
    kind = next((k for k, (name, _) in SHAPES.items() if name == root.tag), None)
    known = {fold(name): name for _, names in SHAPES.values() for name in names}
    members = {}
    for child in root:
        name = known.get(fold(child.tag))
        if name is not None:
            members[name] = child.text or ""
    stamp = root.get("TimeStamp")
    return kind, stamp, members
