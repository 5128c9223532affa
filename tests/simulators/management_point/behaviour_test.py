"""Goal: what depends on what came before, and on the operator. Method: one simulator for each situation."""
import pathlib
import ssl
import tempfile
import threading
import unittest

from mp_client import *


def status_of(reply):
    return attribute(reply.xml, "Status")


class Pending(unittest.TestCase):
    def test_the_first_answer_is_always_pending_and_zero_comes_from_a_confirmation(self):
        with Simulator() as sim:
            key = key_named("client")
            der = certificate(key)
            reply = post(sim, Registration(key, der).message())
            self.assertEqual(status_of(reply), "1")
            sms_id = attribute(reply.xml, "SMSID")
            reply = post(sim, Registration(key, der, sms_id=sms_id).message())
            self.assertEqual(status_of(reply), "1")  # registering again confirms nothing
            reply = post(sim, Registration(key, der, sms_id=sms_id, confirmation=True).message())
            self.assertEqual((status_of(reply), attribute(reply.xml, "ApprovalStatus")), ("0", "1"))
            reply = post(sim, Registration(key, der, sms_id=sms_id).message())
            self.assertEqual(status_of(reply), "0")  # a confirmed client that registers again

    def test_nothing_is_taken_while_pending(self):
        with Simulator("--pending-for", "3600000") as sim:
            client = Client(sim, confirm=False)
            self.assertEqual(client.confirm(), "1")
            reply = post(sim, client.ddr())
            self.assertEqual((reply.status, reply.body), (200, b""))
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["auth.client_pending"])
            self.assertEqual(sim.admin("GET", f"/mp/clients/{client.sms_id}")["standing"], "pending")

    def test_a_client_that_never_confirmed_is_warned_of(self):
        with Simulator() as sim:
            client = Client(sim, confirm=False)
            post(sim, client.ddr())
            line = sim.last_verdict()
            self.assertEqual((line["verdict"], [w["code"] for w in line["warnings"]]), ("accepted", ["auth.never_confirmed"]))

    def test_the_operator_approves_rejects_blocks_and_forgets(self):
        with Simulator("--approval", "manual") as sim:
            client = Client(sim, confirm=False)
            self.assertEqual(client.confirm(), "1")
            sim.admin("POST", "/mp/approve", {"smsid": client.sms_id})
            self.assertEqual(client.confirm(), "0")
            post(sim, client.ddr())
            self.assertEqual(sim.last_verdict()["verdict"], "accepted")
            sim.admin("POST", "/mp/block", {"smsid": client.sms_id})
            post(sim, client.ddr())
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["auth.client_blocked"])
            sim.admin("POST", "/mp/unblock", {"smsid": client.sms_id})
            post(sim, client.ddr())
            self.assertEqual(sim.last_verdict()["verdict"], "accepted")
            sim.admin("POST", "/mp/reject", {"smsid": client.sms_id})
            self.assertEqual(client.confirm(), "3")
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["registration.rejected"])
            sim.admin("POST", "/mp/approve", {"smsid": client.sms_id})
            self.assertEqual(client.confirm(), "0")
            sim.admin("POST", "/mp/forget", {"smsid": client.sms_id})
            self.assertEqual(client.confirm(), "2")
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["registration.smsid_unknown"])
            self.assertEqual(sim.admin("POST", "/mp/approve", {"smsid": client.sms_id}, expect=404)["code"], "client.unknown")
            self.assertEqual(sim.admin("POST", "/mp/approve", {}, expect=400)["code"], "admin.body")


