"""Many agents in one process, over the real wire: what each is asked to do is written down, once for every time it would act."""

import collections
import random
import threading
import time

import zmq

from scripted_agent import frame_pb2, wire_words  # noqa: F401  (wire_words puts the generated modules on the path)
from greengate.v1 import notification_pb2


class Member:
    """One agent: keys for life, and what it remembers of notifications. `slow_s`: how long it thinks before it answers."""

    def __init__(self, name, slow_s=0.0):
        self.name = name
        self.slow_s = slow_s
        self.public, self.secret = zmq.curve_keypair()
        self.incarnation = random.SystemRandom().getrandbits(63) | 1
        self.away = False
        self.socket = None
        self.enrolled = self.welcome = False
        self.asked = collections.Counter()  # notification id: how often it came
        self.acted = []                     # (notification id, task), once for every id
        self.last_word = 0.0


class Fleet:
    """Runs its members on a thread of its own until closed. They come, answer and go as a test says."""

    def __init__(self, world, names, slow=()):
        self.world = world
        self.members = {name: Member(name, 2.0 if name in slow else 0.0) for name in names}
        self.token = world.token(uses=len(self.members))
        self.context = zmq.Context(2)
        self.context.set(zmq.MAX_SOCKETS, 2 * len(self.members) + 64)
        self.poller = zmq.Poller()
        self.by_socket = {}
        self.later = []  # (when, member, frame)
        self.lock = threading.RLock()
        self.over = threading.Event()
        self.trouble = None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    # What a test does.
    def leave(self, names):
        with self.lock:
            for name in names:
                self.members[name].away = True
                self.disconnect(self.members[name])

    def come_back(self, names):
        with self.lock:
            for name in names:
                self.members[name].away = False

    def reconnect(self):
        """The gateway was away: everybody begins a new connection."""
        with self.lock:
            for member in self.members.values():
                self.disconnect(member)

    def acted(self, task):
        """How often each agent acted on this task."""
        with self.lock:
            return {name: sum(1 for _, what in member.acted if what == task) for name, member in self.members.items()}

    def asked(self):
        """How many notifications arrived in all, repeats included."""
        with self.lock:
            return sum(sum(member.asked.values()) for member in self.members.values())

    def close(self):
        self.over.set()
        self.thread.join()
        self.context.destroy(linger=0)
        if self.trouble:
            raise self.trouble

    # The thread.
    def run(self):
        try:
            while not self.over.is_set():
                for socket, _ in self.poller.poll(50):
                    with self.lock:
                        if socket in self.by_socket:
                            self.read(self.by_socket[socket])
                with self.lock:
                    self.tick()
        except Exception as trouble:  # shown at close()
            self.trouble = trouble

    def tick(self):
        now = time.monotonic()
        for member in self.members.values():
            if member.away:
                continue
            if member.socket is None:
                self.connect(member)
            elif now - member.last_word > 1.0:
                self.send(member, ping=frame_pb2.Ping()) if member.welcome else self.knock(member)
        due = [each for each in self.later if each[0] <= now]
        self.later = [each for each in self.later if each[0] > now]
        for _, member, result in due:
            if member.socket is not None:
                self.send(member, task_result=result)

    def connect(self, member):
        socket = self.context.socket(zmq.DEALER)
        socket.linger = 0
        socket.ipv6 = True
        socket.curve_publickey, socket.curve_secretkey = member.public, member.secret
        socket.curve_serverkey = self.world.addresses["gateway_key"].encode()
        socket.connect(self.world.addresses["agent_endpoint"])
        member.socket, member.welcome = socket, False
        self.by_socket[socket] = member
        self.poller.register(socket, zmq.POLLIN)
        self.knock(member)

    def disconnect(self, member):
        if member.socket is None:
            return
        self.poller.unregister(member.socket)
        del self.by_socket[member.socket]
        member.socket.close(linger=0)
        member.socket, member.welcome = None, False

    def knock(self, member):
        if member.enrolled:
            self.send(member, hello=frame_pb2.Hello(protocol_version=1, host_name=member.name, fqdn=member.name + ".example.test", incarnation=member.incarnation))
        else:
            self.send(member, enrol=frame_pb2.Enrol(protocol_version=1, token=self.token, host_name=member.name, fqdn=member.name + ".example.test"))

    def send(self, member, **kind):
        member.last_word = time.monotonic()
        try:
            member.socket.send(frame_pb2.Frame(**kind).SerializeToString(), zmq.NOBLOCK)
        except zmq.Again:
            pass

    def read(self, member):
        while member.socket is not None:
            try:
                frame = frame_pb2.Frame.FromString(member.socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            kind = frame.WhichOneof("kind")
            if kind == "enrol_result":
                if frame.enrol_result.state == frame_pb2.ENROL_STATE_ACTIVE:
                    member.enrolled = True
                    self.knock(member)
            elif kind == "welcome":
                member.welcome = True
            elif kind == "refused":
                member.welcome = False
            elif kind == "notification":
                self.asked_for(member, frame.notification)

    def asked_for(self, member, notification):
        """Acts once for an id, and answers each time."""
        number = notification.notification_id
        if member.asked[number] == 0:
            member.acted.append((number, notification.task))
        member.asked[number] += 1
        now = time.monotonic()
        for outcome, after_s in ((notification_pb2.TASK_OUTCOME_ACCEPTED, 0.0), (notification_pb2.TASK_OUTCOME_COMPLETED, 0.2)):
            result = notification_pb2.TaskResult(notification_id=number, outcome=outcome)
            if member.slow_s + after_s == 0.0:
                self.send(member, task_result=result)
            else:
                self.later.append((now + member.slow_s + after_s, member, result))
