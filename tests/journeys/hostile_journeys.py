"""Wrong keys, broken frames, strangers, and an agent in another language: each is told plainly, and nobody else suffers."""

import concurrent.futures
import importlib
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unittest

import zmq

from estate import ROOT, estate


def wire_words():
    """The Python modules of proto/, made by protoc as docs/reference/agent-protocol.md says."""
    folder = tempfile.mkdtemp(prefix="greengate-proto-")
    subprocess.run(["protoc", "-I", ROOT / "proto", f"--python_out={folder}", "greengate/v1/frame.proto", "greengate/v1/report.proto",
                    "greengate/v1/notification.proto"], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module("greengate.v1.frame_pb2"), folder


frame_pb2, WORDS = wire_words()


class Stranger:
    """A DEALER with a CURVE key of its own that says whatever a test likes."""

    def __init__(self, world, gateway_key=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.ipv6 = True
        self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
        self.socket.curve_serverkey = (gateway_key or world.addresses["gateway_key"]).encode()
        self.socket.connect(world.addresses["agent_endpoint"])

    def send(self, frame):
        self.socket.send(frame if isinstance(frame, bytes) else frame.SerializeToString())

    def hear(self, patience_s=10):
        if not self.socket.poll(patience_s * 1000):
            return None
        return frame_pb2.Frame.FromString(self.socket.recv())

    def enrol(self, token):
        self.send(frame_pb2.Frame(enrol=frame_pb2.Enrol(protocol_version=1, token=token, host_name="stranger")))
        return self.hear().enrol_result

    def hello(self, incarnation=7):
        self.send(frame_pb2.Frame(hello=frame_pb2.Hello(protocol_version=1, host_name="stranger", incarnation=incarnation)))
        return self.hear()

    def close(self):
        self.context.destroy(linger=0)


class Hostile(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(estate())
        self.world.start_site()
        self.world.start_gateway()
        self.agent = self.world.enrol_agent()

    def stranger(self, **options):
        one = Stranger(self.world, **options)
        self.addCleanup(one.close)
        return one

    def neighbour_is_well(self):
        """The honest agent's reports go on to the site."""
        before = self.world.topics_at_site(self.agent).count("journey-0")
        self.world.send_state(1)
        self.world.wait("the honest agent's report at the site",
                        lambda: self.world.topics_at_site(self.agent).count("journey-0") == before + 1)

    def test_a_stranger_is_told_to_enrol_and_nothing_of_it_is_kept(self):
        stranger = self.stranger()
        for kind in ({"hello": frame_pb2.Hello(protocol_version=1, incarnation=1)},
                     {"publish": frame_pb2.Publish(reports=[frame_pb2.Report(sequence=1, lane=2, kind=3, body=b"x")])}):
            stranger.send(frame_pb2.Frame(**kind))
            answer = stranger.hear()
            self.assertEqual(answer.WhichOneof("kind"), "refused")
            self.assertEqual(answer.refused.code, "agent.unknown")
            self.assertTrue(answer.refused.message)
        self.assertEqual(len(self.world.agents()), 1)
        self.neighbour_is_well()

    def test_a_wrong_gateway_key_never_gets_a_word_in(self):
        stranger = self.stranger(gateway_key=zmq.curve_keypair()[0].decode())
        stranger.send(frame_pb2.Frame(ping=frame_pb2.Ping(nonce=1)))
        self.assertIsNone(stranger.hear(patience_s=2))
        self.neighbour_is_well()

    def test_broken_frames_are_refused_by_name_and_the_connection_goes_on(self):
        stranger = self.stranger()
        self.assertEqual(stranger.enrol(self.world.token()).state, frame_pb2.ENROL_STATE_ACTIVE)
        self.assertEqual(stranger.hello().WhichOneof("kind"), "welcome")
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}", file=sys.stderr)
        dice = random.Random(seed)
        stranger.send(b"\xff\xff\xff")
        self.assertEqual(stranger.hear().refused.code, "frame.malformed")
        for _ in range(50):
            stranger.send(dice.randbytes(dice.randrange(1, 2000)))
        nonce = dice.getrandbits(60)
        stranger.send(frame_pb2.Frame(ping=frame_pb2.Ping(nonce=nonce)))
        until = time.monotonic() + 10
        while time.monotonic() < until:
            answer = stranger.hear()
            if answer.WhichOneof("kind") == "pong" and answer.pong.nonce == nonce:
                break
        else:
            self.fail("no Pong after the broken frames")
        self.neighbour_is_well()

    def test_a_frame_beyond_the_bound_cuts_only_its_sender(self):
        stranger = self.stranger()
        self.assertEqual(stranger.enrol(self.world.token()).state, frame_pb2.ENROL_STATE_ACTIVE)
        stranger.hello()
        stranger.send(b"x" * (17 << 20))
        self.neighbour_is_well()
        again = self.stranger()
        again.send(frame_pb2.Frame(hello=frame_pb2.Hello(protocol_version=1, incarnation=1)))
        self.assertEqual(again.hear().refused.code, "agent.unknown")

    def test_a_report_that_is_none_is_stored_then_rejected_with_its_reason(self):
        stranger = self.stranger()
        self.assertEqual(stranger.enrol(self.world.token()).state, frame_pb2.ENROL_STATE_ACTIVE)
        stranger.hello()
        stranger.send(frame_pb2.Frame(publish=frame_pb2.Publish(reports=[
            frame_pb2.Report(sequence=1, lane=frame_pb2.LANE_STATE, kind=frame_pb2.KIND_STATE_MESSAGES, body=b"\xff\xff\xff")])))
        seen = {}
        until = time.monotonic() + 30
        while len(seen) < 2 and time.monotonic() < until:
            answer = stranger.hear()
            if answer is not None and answer.WhichOneof("kind") == "receipts":
                for receipt in answer.receipts.receipts:
                    seen[receipt.status] = receipt
        self.assertIn(frame_pb2.RECEIPT_STATUS_STORED, seen)
        self.assertEqual(seen[frame_pb2.RECEIPT_STATUS_REJECTED].code, "report.malformed")
        self.neighbour_is_well()

    def test_reports_out_of_order_are_asked_for_again_and_kept_once(self):
        stranger = self.stranger()
        self.assertEqual(stranger.enrol(self.world.token()).state, frame_pb2.ENROL_STATE_ACTIVE)
        stranger.hello()

        def publish(*sequences):
            stranger.send(frame_pb2.Frame(publish=frame_pb2.Publish(reports=[
                frame_pb2.Report(sequence=s, lane=frame_pb2.LANE_STATE, kind=frame_pb2.KIND_STATE_MESSAGES) for s in sequences])))
            answer = stranger.hear()
            while answer.WhichOneof("kind") != "receipts" or answer.receipts.receipts[0].status not in (1, 5):
                answer = stranger.hear()
            return answer.receipts.receipts[0]

        self.assertEqual(publish(1).status, frame_pb2.RECEIPT_STATUS_STORED)
        gap = publish(3)
        self.assertEqual((gap.status, gap.first_sequence), (frame_pb2.RECEIPT_STATUS_RESEND, 2))
        both = publish(2, 3)
        self.assertEqual((both.status, both.first_sequence, both.last_sequence), (frame_pb2.RECEIPT_STATUS_STORED, 2, 3))
        again = publish(2)
        self.assertEqual((again.status, again.first_sequence), (frame_pb2.RECEIPT_STATUS_STORED, 2))
        self.assertEqual(stranger.hello().welcome.last_stored_sequence, 3)

    def test_an_agent_written_from_the_docs_page_in_another_language_reaches_the_site(self):
        state = self.world.folder / "python-agent"
        done = subprocess.run([sys.executable, ROOT / "tests" / "agent" / "protocol_example.py", "--gateway",
                               self.world.addresses["agent_endpoint"], "--gateway-key", self.world.addresses["gateway_key"],
                               "--state", state, "--token", self.world.token()],
                              env={**os.environ, "PYTHONPATH": WORDS}, capture_output=True, text=True, timeout=90)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        mine = next(a for a in self.world.agents() if a["agent_version"] == "protocol-example 1")
        self.world.wait("its two reports to be delivered",
                        lambda: sum(r["state"] == "delivered" for r in self.world.reports(mine)) == 2)
        self.assertEqual(self.world.refused_at_site(), [])


class HostileSite(unittest.TestCase):
    """A management point that lies: each answer ends in an error with its own code, costs bounded memory, and loses nothing."""

    # What the gateway's log must call each answer to an Invoke.
    CODES = {"doctype": "mp.reply_xml", "entities": "mp.reply_xml", "deep": "mp.reply_xml", "bomb": "mp.inflate_too_large", "wrong_charset": "mp.reply_xml",
             "no_zlib": "mp.inflate", "cut": "mp.multipart", "huge_length": "http.reply_too_large", "flood": "http.reply_too_large",
             "redirect": "http.redirect", "long_header": "http.reply_too_large", "garbage": "http.protocol"}
    RESIDENT_MAX = 700 << 20  # with AddressSanitizer's own quarter of a gigabyte; the lies unfold to more than a gigabyte together

    def resident(self, world):
        with open(f"/proc/{world.processes['gateway'].pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))

    def tell(self, form, code):
        with estate() as world:
            world.start_site()
            world.start_gateway(site='configuration_retry = "200ms"\n')
            world.site.ask("POST", "/mp/faults", {"kind": "hostile", "form": form, "endpoint": "MP_ClientRegistration", "count": 2})
            world.site.ask("POST", "/mp/faults", {"kind": "hostile", "form": form, "endpoint": "MP_HinvEndpoint", "count": 1})
            agent = world.enrol_agent()
            world.wait(f"the lie {form} to be called {code}", lambda: code in world.log_of("greengate"), patience_s=120)
            world.wait("the truth to arrive all the same",
                       lambda: len(world.reports(agent)) >= 3 and not any(r["state"] in ("waiting", "leased") for r in world.reports(agent)),
                       patience_s=180)
            self.assertEqual([r for r in world.reports(agent) if r["state"] == "buried"], [], form)
            self.assertEqual(world.refused_at_site(), [], form)
            self.assertLess(self.resident(world), self.RESIDENT_MAX, form)

    def test_every_lie_in_a_reply_has_its_code_and_the_agent_registers_when_the_lies_end(self):
        # Most of each is waiting for a back-off, so a few run beside one another.
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(self.tell, form, code) for form, code in self.CODES.items()]:
                done.result()


if __name__ == "__main__":
    unittest.main(verbosity=2)
