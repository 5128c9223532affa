#!/usr/bin/env python3
"""A whole Greengate agent in one file: docs/reference/agent-protocol.md explains every step.

Needs pyzmq and protobuf, and the modules made from proto/:
    protoc -I proto --python_out=build/python greengate/v1/frame.proto greengate/v1/report.proto \
        greengate/v1/notification.proto
    PYTHONPATH=build/python python3 tests/agent/protocol_example.py \
        --gateway tcp://gateway.example.com:7443 --gateway-key '...' --state ./my-agent --token '...'

It enrols, says Hello, sends one discovery and one state message, waits until both are stored, and answers pushes
meanwhile. What is not stored when it ends is sent again by the next run.
"""
import argparse
import json
import os
import random
import socket
import sys
import time

import zmq

from greengate.v1 import frame_pb2, notification_pb2, report_pb2

PATIENCE_S = 30


class State:
    """What must outlive the process: key pair, incarnation, last sequence, and every report not yet stored."""

    def __init__(self, directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.path = os.path.join(directory, "state.json")
        try:
            with open(self.path, encoding="ascii") as file:
                self.data = json.load(file)
        except FileNotFoundError:
            public, secret = zmq.curve_keypair()
            self.data = {"public": public.decode(), "secret": secret.decode(), "reports": {},
                         "incarnation": random.SystemRandom().getrandbits(64) | 1, "last_sequence": 0}
            self.save()

    def save(self):
        """Whole or not at all, and on disk when it returns: only then may a sequence be used."""
        aside = self.path + ".new"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(self.data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.path)

    def put(self, lane, kind, message):
        report = frame_pb2.Report(lane=lane, kind=kind, collected_at_ms=int(time.time() * 1000),
                                  body=message.SerializeToString())
        self.data["last_sequence"] += 1
        report.sequence = self.data["last_sequence"]
        self.data["reports"][str(report.sequence)] = report.SerializeToString().hex()
        self.save()

    def forget(self, first, last):
        kept = {s: r for s, r in self.data["reports"].items() if not first <= int(s) <= last}
        if len(kept) != len(self.data["reports"]):
            self.data["reports"] = kept
            self.save()

    def waiting(self):
        return [frame_pb2.Report.FromString(bytes.fromhex(self.data["reports"][s]))
                for s in sorted(self.data["reports"], key=int)]


class Agent:
    def __init__(self, options):
        self.options = options
        self.state = State(options.state)
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)  # when to come back is the gateway's decision
        self.socket.setsockopt(zmq.IPV6, 1)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, 15000)
        self.socket.setsockopt(zmq.MAXMSGSIZE, 1 << 20)
        self.socket.curve_serverkey = options.gateway_key.encode()
        self.socket.curve_publickey = self.state.data["public"].encode()
        self.socket.curve_secretkey = self.state.data["secret"].encode()
        self.socket.connect(options.gateway)
        self.answered = {}  # notification id: outcome

    def send(self, **kind):
        self.socket.send(frame_pb2.Frame(**kind).SerializeToString())

    def receive(self, until):
        """The next frame, or None when the time is over."""
        left_ms = max(0, int((until - time.monotonic()) * 1000))
        if not self.socket.poll(left_ms):
            return None
        return frame_pb2.Frame.FromString(self.socket.recv())

    def names(self):
        host = socket.gethostname()
        return {"protocol_version": 1, "host_name": host.split(".")[0], "fqdn": host,
                "operating_system": "Example OS 1", "agent_version": "protocol-example 1"}

    def greet(self):
        """Enrol if need be, then Hello. The Welcome, or None."""
        until = time.monotonic() + PATIENCE_S
        self.send(hello=frame_pb2.Hello(incarnation=self.state.data["incarnation"], **self.names()))
        while (frame := self.receive(until)) is not None:
            kind = frame.WhichOneof("kind")
            if kind == "welcome":
                return frame.welcome
            if kind == "refused" and frame.refused.code in ("agent.unknown", "agent.pending"):
                time.sleep(frame.refused.retry_after_ms / 1000)
                self.send(enrol=frame_pb2.Enrol(token=self.options.token, **self.names()))
            elif kind == "refused":
                sys.exit(f"refused: {frame.refused.code}: {frame.refused.message}")
            elif kind == "enrol_result" and frame.enrol_result.state == frame_pb2.ENROL_STATE_ACTIVE:
                self.send(hello=frame_pb2.Hello(incarnation=self.state.data["incarnation"], **self.names()))
            elif kind == "enrol_result" and frame.enrol_result.state == frame_pb2.ENROL_STATE_PENDING:
                print("waiting for an operator to approve", frame.enrol_result.agent_id, flush=True)
                time.sleep(max(1, frame.enrol_result.retry_after_ms / 1000))
                self.send(enrol=frame_pb2.Enrol(token=self.options.token, **self.names()))
            elif kind == "enrol_result":
                sys.exit(f"refused: {frame.enrol_result.code}: {frame.enrol_result.message}")
        return None

    def publish(self, welcome, after):
        """Everything waiting above `after`, in order, within the gateway's bounds. What was sent last."""
        publish, size = frame_pb2.Publish(), 16
        for report in self.state.waiting():
            if report.sequence <= after:
                continue
            cost = len(report.body) + 64
            if len(publish.reports) == welcome.in_flight_max or size + cost > welcome.frame_bytes_max:
                break  # the rest goes when these have their receipts
            report.skipped = report.sequence - 1 - after
            after, size = report.sequence, size + cost
            publish.reports.append(report)
        if publish.reports:
            self.send(publish=publish)
        return after

    def run(self):
        welcome = self.greet()
        if welcome is None:
            sys.exit("the gateway did not answer")
        print("welcome,", welcome.agent_id, flush=True)
        if welcome.last_stored_sequence > self.state.data["last_sequence"]:
            # This state is an old copy: its numbers would be taken for ones already stored.
            sys.exit("the state directory was restored from an old backup; remove it and enrol again")
        self.state.forget(1, welcome.last_stored_sequence)
        sent = self.publish(welcome, welcome.last_stored_sequence)
        until = time.monotonic() + PATIENCE_S
        while self.state.waiting():
            frame = self.receive(until)
            if frame is None:
                sys.exit("no receipt came; the next run sends again")
            kind = frame.WhichOneof("kind")
            if kind == "receipts":
                for receipt in frame.receipts.receipts:
                    sent = self.on_receipt(welcome, receipt, sent)
            elif kind == "notification":
                self.on_notification(frame.notification)
            elif kind == "drain":
                sys.exit(f"gateway goes away; come back in {frame.drain.reconnect_slot_ms} ms")
            elif kind == "refused":
                sys.exit(f"refused: {frame.refused.code}: {frame.refused.message}")
        print("all reports are stored", flush=True)
        for what in self.options.ask:
            print(self.ask(what), flush=True)
        # A real agent stays: Ping after ping_interval_s of silence, next discovery after heartbeat_interval_s.
        self.send(ping=frame_pb2.Ping(nonce=1))
        while (frame := self.receive(until)) is not None and frame.WhichOneof("kind") != "pong":
            if frame.WhichOneof("kind") == "notification":
                self.on_notification(frame.notification)

    def ask(self, what):
        """Asks the site through the gateway; whatever comes before the answer is dealt with as ever."""
        question = frame_pb2.Ask(nonce=random.SystemRandom().getrandbits(64))
        if what == "policy":
            question.policy.refresh = True
        else:
            question.locate.kind = frame_pb2.LocateKind.Value("LOCATE_KIND_" + what.upper().replace("-", "_"))
        until = time.monotonic() + PATIENCE_S
        self.send(ask=question)
        while (frame := self.receive(until)) is not None:
            kind = frame.WhichOneof("kind")
            if kind == "notification":
                self.on_notification(frame.notification)
            if kind != "answer" or frame.answer.nonce != question.nonce:
                continue
            if frame.answer.code not in ("ask.not_ready", "ask.busy"):
                return frame.answer
            time.sleep(min(1, frame.answer.retry_after_ms / 1000))
            self.send(ask=question)
        sys.exit("the question was not answered")

    def on_receipt(self, welcome, receipt, sent):
        if receipt.incarnation != self.state.data["incarnation"]:
            return sent
        if receipt.status == frame_pb2.RECEIPT_STATUS_THROTTLED:
            time.sleep(receipt.retry_after_ms / 1000)
            return self.publish(welcome, receipt.first_sequence - 1)
        if receipt.status == frame_pb2.RECEIPT_STATUS_RESEND:
            return self.publish(welcome, receipt.first_sequence - 1)
        if receipt.status != frame_pb2.RECEIPT_STATUS_UNSPECIFIED:
            name = frame_pb2.ReceiptStatus.Name(receipt.status)
            print(name, receipt.first_sequence, receipt.last_sequence, receipt.code, flush=True)
            self.state.forget(receipt.first_sequence, receipt.last_sequence)
        return self.publish(welcome, sent)

    def on_notification(self, push):
        known = (notification_pb2.TASK_MACHINE_POLICY, notification_pb2.TASK_DISCOVERY)
        if push.notification_id not in self.answered:
            accepted = push.task in known
            self.answered[push.notification_id] = (notification_pb2.TASK_OUTCOME_ACCEPTED if accepted else
                                                   notification_pb2.TASK_OUTCOME_UNKNOWN_TASK)
            if accepted:
                self.state.put(frame_pb2.LANE_DISCOVERY, frame_pb2.KIND_DISCOVERY, discovery())
        # What it does, it has done at once: the report is in its outbox. A real agent notes that on disk.
        outcomes = [self.answered[push.notification_id]]
        if outcomes == [notification_pb2.TASK_OUTCOME_ACCEPTED]:
            outcomes.append(notification_pb2.TASK_OUTCOME_COMPLETED)
        for outcome in outcomes:
            self.send(task_result=notification_pb2.TaskResult(notification_id=push.notification_id, outcome=outcome))


def discovery():
    host = socket.gethostname()
    return report_pb2.Discovery(host_name=host.split(".")[0], fqdn=host, operating_system="Example OS 1",
                                architecture=os.uname().machine, agent_version="protocol-example 1")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gateway", required=True, help="tcp://host:port")
    parser.add_argument("--gateway-key", required=True, help="the gateway's public key, 40 characters")
    parser.add_argument("--state", required=True, help="directory for key and reports")
    parser.add_argument("--token", default="")
    parser.add_argument("--ask", action="append", default=[], help="policy, management-points, update-server or site")
    agent = Agent(parser.parse_args())
    agent.state.put(frame_pb2.LANE_DISCOVERY, frame_pb2.KIND_DISCOVERY, discovery())
    agent.state.put(frame_pb2.LANE_STATE, frame_pb2.KIND_STATE_MESSAGES, report_pb2.StateMessages(messages=[
        report_pb2.StateMessage(time_ms=int(time.time() * 1000), topic_type=501, topic_id="example", state_id=2)]))
    agent.run()


if __name__ == "__main__":
    main()