class Identity(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator("--max-clients", "12")

    @classmethod
    def tearDownClass(cls):
        cls.sim.stop()

    def register(self, key, der, name, sms_id="", **more):
        request = Registration(key, der, name, sms_id)
        for field, value in more.items():
            setattr(request, field, value)
        return post(self.sim, request.message())

    def test_a_proposed_id_is_kept_when_free_and_another_issued_when_taken(self):
        mine, other = key_named("mine"), key_named("other")
        wish = "GUID:11111111-2222-4333-8444-555555555555"
        self.assertEqual(attribute(self.register(mine, certificate(mine), "ID-1", wish).xml, "SMSID"), wish)
        given = attribute(self.register(other, certificate(other), "ID-2", wish).xml, "SMSID")
        self.assertNotEqual(given, wish)
        confirmation = Registration(other, certificate(other), "ID-2", wish, confirmation=True)
        self.assertEqual(status_of(post(self.sim, confirmation.message())), "3")
        self.assertEqual([v["code"] for v in self.sim.last_verdict()["violations"]], ["registration.confirmation_key"])

    def test_a_new_key_keeps_the_id_only_with_a_hint_of_the_old_one(self):
        old, new = key_named("old"), key_named("new")
        client = Client(self.sim, "RENEW-1", old)
        der = certificate(new)
        hint = sign(old, utf16(client.sms_id + "\0"))
        reply = self.register(new, der, "RENEW-1", client.sms_id, hint=f"<RegistrationHint>{hint}</RegistrationHint>")
        self.assertEqual((status_of(reply), attribute(reply.xml, "SMSID")), ("0", client.sms_id))
        client.key = new
        post(self.sim, client.ddr())
        self.assertEqual(self.sim.last_verdict()["verdict"], "accepted")
        wrong = sign(old, utf16(client.sms_id))  # the old key is the registered one no longer, and the NUL is missing
        self.register(old, certificate(old), "RENEW-1", client.sms_id, hint=f"<RegistrationHint>{wrong}</RegistrationHint>")
        self.assertEqual([v["code"] for v in self.sim.last_verdict()["violations"]], ["registration.hint"])

    def test_a_lost_answer_makes_no_second_client(self):
        key = key_named("lost")
        message = Registration(key, certificate(key), "LOST-1").message()
        first = post(self.sim, message)
        again = post(self.sim, message)
        self.assertEqual(attribute(first.xml, "SMSID"), attribute(again.xml, "SMSID"))
        self.assertEqual((self.sim.last_verdict()["verdict"], self.sim.last_verdict()["warnings"][0]["code"]), ("repeat", "message.repeat"))
        changed = Registration(key, certificate(key), "LOST-2").message()
        changed.id = message.id
        post(self.sim, changed)
        self.assertEqual([v["code"] for v in self.sim.last_verdict()["violations"]], ["message.id_reused"])

    def test_one_key_may_serve_several_clients(self):
        key = key_named("shared")
        der = certificate(key)
        ids = {attribute(self.register(key, der, f"SHARED-{i}").xml, "SMSID") for i in range(3)}
        self.assertEqual(len(ids), 3)

    def test_a_proxy_signs_for_its_clients(self):
        proxy = key_named("proxy")
        sms_id = self.sim.admin("POST", "/mp/proxies", {"certificate": certificate(proxy).hex()})["smsid"]
        own = key_named("behind")
        request = Registration(own, certificate(own), "BEHIND-1")
        request.key = proxy
        request.agent = '<AgentInformation AgentIdentity="a" AgentVersion="1" AgentType="8" />'
        request.signature_attributes = f' SMSID="{sms_id}"'
        reply = post(self.sim, request.message())
        self.assertEqual(status_of(reply), "1")
        client = Client(self.sim, "BEHIND-1", proxy, register=False)
        client.sms_id = attribute(reply.xml, "SMSID")
        post(self.sim, client.ddr())
        self.assertEqual(self.sim.last_verdict()["verdict"], "accepted")

    def test_z_the_number_of_clients_is_bounded(self):
        key = key_named("many")
        der = certificate(key)
        replies = [self.register(key, der, f"MANY-{i}") for i in range(14)]
        self.assertEqual(status_of(replies[-1]), "2")
        self.assertEqual([v["code"] for v in self.sim.last_verdict()["violations"]], ["registration.too_many"])
        self.assertEqual(self.sim.admin("GET", "/mp/clients")["total"], 12)


class Order(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator()

    @classmethod
    def tearDownClass(cls):
        cls.sim.stop()

    def verdict(self, message):
        post(self.sim, message)
        line = self.sim.last_verdict()
        return line["verdict"], sorted({v["code"] for v in line["violations"]})

    def test_hardware_versions_rise_strictly(self):
        client = Client(self.sim, "ORDER-1")
        refused = ("refused", ["report.version_order"])
        accepted = ("accepted", [])
        self.assertEqual(self.verdict(client.hinv_delta("1.1")), refused)  # nothing to build on
        self.assertEqual(self.verdict(client.hinv_full("1.1")), refused)
        self.assertEqual(self.verdict(client.hinv_full("1.0")), accepted)
        self.assertEqual(self.verdict(client.hinv_full("1.0")), refused)
        self.assertEqual(self.verdict(client.hinv_delta("1.2")), refused)
        self.assertEqual(self.verdict(client.hinv_delta("1.0")), refused)
        self.assertEqual(self.verdict(client.hinv_delta("1.1")), accepted)
        self.assertEqual(self.verdict(client.hinv_delta("1.1")), refused)
        self.assertEqual(self.verdict(client.hinv_delta("2.2")), refused)
        self.assertEqual(self.verdict(client.hinv_full("5.0")), accepted)  # any larger major
        self.assertEqual(self.verdict(client.hinv_delta("5.1")), accepted)
        self.assertEqual(self.verdict(client.hinv_full("4.0")), refused)

    def test_discovery_may_repeat_its_version_but_never_fall(self):
        client = Client(self.sim, "ORDER-2")
        self.assertEqual(self.verdict(client.ddr("3.0")), ("accepted", []))
        self.assertEqual(self.verdict(client.ddr("3.0")), ("accepted", []))
        self.assertEqual(self.verdict(client.ddr("2.0")), ("refused", ["report.version_order"]))
        self.assertEqual(self.verdict(client.ddr("3.1")), ("refused", ["report.version_order"]))

    def test_serial_numbers_rise_over_messages(self):
        client = Client(self.sim, "ORDER-3")
        self.assertEqual(self.verdict(client.state(1)), ("accepted", []))
        self.assertEqual(self.verdict(client.state(2)), ("refused", ["state.serial_order"]))
        self.assertEqual(self.verdict(client.state(3)), ("accepted", []))
        self.assertEqual(self.sim.last_verdict()["warnings"], [])
        self.assertEqual(self.verdict(client.state(9)), ("accepted", []))
        self.assertEqual([w["code"] for w in self.sim.last_verdict()["warnings"]], ["state.serial_gap"])

    def test_a_message_sent_again_is_recognised_and_not_applied_twice(self):
        client = Client(self.sim, "ORDER-4")
        for message in (client.state(1), client.hinv_full("1.0"), client.hinv_delta("1.1")):
            post(self.sim, message)
            reply = post(self.sim, message)
            line = self.sim.last_verdict()
            self.assertEqual((line["verdict"], line["violations"], line["warnings"][0]["code"]), ("repeat", [], "message.repeat"))
            self.assertEqual((reply.status, reply.body), (200, b""))
        picture = self.sim.admin("GET", f"/mp/clients/{client.sms_id}")
        self.assertEqual((picture["state_messages"], picture["versions"]["hardware"], picture["repeats"]), (2, "1.1", 3))
        other = client.hinv_delta("1.2")
        other.id = message.id
        self.assertEqual(self.verdict(other), ("refused", ["message.id_reused"]))

    def test_a_refused_message_may_come_again_with_the_same_id(self):
        client = Client(self.sim, "ORDER-5")
        message = client.ddr()
        message.signature = "00" * 256
        self.assertEqual(self.verdict(message)[0], "refused")
        message.signature = None
        self.assertEqual(self.verdict(message), ("accepted", []))

    def test_a_delta_is_held_against_the_rows_there_are(self):
        client = Client(self.sim, "ORDER-6")
        post(self.sim, client.hinv_full("1.0"))
        post(self.sim, client.hinv_delta("1.1"))
        # The sample deletes a package the sample's full report does not hold.
        self.assertEqual([w["code"] for w in self.sim.last_verdict()["warnings"]], ["instance.row_unknown"])
        post(self.sim, client.hinv_delta("1.2"))
        self.assertIn("instance.row_exists", [w["code"] for w in self.sim.last_verdict()["warnings"]])

    def test_a_resync_goes_out_with_policy_until_a_full_report_answers_it(self):
        client = Client(self.sim, "ORDER-7")
        post(self.sim, client.hinv_full("1.0"))
        self.assertNotIn("B1}", post(self.sim, client.policy()).xml)
        self.sim.admin("POST", "/mp/resync", {"smsid": client.sms_id, "kind": "hardware"})
        reply = post(self.sim, client.policy())
        self.assertIn("{0D0E0F00-0000-4000-8000-0000000000B1}", reply.xml)
        path = [p for p in re.findall(r"<mp>(/SMS_MP/\.sms_pol\?[^\]]*)\]\]>", reply.xml) if "B1}" in p][0]
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=PATIENCE_S)
        connection.request("GET", path)
        self.assertIn("<value>Resync</value>", connection.getresponse().read().decode("utf-16"))
        connection.close()
        post(self.sim, client.hinv_delta("1.1"))
        self.assertIn("B1}", post(self.sim, client.policy()).xml)
        post(self.sim, client.hinv_full("2.0"))
        self.assertNotIn("B1}", post(self.sim, client.policy()).xml)


class Restart(unittest.TestCase):
    def test_clients_versions_serials_and_ids_survive(self):
        with tempfile.TemporaryDirectory() as folder:
            sim = Simulator(folder=folder)
            client = Client(sim, "AGAIN-1")
            sent = client.state(1)
            post(sim, sent)
            post(sim, client.hinv_full("3.0"))
            numbers = [line["number"] for line in sim.verdicts()]
            pem = (pathlib.Path(folder) / "site-signing.pem").read_bytes()
            sim.process.kill()  # no goodbye
            sim.process.wait()
            sim.process.stdout.close()
            with Simulator(folder=folder) as sim:
                client.simulator = sim
                post(sim, sent)
                self.assertEqual(sim.last_verdict()["verdict"], "repeat")
                post(sim, client.state(1))
                self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["state.serial_order"])
                post(sim, client.hinv_full("3.0"))
                self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["report.version_order"])
                self.assertEqual([line["number"] for line in sim.verdicts()], numbers + [numbers[-1] + i for i in (1, 2, 3)])
                self.assertEqual((pathlib.Path(folder) / "site-signing.pem").read_bytes(), pem)

    def test_a_damaged_line_is_set_aside(self):
        with tempfile.TemporaryDirectory() as folder:
            with Simulator(folder=folder) as sim:
                client = Client(sim, "AGAIN-2")
            with open(pathlib.Path(folder) / "clients.jsonl", "a") as file:
                file.write('{"client": {"smsid": "GUI\n')
            with Simulator(folder=folder) as sim:
                client.simulator = sim
                post(sim, client.ddr())
                self.assertEqual(sim.last_verdict()["verdict"], "accepted")


