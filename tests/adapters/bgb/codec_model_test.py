"""Our codec held against an independent model: what one writes the other reads, byte for byte and member for member (8.2 rule 6)."""

import itertools
import json
import random
import subprocess
import sys
import zlib

import codec_model as model

LAYOUTS = ("A", "B", "C", "A8", "A16")
TEXTS = ("ClientID", "ClientType", "ClientVersion", "MessageVersion", "TaskGUID", "TaskParam")
NUMBERS = ("PushID", "TaskID", "TaskType", "ReturnCode")
# By the product's order of members.
BITS = ("ClientID", "ClientType", "ClientVersion", "MessageVersion", "PushID", "TaskID", "TaskGUID", "TaskType", "TaskParam", "ReturnCode")


class Console:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, f"the codec died on: {line[:200]}"
        return answer

    def use(self, layout):
        answer = self.ask("profile " + json.dumps(layout.profile()))
        assert answer == "ok", answer

    def encode(self, kind, seconds, members):
        texts = [members.get(name, "").encode().hex() or "-" for name in TEXTS]
        numbers = [str(members.get(name, 0)) for name in NUMBERS]
        answer = self.ask(" ".join(["encode", kind, str(seconds), *numbers, *texts]))
        assert answer.startswith("ok "), answer
        return bytes.fromhex(answer[3:])

    def decode(self, data):
        parts = self.ask("decode " + (data.hex() or "-")).split()
        if parts[0] != "ok":
            return parts[0], parts[1]
        numbers = dict(zip(NUMBERS, (int(n) for n in parts[6:10])))
        texts = {name: bytes.fromhex("" if part == "-" else part).decode() for name, part in zip(TEXTS, parts[10:])}
        present = int(parts[4])
        members = {name: (numbers if name in numbers else texts)[name] for bit, name in enumerate(BITS) if present >> bit & 1}
        return "ok", {"bytes": int(parts[1]), "kind": parts[2], "mismatch": parts[3] == "1", "seconds": int(parts[5]), "members": members}


PIECES = ["a", "Z", "0", " ", "-", "é", "€", "😀", "<", ">", "&", "\"", "'", "]]>"]


def random_members(dice, kind):
    members = {}
    for name in model.SHAPES[kind][1]:
        if name in ("PushID", "TaskID"):
            members[name] = dice.randrange(1 << 64)
        elif name == "TaskType":
            members[name] = dice.randrange(1 << 32)
        elif name == "ReturnCode":
            members[name] = dice.randrange(-100, 100)
        else:
            members[name] = "".join(dice.choice(PIECES) for _ in range(dice.randrange(0, 200 if name == "TaskParam" else 30))).strip()
    return members


def all_layouts():
    for name, big, xml_header, whole, constant, text, bom, nul, compress in itertools.product(
            LAYOUTS, (False, True), (False, True), (False, True), (None, 5), ("utf-16le", "utf-8"), (False, True), (False, True),
            (False, True)):
        yield model.Layout(name, big, xml_header, whole, constant, 1 if big else 0, (1, 0), text, bom, nul, compress)


def same_message(dice, console, layout):
    kind = dice.choice(list(model.SHAPES))
    seconds = dice.randrange(1, 4_000_000_000)
    members = random_members(dice, kind)

    ours = console.encode(kind, seconds, members)
    taken, hint, text = layout.cut(ours)
    assert taken == len(ours)
    assert hint == (kind if layout.constant is None else None)
    read_kind, stamp, read_members = model.read(text, hint)
    assert (read_kind, stamp) == (kind, model.time_text(seconds)), (kind, text)
    assert read_members == {name: str(value) for name, value in members.items()}, text
    # Nothing but what the switches ask for: the same payload, byte for byte, as the model makes of the same text.
    body = ours[layout.struct.size:]
    assert ours[:layout.struct.size] == layout.header(kind, len(body))
    assert (zlib.decompress(body) if layout.compress else body) == \
        (zlib.decompress(layout.payload(text)) if layout.compress else layout.payload(text))
    if not any(c in str(value) for value in members.values() for c in "<>&\"'"):
        assert text == model.write(kind, seconds, members)

    theirs = layout.frame(kind, model.write(kind, seconds, members))
    status, got = console.decode(theirs + b"next")
    assert status == "ok", (status, got)
    assert got == {"bytes": len(theirs), "kind": kind, "mismatch": False, "seconds": seconds, "members": members}, got


