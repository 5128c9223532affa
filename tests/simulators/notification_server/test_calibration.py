"""Layouts are solved back from frames made by this model, for every choice the profile language has; what stays open is said."""

import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

PROGRAM = None
ROWS = {"A": (4, 1, 1, 2, 4), "B": (4, 4, 4, 4, 4), "C": (4, 2, 2, 4, 4), "A8": (4, 1, 1, 2, 1), "A16": (4, 1, 1, 2, 2)}
FIELDS = ("payload_size", "major_version", "minor_version", "header_size", "channel")
TEXTS = ("utf-16le", "utf-16le+bom", "utf-16le+nul", "utf-8", "utf-8+bom", "utf-8+nul")
SMS_ID = "GUID:5B1D0A2E-6C44-4F0B-9E37-1A2B3C4D5E6F"
SIGN_IN = ('<BgbSignInMessage TimeStamp="2026-01-15T09:30:00Z"><ClientType>SCCM</ClientType>'
           f"<ClientVersion>5.00.9141.1000</ClientVersion><ClientID>{SMS_ID}</ClientID></BgbSignInMessage>")
KEEP_ALIVE = ('<BgbKeepAliveMessage TimeStamp="2026-01-15T09:45:00Z"><ClientType>SCCM</ClientType>'
              f"<ClientID>{SMS_ID}</ClientID></BgbKeepAliveMessage>")


class Model:
    """A layout in the words of a profile file, and the frames it makes."""

    def __init__(self, widths=ROWS["A"], order=(0, 1, 2, 3, 4), big=False, xml_header=False, whole=False, numbers=(0, 2), text="utf-16le",
                 packed=False, version=(1, 0)):
        self.widths, self.order, self.big, self.xml_header, self.whole = widths, order, big, xml_header, whole
        self.numbers, self.text, self.packed, self.version = numbers, text, packed, version

    def frame(self, xml, number):
        name, _, mark = self.text.partition("+")
        encoding = "utf-16-le" if name == "utf-16le" else "utf-8"
        payload = (("\ufeff" if mark == "bom" else "") + xml + ("\0" if mark == "nul" else "")).encode(encoding)
        if self.packed:
            payload = zlib.compress(payload)
        fixed = sum(self.widths)
        values = (len(payload) + (fixed if self.whole else 0), *self.version, 0 if self.xml_header else fixed, number)
        header = b"".join(values[f].to_bytes(self.widths[f], "big" if self.big else "little") for f in self.order)
        return header + payload

    def sign_in(self):
        return self.frame(SIGN_IN, self.numbers[0])

    def keep_alive(self):
        return self.frame(KEEP_ALIVE, self.numbers[1])

    def expected(self):
        constant = self.numbers[0] == self.numbers[1]
        name, _, mark = self.text.partition("+")
        return {"order": [FIELDS[f] for f in self.order], "widths": dict(zip(FIELDS, self.widths)), "byte_order": "big" if self.big else "little",
                "header_size_means": "xml_header" if self.xml_header else "fixed_part",
                "payload_size_means": "frame" if self.whole else "payload", "channel_means": "constant" if constant else "message_type",
                "versions": [list(self.version)], "encoding": name, "bom": mark == "bom", "nul": mark == "nul",
                "compression": "zlib" if self.packed else "none"}

    def __repr__(self):
        return f"{self.widths} {'BE' if self.big else 'LE'} xml={self.xml_header} whole={self.whole} {self.numbers} {self.text} zlib={self.packed}"


def found_in(profile):
    frame, text = profile["frame"], profile["text"]
    return {**{key: frame[key]["value"] for key in ("order", "widths", "byte_order", "header_size_means", "payload_size_means", "channel_means",
                                                    "versions")},
            **{key: text[key]["value"] for key in ("encoding", "bom", "nul", "compression")}}