class FaultsOnTheWire(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator()
        cls.client = Client(cls.sim, "FAULT-1")

    @classmethod
    def tearDownClass(cls):
        cls.sim.stop()

    def setUp(self):
        self.sim.admin("DELETE", "/mp/faults")

    def fault(self, **what):
        return self.sim.admin("POST", "/mp/faults", what)

    def count(self):
        return len(self.sim.verdicts())

    def test_503_twice_then_accepts(self):
        self.fault(kind="status", status=503, retry_after_s=7, count=2)
        before = self.count()
        message = self.client.ddr()
        for _ in range(2):
            reply = post(self.sim, message)
            self.assertEqual((reply.status, reply.headers["Retry-After"]), (503, "7"))
        self.assertEqual(self.count(), before)  # nothing was judged
        self.assertEqual(post(self.sim, message).status, 200)
        self.assertEqual(self.sim.last_verdict()["verdict"], "accepted")
        self.assertEqual(self.sim.admin("GET", "/mp/faults"), [])

    def test_one_endpoint_only(self):
        self.fault(kind="status", status=500, endpoint="MP_HinvEndpoint")
        self.assertEqual(post(self.sim, self.client.ddr()).status, 200)
        self.assertEqual(post(self.sim, self.client.hinv_full("9.0")).status, 500)
        self.sim.admin("DELETE", "/mp/faults")
        self.fault(kind="status", status=500, endpoint="/ccm_system/request", count=1)
        self.assertEqual(post(self.sim, self.client.ddr()).status, 500)

    def test_dropped_connections(self):
        for kind in ("drop_before_read", "drop_after_read", "drop_reply"):
            with self.subTest(kind):
                self.fault(kind=kind, count=1)
                before = self.count()
                message = self.client.ddr()
                with self.assertRaises((http.client.RemoteDisconnected, ConnectionError)):
                    post(self.sim, message)
                self.assertEqual(self.count() - before, 1 if kind == "drop_reply" else 0)
                post(self.sim, message)
                self.assertEqual(self.sim.last_verdict()["verdict"], "repeat" if kind == "drop_reply" else "accepted")

    def test_an_answer_cut_in_the_middle(self):
        self.fault(kind="close_mid_reply", count=1)
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            post(self.sim, self.client.policy())
        self.assertEqual(self.sim.last_verdict()["verdict"], "accepted")

    def test_a_slow_answer_and_a_trickle(self):
        self.fault(kind="latency", latency_ms=300, count=1)
        started = time.monotonic()
        post(self.sim, self.client.ddr())
        self.assertGreaterEqual(time.monotonic() - started, 0.3)
        self.fault(kind="trickle", latency_ms=5, bytes=40, count=1)
        self.assertIn("ReplyAssignments", post(self.sim, self.client.policy()).xml)

    def test_an_empty_answer_applies_nothing(self):
        self.fault(kind="empty", count=1)
        before = self.count()
        reply = post(self.sim, self.client.ddr())
        self.assertEqual((reply.status, reply.body, self.count()), (200, b"", before))

    def test_registrations_answered_as_told(self):
        key = key_named("told")
        for status, expected in ((2, "2"), (3, "3"), (-1, "2")):
            self.fault(kind="registration", status=status, count=1)
            reply = post(self.sim, Registration(key, certificate(key), "TOLD-1").message())
            self.assertEqual((status_of(reply), attribute(reply.xml, "SMSID")), (expected, None))
            if status == -1:
                self.assertEqual(attribute(reply.xml, "ApprovalStatus"), "-1")
        self.assertEqual(status_of(post(self.sim, Registration(key, certificate(key), "TOLD-1").message())), "1")

    def test_nonsense_is_refused(self):
        for what in ({}, {"kind": "meteor"}, {"kind": "status", "status": 5}, {"kind": "latency", "latency_ms": -1}, {"kind": "latency", "latency_ms": 10**9},
                     {"kind": "empty", "probability": 2}, {"kind": "empty", "probability": "often"}, {"kind": "empty", "colour": 1}, {"kind": "registration", "status": 7}):
            with self.subTest(what):
                self.assertEqual(self.sim.admin("POST", "/mp/faults", what, expect=400)["code"], "fault.syntax")
        for _ in range(64):
            self.fault(kind="latency", latency_ms=0)
        self.assertEqual(self.sim.admin("POST", "/mp/faults", {"kind": "empty"}, expect=400)["code"], "fault.too_many")

    def test_a_chance_of_nothing_never_hits(self):
        self.fault(kind="status", status=500, probability=0)
        self.assertEqual(post(self.sim, self.client.ddr()).status, 200)


class Switches(unittest.TestCase):
    def test_a_check_can_be_a_warning_or_off(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "checks.json"
            file.write_text(json.dumps({"auth.payload_signature_byte_order": "warn"}))
            with Simulator("--checks", str(file), "--check", "report.format=off", "--check", "envelope.target_host=fail") as sim:
                client = Client(sim)
                message = client.ddr()
                message.signature_order = "big"
                message.body = message.body.replace("<Format>1.1", "<Format>9")
                post(sim, message)
                line = sim.last_verdict()
                self.assertEqual((line["verdict"], [w["code"] for w in line["warnings"]]), ("accepted", ["auth.payload_signature_byte_order"]))
                self.assertEqual(line["signature"], "BE+OID")
                message = client.ddr()
                message.elements["TargetHost"] = "other.example.test"
                post(sim, message)
                self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["envelope.target_host"])

    def test_an_unreadable_message_is_refused_whatever_is_off(self):
        with Simulator("--check", "mime.*=off", "--check", "zlib.*=off", "--check", "body.*=off", "--check", "envelope.*=off") as sim:
            client = Client(sim)
            for change in (lambda m: setattr(m, "wire_edit", lambda d: d[:50]), lambda m: setattr(m, "compress", False), lambda m: setattr(m, "msg", "<a>")):
                message = client.ddr()
                change(message)
                self.assertEqual(post(sim, message).body, b"")
                self.assertEqual(sim.last_verdict()["verdict"], "refused")

    def test_wrong_usage_ends_with_2(self):
        for arguments in (["--check", "no.such=off"], ["--check", "report.format=maybe"], ["--policy-date", "soon"], ["--https-only"], ["--nonsense"]):
            with self.subTest(arguments), tempfile.TemporaryDirectory() as folder:
                done = subprocess.run([os.environ["GREENGATE_SIM"], "mp", "--dir", folder, *arguments], capture_output=True, timeout=PATIENCE_S)
                self.assertEqual(done.returncode, 2, done.stderr)

    def test_an_accepted_post_may_be_answered_with_a_header_part(self):
        with Simulator("--post-reply", "header") as sim:
            reply = post(sim, Client(sim).ddr())
            self.assertIn("<CorrelationID>{", reply.msg)
            self.assertIsNone(reply.xml)

    def test_file_type_may_stand_in_the_hook(self):
        with Simulator("--file-type-form", "hookprop") as sim:
            client = Client(sim)
            post(sim, client.state())
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["envelope.file_type_missing"])
            message = client.state()
            message.file_type = None
            message.auth["FileType"] = "SMX"
            post(sim, message)
            self.assertEqual(sim.last_verdict()["verdict"], "accepted")

    def test_the_policy_s_date_bounds_the_update_time(self):
        with Simulator("--policy-date", "2026-01-01T00:00:00Z") as sim:
            client = Client(sim)
            post(sim, client.ddr())
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["report.update_time_policy"])

    def test_evidence_of_lines_and_of_none(self):
        with Simulator("--evidence", "lines") as sim:
            post(sim, Client(sim).ddr())
            self.assertEqual(len(sim.verdicts()), 3)
            self.assertFalse((sim.dir / "messages").exists())
        with Simulator("--evidence", "none", "--threads", "3") as sim:
            client = Client(sim)
            post(sim, client.ddr())
            self.assertFalse((sim.dir / "verdicts.jsonl").exists())
            self.assertEqual([m["verdict"] for m in sim.admin("GET", "/mp/messages?since=1")], ["accepted", "accepted"])
            stats = sim.admin("GET", "/mp/stats")
            self.assertEqual((stats["accepted"], stats["endpoints"]["MP_DdrEndpoint"]["accepted"], stats["clients"]), (3, 1, 1))

    def test_limits_can_be_set(self):
        with Simulator("--max-body", "9000", "--max-inflated", "10000") as sim:
            client = Client(sim)
            message = client.ddr()
            message.tail = b"x" * 10000
            post(sim, message)
            self.assertIn("zlib.too_large", [v["code"] for v in sim.last_verdict()["violations"]])
            self.assertTrue(raw_exchange(sim, b"CCM_POST /ccm_system/request HTTP/1.1\r\nContent-Length: 9001\r\n\r\n" + b"x" * 9001).startswith(b"HTTP/1.1 413 "))

    def test_windows_authentication(self):
        with Simulator("--windows-auth", "challenge", "--approval", "manual") as sim:
            key = key_named("client")
            der = certificate(key)
            message = Registration(key, der).message()
            reply = post(sim, message, path="/ccm_system_windowsauth/request")
            self.assertEqual((reply.status, reply.headers["WWW-Authenticate"]), (401, "Negotiate"))
            reply = post(sim, message, path="/ccm_system_windowsauth/request", headers={"Authorization": "Negotiate AAAA"})
            client = Client(sim, key=key, register=False)
            client.der = der
            client.sms_id = attribute(reply.xml, "SMSID")
            self.assertEqual(client.confirm(), "0")  # needs no operator