def empty_messages(console, layout):
    for kind in ("disconnect", "negotiation_needed"):
        ours = console.encode(kind, 1, {})
        assert ours == layout.frame(kind, ""), (kind, ours.hex())
        status, got = console.decode(ours)
        assert status == "ok" and got["kind"] == (kind if layout.constant is None else "unknown"), got


def cut_at_every_byte(console, layout):
    frame = layout.frame("request", model.write("request", 1_768_472_430, {
        "PushID": 13, "TaskID": 14, "TaskGUID": "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527", "TaskType": 1, "TaskParam": ""}))
    for at in range(len(frame)):
        try:
            layout.cut(frame[:at])
            raise AssertionError(f"the model read {at} of {len(frame)} bytes")
        except model.Need as need:
            assert console.decode(frame[:at]) == ("more", str(need.total)), at
    assert console.decode(frame)[1]["bytes"] == len(frame)


def headers_of_any_kind(dice, console, layout):
    """Both say the same of a header whose fields hold anything."""
    interesting = [0, 1, 2, 8, 9, 10, 12, 16, 20, 255, 256, 4095, 4096, 4097, 65535, 1 << 20, (1 << 20) + 12, (1 << 20) + 1, (1 << 32) - 1]
    for _ in range(40):
        fields = [dice.choice(interesting) % (1 << 8 * width) for width in layout.widths]
        data = layout.struct.pack(*fields) + bytes(dice.randrange(0, 40))
        status, detail = console.decode(data)
        try:
            taken, hint, text = layout.cut(data)
        except model.Need as need:
            assert (status, detail) == ("more", str(need.total)), (fields, status, detail)
        except model.Bad as bad:
            assert status == "bad", (fields, bad, status, detail)
        else:
            if not text:  # none, or nothing but NULs
                assert status == "ok" and detail["bytes"] == taken and detail["kind"] == (hint or "unknown"), (fields, detail)
            else:
                assert status == "bad", (fields, text)


def what_a_peer_may_do(console):
    """The liberal side of 2.2 and 8.2 rule 5, as the model understands it."""
    layout = model.Layout()
    console.use(layout)
    xml = ('<?xml version="1.0"?><BgbRequestMessage Extra="1" TimeStamp="2026-01-15T11:30:00.5+01:00"><TaskGuid>ab</TaskGuid><TaskId>2</TaskId>'
           '<News>x</News><PushId>1</PushId><TaskType>15</TaskType></BgbRequestMessage>')
    for text, bom, nul in itertools.product(("utf-16le", "utf-8"), (False, True), (False, True)):
        other = model.Layout(text=text, bom=bom, nul=nul)
        status, got = console.decode(other.frame("request", xml))
        assert status == "ok", (text, bom, nul, got)
        assert got["members"] == {"PushID": 1, "TaskID": 2, "TaskGUID": "ab", "TaskType": 15}, got
        assert got["seconds"] == 1_768_473_000, got
    big = xml.encode("utf-16-be")
    assert console.decode(layout.header("request", len(big)) + big)[0] == "ok"
    packed = zlib.compress(xml.encode("utf-16-le"))
    assert console.decode(layout.header("request", len(packed)) + packed)[0] == "ok"
    longer = layout.header("request", len(big), header_size=20) + b"12345678" + big
    assert console.decode(longer)[1]["bytes"] == len(longer)
    # The root above the header's type, and said so.
    status, got = console.decode(layout.frame("keep_alive", xml))
    assert status == "ok" and got["kind"] == "request" and got["mismatch"], got
    # Hostile texts.
    for hostile in ('<!DOCTYPE a [<!ENTITY b "c">]>' + xml, xml.replace("ab", "&b;"), xml[:-3], xml + xml, "<a" * 3):
        assert console.decode(layout.frame("request", hostile))[0] == "bad", hostile


def main():
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    console = Console(sys.argv[1])
    layouts = list(all_layouts())
    for layout in layouts:
        console.use(layout)
        same_message(dice, console, layout)
        empty_messages(console, layout)
        if not layout.compress:  # zeros are no zlib stream, but they may follow one
            headers_of_any_kind(dice, console, layout)
    for name in LAYOUTS:
        for big in (False, True):
            layout = model.Layout(name, big)
            console.use(layout)
            cut_at_every_byte(console, layout)
    what_a_peer_may_do(console)
    print(f"{len(layouts)} layouts agree")


main()
