"""The token services keep rules S-1 to S-6."""

import json
import ssl
import unittest

from windows_sim import SAMPLE_PFN, Line, Sim, ask_token, form, push, token, token_form

ENTRA_PFN = "fabrikam.sdkapp_0ab1cd2ef3gh4"


class TokenService(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = Sim("wns", "--clock", "held", "--start", "2026-01-15T09:30:00Z")
        cls.sim.do("wns.app", pfn=ENTRA_PFN, auth="entra")
        cls.legacy = cls.sim.app
        cls.entra = cls.sim.app_of(ENTRA_PFN)

    @classmethod
    def tearDownClass(cls):
        assert cls.sim.close() == 0

    def setUp(self):
        self.sim.do("wns.fault.clear")

    def error(self, app, body=None, **more):
        answer = ask_token(self.sim, app, body, **more)
        return answer.status, json.loads(answer.body)["error"]

    def test_s1_every_field_is_needed_and_comes_once(self):
        for name in ("grant_type", "client_id", "client_secret", "scope"):
            self.assertEqual(self.error(self.legacy, token_form(self.legacy, **{name: None})), (400, "invalid_request"), name)
        twice = token_form(self.legacy) + b"&scope=notify.windows.com"
        self.assertEqual(self.error(self.legacy, twice), (400, "invalid_request"))
        self.assertEqual(self.error(self.legacy, token_form(self.legacy, resource="x")), (400, "invalid_request"))

    def test_s1_only_a_form_is_read(self):
        body = json.dumps({"grant_type": "client_credentials"}).encode()
        self.assertEqual(self.error(self.legacy, body, headers={"Content-Type": "application/json"}), (400, "invalid_request"))
        self.assertEqual(self.error(self.legacy, token_form(self.legacy), headers={"Content-Type": "text/plain"}), (400, "invalid_request"))
        self.assertEqual(self.error(self.legacy, b"grant_type=%zz"), (400, "invalid_request"))

    def test_s1_wrong_grant_and_wrong_scope_have_their_own_words(self):
        self.assertEqual(self.error(self.legacy, token_form(self.legacy, grant_type="password")), (400, "unsupported_grant_type"))
        self.assertEqual(self.error(self.legacy, token_form(self.legacy, scope="https://wns.windows.com/.default")), (400, "invalid_scope"))
        self.assertEqual(self.error(self.entra, token_form(self.entra, scope="notify.windows.com")), (400, "invalid_scope"))

    def test_s2_a_legacy_id_has_its_prefix_and_is_known(self):
        bare = self.legacy["client_id"].removeprefix("ms-app://")
        self.assertEqual(self.error(self.legacy, token_form(self.legacy, client_id=bare)), (400, "invalid_client"))
        self.assertEqual(self.error(self.legacy, token_form(self.legacy, client_id="ms-app://S-1-15-2-1")), (400, "invalid_client"))

    def test_s2_a_wrong_secret_is_400_there_and_401_here(self):
        self.assertEqual(self.error(self.legacy, token_form(self.legacy, client_secret="no")), (400, "invalid_client"))
        self.assertEqual(self.error(self.entra, token_form(self.entra, client_secret="no")), (401, "invalid_client"))

    def test_s2_an_unencoded_secret_is_another_secret(self):
        self.assertIn("+", self.legacy["client_secret"])
        raw = (f"grant_type=client_credentials&client_id={self.legacy['client_id']}&client_secret={self.legacy['client_secret']}"
               "&scope=notify.windows.com").encode()
        self.assertEqual(ask_token(self.sim, self.legacy, raw).status, 400)

    def test_s3_a_closed_endpoint_refuses_the_request(self):
        self.sim.do("wns.app", pfn="closed.app_1", closed=True)
        app = self.sim.app_of("closed.app_1")
        self.assertEqual(self.error(app), (400, "invalid_request"))

    def test_s4_the_legacy_answer_has_a_number_and_the_other_a_text(self):
        legacy = ask_token(self.sim, self.legacy)
        self.assertEqual((legacy.status, legacy.header("Cache-Control"), legacy.header("Content-Type")), (200, "no-store", "application/json"))
        body = json.loads(legacy.body)
        self.assertEqual((body["token_type"], body["expires_in"]), ("bearer", 86400))
        entra = json.loads(ask_token(self.sim, self.entra).body)
        self.assertEqual((entra["token_type"], entra["expires_in"], entra["ext_expires_in"]), ("Bearer", "86399", "86399"))
        self.assertEqual(int(entra["expires_on"]) - int(entra["not_before"]), 86399 + 300)

    def test_s4_a_flag_leaves_the_expiry_out(self):
        self.sim.do("wns.set", omit_expires_in=True)
        try:
            self.assertEqual(set(json.loads(ask_token(self.sim, self.legacy).body)), {"token_type", "access_token"})
        finally:
            self.sim.do("wns.set", omit_expires_in=False)

    def test_s5_each_call_makes_a_token_and_the_older_ones_live_on(self):
        uri = self.sim.do("wns.channel.issue", pfn=SAMPLE_PFN, device="s5")["uri"]
        first, second = token(self.sim), token(self.sim)
        self.assertNotEqual(first, second)
        self.assertEqual([push(self.sim, uri, first).status, push(self.sim, uri, second).status], [200, 200])
        self.sim.do("wns.set", single_active=True)
        try:
            third = token(self.sim)
            self.assertEqual([push(self.sim, uri, t).status for t in (first, second, third)], [401, 401, 200])
        finally:
            self.sim.do("wns.set", single_active=False)

    def test_s6_faults_of_the_service(self):
        def after(**fault):
            self.sim.do("wns.fault", on="token", **fault)
            return ask_token(self.sim, self.legacy)

        busy = after(status=503, retry_after=20)
        self.assertEqual((busy.status, busy.header("Retry-After"), busy.header("Content-Length")), (503, "20", "0"))
        self.assertEqual(after(status=429).status, 429)
        away = after(kind="redirect")
        self.assertEqual((away.status, away.header("Location")), (307, "https://attacker.example/collect"))
        with self.assertRaises(ValueError):
            json.loads(after(kind="broken_json").body)
        self.assertGreater(len(after(kind="oversized", bytes=70_000).body), 65_536)
        with self.assertRaises((EOFError, ConnectionError)):
            after(kind="close")
        self.assertEqual(json.loads(after(kind="empty_token").body)["access_token"], "")
        self.assertEqual(json.loads(after(kind="wrong_type").body)["token_type"], "mac")
        self.assertEqual(json.loads(after(kind="expires", word="soon").body)["expires_in"], "soon")
        self.assertEqual(ask_token(self.sim, self.legacy).status, 200)  # each came once

    def test_s6_a_delay_is_of_simulated_time(self):
        self.sim.do("wns.fault", on="token", kind="delay", delay_s=3600)
        with Line(self.sim, "login.live.com", timeout=3) as line:
            body = token_form(self.legacy)
            line.send(b"POST /accesstoken.srf HTTP/1.1\r\nHost: login.live.com\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            # The request arrives by itself; the hour passes because we say so.
            while self.sim.get("/faults")["faults"][0]["hits"] == 0:
                pass
            self.sim.do("clock.advance", hours=1)
            self.assertEqual(line.read().status, 200)

    def test_a_fault_leaves_no_token_behind(self):
        before = self.sim.get("/counters")["apps"][SAMPLE_PFN]["tokens"]
        self.sim.do("wns.fault", on="token", status=503)
        ask_token(self.sim, self.legacy)
        self.assertEqual(self.sim.get("/counters")["apps"][SAMPLE_PFN]["tokens"], before)

    def test_paths_and_methods(self):
        self.assertEqual(ask_token(self.sim, self.legacy, path="/elsewhere").status, 404)
        self.assertEqual(ask_token(self.sim, self.legacy, method="PUT").status, 405)
        self.assertEqual(ask_token(self.sim, self.entra, path="/wrong-tenant/oauth2/v2.0/token").status, 400)

    def test_a_token_dies_with_its_time(self):
        uri = self.sim.do("wns.channel.issue", pfn=SAMPLE_PFN, device="dies")["uri"]
        one = token(self.sim)
        self.sim.do("clock.advance", s=86_399)
        self.assertEqual(push(self.sim, uri, one).status, 200)
        self.sim.do("clock.advance", s=1)
        self.assertEqual(push(self.sim, uri, one).status, 401)

    def test_a_rotated_secret_ends_the_old_one_unless_told_otherwise(self):
        self.sim.do("wns.app", pfn="rotating.app_1")
        app = self.sim.app_of("rotating.app_1")
        new = self.sim.do("wns.app.rotate_secret", pfn="rotating.app_1", keep_old=True)["client_secret"]
        self.assertEqual(ask_token(self.sim, app).status, 200)
        self.assertEqual(ask_token(self.sim, {**app, "client_secret": new}).status, 200)
        newer = self.sim.do("wns.app.rotate_secret", pfn="rotating.app_1")["client_secret"]
        self.assertEqual(self.error(app), (400, "invalid_client"))
        self.assertEqual(ask_token(self.sim, {**app, "client_secret": newer}).status, 200)


class Names(unittest.TestCase):
    """The name in the handshake chooses certificate and service."""

    @classmethod
    def setUpClass(cls):
        cls.sim = Sim("wns", "--clock", "held")

    @classmethod
    def tearDownClass(cls):
        assert cls.sim.close() == 0

    def test_each_name_has_its_own_certificate(self):
        for host, names in (("login.live.com", ["login.live.com"]), ("login.microsoftonline.com", ["login.microsoftonline.com"]),
                            ("wns2-any.notify.windows.com", ["*.notify.windows.com", "notify.windows.com"])):
            with Line(self.sim, host) as line:
                shown = [value for _, value in line.tls.getpeercert()["subjectAltName"]]
                self.assertEqual(shown, names)

    def test_a_foreign_name_is_not_served(self):
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            Line(self.sim, "attacker.example")

    def test_bad_certificates_are_told_by_a_client_that_looks(self):
        for kind in ("wrong_name", "expired_certificate", "foreign_certificate"):
            fault = self.sim.do("wns.fault", kind=kind, host="wns2-sim1p.notify.windows.com")["id"]
            with self.assertRaises(ssl.SSLCertVerificationError, msg=kind):
                Line(self.sim, "wns2-sim1p.notify.windows.com")
            Line(self.sim, "wns2-sim2p.notify.windows.com").close()
            self.sim.do("wns.fault.clear", id=fault)

    def test_http2_is_never_agreed_on(self):
        with Line(self.sim, "wns2-sim1p.notify.windows.com", alpn=("h2", "http/1.1")) as line:
            self.assertEqual(line.protocol, "http/1.1")

    def test_secrets_are_only_in_files_for_the_owner(self):
        app = self.sim.app
        one = token(self.sim)
        uri = self.sim.do("wns.channel.issue", pfn=SAMPLE_PFN, device="quiet")["uri"]
        push(self.sim, uri, one)
        for path in self.sim.folder.rglob("*"):
            if path.is_file() and any(secret.encode() in path.read_bytes() for secret in (one, uri[30:], app["client_secret"])):
                self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)
        self.assertIn(b"Bearer " + one.encode(), b"".join(p.read_bytes() for p in (self.sim.folder / "wns-requests").iterdir()))

    def test_a_misspelt_verb_or_member_is_told(self):
        self.assertEqual(self.sim.refused("wns.fualt"), "verb.unknown")
        self.assertEqual(self.sim.refused("wns.set", cache_lfie_s=3), "verb.syntax")
        self.assertEqual(self.sim.refused("wns.fault", push_status=500, onec=True), "fault.syntax")
        self.assertEqual(self.sim.refused("wns.fault", kind="earthquake"), "fault.syntax")


if __name__ == "__main__":
    unittest.main()
