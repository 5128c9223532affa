"""Seeds for the fuzzers: the recorded samples of tests/data in the form each target reads, and the files of corpus/NAME."""
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


def from_samples(name):
    """(file name, bytes) of every seed made from recorded samples."""
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
    if name == "bgb_frame":
        folder = HOUSE / "tests" / "data" / "bgb"
        for path in sorted(folder.glob("[0-9]*.xml")):
            xml = utf16(path.read_text(encoding="utf-8").strip())
            # Layout A: payload size 4, major 1, minor 1, header size 2, channel 4, little-endian.
            frame = len(xml).to_bytes(4, "little") + b"\x01\x00" + (12).to_bytes(2, "little") + (3).to_bytes(4, "little") + xml
            for layout in range(5):
                yield f"{path.stem}-{layout}", bytes([layout]) + frame


def encode(path):
    """A .textproto whose first line is `# MESSAGE [leading byte]`."""
    text = path.read_text(encoding="utf-8")
    words = text.splitlines()[0].lstrip("# ").split()
    lead = bytes([int(words[1])]) if len(words) > 1 else b""
    proto = HOUSE / "proto"
    done = subprocess.run(["protoc", f"--encode=greengate.v1.{words[0]}", "-I", str(proto), "greengate/v1/frame.proto", "greengate/v1/report.proto"],
                          cwd=proto, input=text.encode(), stdout=subprocess.PIPE, check=True)
    return lead + done.stdout


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