class Tls(unittest.TestCase):
    def exchange(self, sim, message, files=None):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if files:
            context.load_cert_chain(*files)
        connection = http.client.HTTPSConnection("127.0.0.1", sim.ready["mp_tls_port"], timeout=PATIENCE_S, context=context)
        connection.request("CCM_POST", "/ccm_system/request", message.wire(), {"Content-Type": f'multipart/mixed; boundary="{BOUNDARY}"'})
        response = connection.getresponse()
        reply = Reply(response.status, response.headers, response.read())
        connection.close()
        return reply

    def test_https_and_its_403s(self):
        key = key_named("client")
        with tempfile.TemporaryDirectory() as folder:
            der = certificate(key)
            chain, private = pathlib.Path(folder) / "c.pem", pathlib.Path(folder) / "k.pem"
            chain.write_bytes(x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM))
            private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            with Simulator("--tls", "--https-only", "--require-client-certificate") as sim:
                self.assertEqual(post(sim, Registration(key, der).message()).status, 403)
                self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["transport.http_forbidden"])
                self.assertEqual(self.exchange(sim, Registration(key, der).message()).status, 403)
                self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["transport.client_certificate"])
                reply = self.exchange(sim, Registration(key, der).message(), (chain, private))
                self.assertEqual(status_of(reply), "1")
            stranger = key_named("stranger")
            ca = pathlib.Path(folder) / "ca.pem"
            ca.write_bytes(x509.load_der_x509_certificate(certificate(stranger, "Another CA")).public_bytes(serialization.Encoding.PEM))
            with Simulator("--tls", "--require-client-certificate", "--client-ca", str(ca)) as sim:
                self.assertEqual(self.exchange(sim, Registration(key, der).message(), (chain, private)).status, 403)


