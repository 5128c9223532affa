"""An agent whose every report a journey writes itself, over the real wire."""

import importlib
import random
import subprocess
import sys
import tempfile
import time

import zmq

from estate import ROOT


def wire_words():
    """The Python modules of proto/, made by protoc as docs/reference/agent-protocol.md says."""
    folder = tempfile.mkdtemp(prefix="greengate-proto-")
    subprocess.run(["protoc", "-I", ROOT / "proto", f"--python_out={folder}", "greengate/v1/frame.proto", "greengate/v1/report.proto",
                    "greengate/v1/notification.proto"], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module("greengate.v1.frame_pb2"), importlib.import_module("greengate.v1.report_pb2")


frame_pb2, report_pb2 = wire_words()


class ScriptedAgent:
    """Enrols with a token; then publish() what a test says. A lost connection is made anew, and what had no receipt sent again."""

    def __init__(self, world, host_name):
        self.world = world
        self.host_name = host_name
        self.public, self.secret = zmq.curve_keypair()
        self.incarnation = random.SystemRandom().getrandbits(63) | 1
        self.sequence = 0
        self.stored = 0
        self.sent = {}
        self.receipts = {}  # sequence: (status, code) of what became of it after it was stored
        self.context = zmq.Context()
        self.socket = None
        self.connect()
        self.send(enrol=frame_pb2.Enrol(protocol_version=1, token=world.token(), host_name=host_name, fqdn=host_name + ".example.test"))
        self.until("an answer to Enrol", lambda frame: frame.WhichOneof("kind") == "enrol_result")
        self.hello()
        known = self.wait_ready()
        self.agent = known

    def connect(self):
        if self.socket is not None:
            self.socket.close(linger=0)
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.ipv6 = True
        self.socket.curve_publickey, self.socket.curve_secretkey = self.public, self.secret
        self.socket.curve_serverkey = self.world.addresses["gateway_key"].encode()
        self.socket.connect(self.world.addresses["agent_endpoint"])

    def send(self, **kind):
        self.socket.send(frame_pb2.Frame(**kind).SerializeToString())

    def hello(self):
        self.send(hello=frame_pb2.Hello(protocol_version=1, host_name=self.host_name, fqdn=self.host_name + ".example.test",
                                        incarnation=self.incarnation))
        welcome = self.until("Welcome", lambda frame: frame.WhichOneof("kind") == "welcome").welcome
        self.stored = welcome.last_stored_sequence

    def wait_ready(self):
        def ready():
            self.pump(0.05)
            return next((a for a in self.world.agents() if a["host_name"] == self.host_name and a["site"]["state"] == "ready"), None)
        return self.world.wait("the site to confirm " + self.host_name, ready)

    def pump(self, patience_s):
        """Takes what has come."""
        frame = None
        if self.socket.poll(int(patience_s * 1000)):
            frame = frame_pb2.Frame.FromString(self.socket.recv())
            for receipt in frame.receipts.receipts:
                if receipt.incarnation != self.incarnation:
                    continue
                if receipt.status == frame_pb2.RECEIPT_STATUS_STORED:
                    self.stored = max(self.stored, receipt.last_sequence)
                elif receipt.status != frame_pb2.RECEIPT_STATUS_RESEND:
                    for sequence in range(receipt.first_sequence, receipt.last_sequence + 1):
                        self.receipts[sequence] = (frame_pb2.ReceiptStatus.Name(receipt.status), receipt.code)
        return frame

    def until(self, what, wanted, patience_s=30):
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            frame = self.pump(0.2)
            if frame is not None and wanted(frame):
                return frame
        raise AssertionError(f"no {what} came")

    def publish(self, lane, kind, message):
        """Stored when it returns. Answers the report's sequence."""
        self.sequence += 1
        self.sent[self.sequence] = frame_pb2.Report(sequence=self.sequence, lane=lane, kind=kind, collected_at_ms=int(time.time() * 1000),
                                                    body=message.SerializeToString())
        end = time.monotonic() + 60
        while self.stored < self.sequence:
            if time.monotonic() > end:
                raise AssertionError("a report was not stored")
            self.send(publish=frame_pb2.Publish(reports=[self.sent[s] for s in range(self.stored + 1, self.sequence + 1)]))
            for _ in range(10):
                self.pump(0.2)
                if self.stored >= self.sequence:
                    break
            else:
                self.connect()
                self.hello()
        return self.sequence

    def outcome(self, sequence, patience_s=60):
        """What became of it, from its receipt."""
        self.world.wait(f"the outcome of report {sequence}", lambda: self.pump(0.05) and False or sequence in self.receipts, patience_s)
        return self.receipts[sequence]

    def close(self):
        self.context.destroy(linger=0)