class Calibration(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def solve(self, *captures, text=False):
        """What it said, the profile, the golden frames; or the exit code and the complaint."""
        arguments = []
        for number, data in enumerate(captures):
            path = os.path.join(self.folder.name, f"capture-{number}")
            with open(path, "wb") as out:
                out.write(data.hex().encode() + b"  # a frame\n" if text else data)
            arguments += ["--capture", path]
        out = os.path.join(self.folder.name, "solved.json")
        done = subprocess.run([PROGRAM, "notify", "--calibrate", "--profile-out", out, *arguments], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            return done.returncode, done.stderr, None
        with open(out, encoding="utf-8") as profile, open(os.path.join(self.folder.name, "solved.frames.json"), encoding="utf-8") as frames:
            return json.loads(done.stdout), json.load(profile), json.load(frames)

    def check(self, model):
        said, profile, _ = self.solve(model.sign_in() + model.keep_alive())
        self.assertIsNotNone(profile and isinstance(profile, dict) or None, (model, profile))
        self.assertEqual(found_in(profile), model.expected(), model)
        for key in ("widths", "byte_order", "payload_size_means", "versions"):
            if not any(line.startswith(f"frame.{key} ") for line in said["open"]):
                self.assertEqual(profile["frame"][key]["basis"], "captured", (model, key))
        return said, profile

    def test_every_row_byte_order_text_and_compression(self):
        for row, big, text, packed in itertools.product(ROWS, (False, True), TEXTS, (False, True)):
            said, _ = self.check(Model(ROWS[row], big=big, text=text, packed=packed))
            self.assertEqual((said["row"], said["open"]), (row, []))

    def test_every_meaning_of_the_sizes_and_of_the_channel(self):
        for row, big, xml_header, whole, numbers in itertools.product(ROWS, (False, True), (False, True), (False, True),
                                                                     ((0, 2), (1, 3), (0, 0), (7, 7))):
            said, profile = self.check(Model(ROWS[row], big=big, xml_header=xml_header, whole=whole, numbers=numbers))
            kinds = profile["frame"]["type_numbers"]["value"]
            if numbers[0] != numbers[1]:
                self.assertEqual((kinds["sign_in"], kinds["keep_alive"], kinds["request"]), (*numbers, numbers[1] + 1))
                self.assertEqual(kinds["none"], 7 if numbers[0] == 0 else 0)
                self.assertEqual(profile["frame"]["type_numbers"]["basis"], "guessed", "five of the eight were never seen")
            else:
                self.assertEqual(profile["frame"]["channel_constant"]["value"], numbers[0])

    def test_versions_are_read(self):
        for version in ((2, 0), (1, 3), (5, 7)):
            self.check(Model(version=version))
            self.check(Model(ROWS["B"], version=version, big=True))

    def test_a_sign_in_alone_says_what_it_leaves_open(self):
        for row, big, text in itertools.product(ROWS, (False, True), TEXTS):
            model = Model(ROWS[row], big=big, text=text)
            said, profile, _ = self.solve(model.sign_in())
            self.assertEqual(found_in(profile), model.expected(), model)
            self.assertTrue(any(line.startswith("frame.channel_means ") for line in said["open"]), said)
            self.assertEqual(profile["frame"]["channel_means"]["basis"], "guessed")

    def test_a_layout_that_is_no_row_is_solved_or_called_ambiguous(self):
        # Widths that are no row, and orders that are not the documented one.
        solved = 0
        for widths, order in (((4, 1, 1, 4, 1), (0, 1, 2, 3, 4)), ((2, 1, 1, 2, 1), (0, 1, 2, 3, 4)), ((4, 2, 2, 2, 2), (0, 1, 2, 3, 4)),
                              ((4, 1, 1, 2, 4), (4, 3, 1, 2, 0)), ((2, 2, 1, 1, 4), (1, 0, 3, 2, 4))):
            model = Model(widths, order=order, version=(3, 5))
            said, profile, _ = self.solve(model.sign_in() + model.keep_alive())
            if isinstance(said, int):
                self.assertIn("calibrate.ambiguous", profile, model)
                continue
            solved += 1
            if found_in(profile) != model.expected():  # another layout says the same of these bytes: it must be admitted
                self.assertTrue(said["open"] or said["explanations"] > 1, model)
        self.assertGreaterEqual(solved, 3)

    def test_frames_in_files_of_their_own_and_as_text(self):
        model = Model()
        for text in (False, True):
            said, profile, _ = self.solve(model.sign_in(), model.keep_alive(), text=text)
            self.assertEqual((said["row"], said["messages"]), ("A", 2))

    def test_no_real_smsid_stays_in_the_golden_frames(self):
        for model in (Model(), Model(text="utf-8", packed=True), Model(ROWS["C"], whole=True, big=True)):
            _, profile, golden = self.solve(model.sign_in() + model.keep_alive())
            safe = "GUID:00000000-0000-4000-8000-000000000001"
            self.assertEqual(golden["sms_id"], safe)
            self.assertEqual(bytes.fromhex(golden["frames"]["sign_in"])[:sum(model.widths)],
                             model.frame(SIGN_IN.replace(SMS_ID, safe), model.numbers[0])[:sum(model.widths)] if not model.packed
                             else bytes.fromhex(golden["frames"]["sign_in"])[:sum(model.widths)])
            again, second, _ = self.solve(bytes.fromhex(golden["frames"]["sign_in"]) + bytes.fromhex(golden["frames"]["keep_alive"]))
            self.assertEqual(found_in(second), model.expected(), "the golden frames say the same")
            self.assertNotIn(SMS_ID, json.dumps(profile))
            self.assertNotIn(SMS_ID.encode("utf-16-le").hex().upper(), golden["frames"]["sign_in"])

    def test_names_are_taken_from_what_was_seen(self):
        odd = SIGN_IN.replace("ClientID", "ClientId").replace("TimeStamp", "Timestamp").replace(
            "</BgbSignInMessage>", "<NetworkInfo>x</NetworkInfo></BgbSignInMessage>")
        model = Model()
        _, profile, _ = self.solve(model.frame(odd, 0) + model.keep_alive())
        shape = profile["messages"]["sign_in"]
        self.assertEqual((shape["basis"], shape["members"][-1]), ("captured", ["client_id", "ClientId"]))
        self.assertEqual(profile["unknown_members"], ["BgbSignInMessage/NetworkInfo"])
        self.assertEqual(profile["messages"]["request"]["basis"], "guessed")

    def test_an_xml_header_before_the_message_is_seen(self):
        header = "<BgbMessageHeaderHttp><SourceID>x</SourceID></BgbMessageHeaderHttp>".encode("utf-16-le")
        payload = SIGN_IN.encode("utf-16-le")
        frame = struct.pack("<IBBHI", len(payload), 1, 0, len(header), 0) + header + payload
        said, profile, _ = self.solve(frame)
        self.assertEqual(profile["frame"]["header_size_means"]["value"], "xml_header")
        self.assertEqual(said["row"], "A")

    def test_what_cannot_be_solved_is_not_guessed(self):
        model = Model()
        good = model.sign_in()
        for data, code in ((b"", "calibrate.no_text"), (b"\x16\x03\x01" * 50, "calibrate.no_text"), (good[:-10], "calibrate.no_text"),
                           (model.keep_alive(), "calibrate.no_text"), (b"\xff" * 12 + good[12:], "calibrate.no_layout"),
                           (good + good, "calibrate.no_text"), (good + b"xy", "calibrate.no_layout")):
            status, complaint, _ = self.solve(data)
            self.assertEqual(status, 1)
            self.assertIn(code, complaint)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