class Hostile(unittest.TestCase):
    def test_a_connection_that_ends_in_the_middle_is_noted_and_harms_nobody(self):
        with Simulator() as sim:
            client = Client(sim)
            data = b"CCM_POST /ccm_system/request HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc"
            with socket.create_connection(("127.0.0.1", sim.port), PATIENCE_S) as line:
                line.sendall(data)
                line.shutdown(socket.SHUT_WR)
                self.assertEqual(line.recv(100), b"")
            deadline = time.monotonic() + PATIENCE_S
            while sim.last_verdict()["violations"] == [] and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual([v["code"] for v in sim.last_verdict()["violations"]], ["transport.cut_off"])
            post(sim, client.ddr())
            self.assertEqual(sim.last_verdict()["verdict"], "accepted")

    def test_a_kept_connection_carries_many_messages_and_pipelined_ones(self):
        with Simulator() as sim:
            client = Client(sim)
            requests = b""
            for _ in range(5):
                body = client.ddr().wire()
                requests += (f'CCM_POST /ccm_system/request HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/mixed; boundary="{BOUNDARY}"\r\n'
                             f"Content-Length: {len(body)}\r\n\r\n").encode() + body
            with socket.create_connection(("127.0.0.1", sim.port), PATIENCE_S) as line:
                line.sendall(requests)
                received = b""
                while received.count(b"HTTP/1.1 200") < 5:
                    received += line.recv(65536)
            self.assertEqual([v["verdict"] for v in sim.verdicts()[-5:]], ["accepted"] * 5)

    def test_random_damage_never_stops_it(self):
        import random
        seed = int(os.environ.get("GREENGATE_SEED", "20260115"))
        print(f"seed {seed}")
        chance = random.Random(seed)
        with Simulator("--evidence", "lines") as sim:
            client = Client(sim)
            good = client.ddr().wire()
            head = f'CCM_POST /ccm_system/request HTTP/1.1\r\nConnection: close\r\nContent-Type: multipart/mixed; boundary="{BOUNDARY}"\r\nContent-Length: '.encode()
            for _ in range(300):
                data = bytearray(good)
                for _ in range(chance.randint(1, 8)):
                    at = chance.randrange(len(data))
                    kind = chance.randrange(3)
                    if kind == 0:
                        data[at] = chance.randrange(256)
                    elif kind == 1:
                        del data[at:at + chance.randint(1, 20)]
                    else:
                        data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 20)))
                raw_exchange(sim, head + str(len(data)).encode() + b"\r\n\r\n" + bytes(data))
            post(sim, client.ddr())
            self.assertEqual(sim.last_verdict()["verdict"], "accepted")

    def test_several_threads_at_once(self):
        with Simulator("--threads", "3", "--evidence", "lines") as sim:
            clients = [Client(sim, f"MANY-{i}", key_named(f"k{i % 3}")) for i in range(6)]

            def send(client):
                for first in range(1, 40, 2):
                    post(sim, client.state(first))
            threads = [threading.Thread(target=send, args=(c,)) for c in clients]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            stats = sim.admin("GET", "/mp/stats")
            self.assertEqual((stats["endpoints"]["MP_RelayEndpoint"]), {"accepted": 120, "refused": 0, "repeats": 0})
            numbers = [v["number"] for v in sim.verdicts()]
            self.assertEqual(len(numbers), len(set(numbers)))

    def test_the_admin_door_refuses_nonsense(self):
        with Simulator() as sim:
            self.assertEqual(sim.admin("GET", "/nowhere", expect=404)["code"], "admin.path")
            self.assertEqual(sim.admin("GET", "/mp/nowhere", expect=404)["code"], "admin.path")
            self.assertEqual(sim.admin("GET", "/mp/clients/GUID:X", expect=404)["code"], "client.unknown")
            self.assertEqual(sim.admin("POST", "/mp/proxies", {"certificate": "00"}, expect=400)["code"], "certificate.der")
            self.assertEqual(sim.admin("GET", "/health"), {"ok": True})
            answer = raw_exchange(sim, b"POST /mp/approve HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", sim.admin_port)
            self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer[:40])


if __name__ == "__main__":
    unittest.main()
