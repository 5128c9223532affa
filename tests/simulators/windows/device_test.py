"""Simulated devices keep rules S-20 to S-29, and are strict readers of what a DM server answers."""

import json
import pathlib
import tempfile
import unittest

from dm_server import URL, DmServer, command, item
from windows_sim import SAMPLE_PFN, Sim, push, token

DATA = pathlib.Path(__file__).resolve().parents[2] / "data" / "wns"


class Bench(unittest.TestCase):
    """A service, a DM server, and devices by name."""

    command = "windows"
    options = ()

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="greengate-windows-"))
        self.dm = DmServer(self.folder)
        self.addCleanup(self.dm.close)
        self.sim = Sim(self.command, "--clock", "held", "--start", "2026-01-15T09:30:00Z", "--seed", "7", "--poll", "480x0",
                       *self.dm.options(), *self.options, folder=self.folder)
        self.addCleanup(lambda: self.assertEqual(self.sim.close(), 0))
        self.dm.pfn = SAMPLE_PFN

    def enroll(self, name="d1", **more):
        return self.sim.do("device.enroll", device=name, **more).get("session")

    def known(self, name="d1"):
        return self.dm.device(self.sim.device(name)["device_id"])

    def session(self, name="d1", *commands, **more):
        """One more session, with these commands of the server; what became of it."""
        self.known(name).queue += commands
        return self.sim.do("device.session", device=name, **more)["session"]

    def codes(self, session):
        return [(c["verb"], c["status"]) for c in session["commands"]]

    def statuses(self, name="d1", message=-1):
        return [s["code"] for s in self.known(name).messages[message].statuses()]

    def push(self, name="d1", **changes):
        return push(self.sim, self.sim.device(name)["channel_uri"], token(self.sim), **changes)

    def count(self, name="d1"):
        return self.sim.device(name)["sessions"]["count"]

    def causes(self, name="d1"):
        return [s["cause"] for s in self.sim.sessions(name)]


class Registration(Bench):
    def test_s20_replace_gives_a_channel_in_the_same_session(self):
        session = self.enroll()
        self.assertEqual((session["outcome"], session["breaches"]), ("done", []))
        self.assertEqual(self.codes(session), [("Replace", 200), ("Get", 200), ("Get", 200)])
        device = self.known()
        self.assertRegex(device.channel_uri, r"^https://wns2-sim\dp\.notify\.windows\.com/\?token=.*%3d%3d$")
        self.assertEqual(device.push_status, "0")
        self.assertEqual(self.push().status, 200)

    def test_s20_an_unknown_pfn_a_revoked_one_and_a_missing_ticket(self):
        self.dm.pfn = None
        for name, pfn, status, prepare in (("d1", "nobody.knows_1", "1", None), ("d2", SAMPLE_PFN.upper(), "1", None),
                                           ("d3", SAMPLE_PFN, "2", {"msa_device_auth": True}), ("d4", "revoked.app_1", "3", None)):
            self.sim.do("wns.app", pfn="revoked.app_1", revoked=True)
            self.enroll(name)
            if prepare:
                self.sim.do("device.set", device=name, **prepare)
            session = self.session(name, self.dm.set_pfn(pfn))
            self.assertEqual(self.codes(session), [("Replace", 500), ("Get", 404), ("Get", 200)], name)
            self.assertEqual(self.known(name).push_status, status, name)

    def test_s20_without_the_service_in_reach_status_4_and_a_later_try(self):
        self.sim.do("device.enroll", device="d1", session=False)
        self.sim.do("device.set", device="d1", service_reachable=False)
        self.session()
        self.assertEqual((self.known().push_status, self.known().channel_uri), ("4", None))
        self.sim.do("device.set", device="d1", service_reachable=True)
        self.sim.do("clock.advance", hours=5)
        self.assertIn("renewal", self.causes())
        self.assertEqual(self.known().push_status, "0")

    def test_s20_an_old_build_may_hang_where_the_pfn_is_set(self):
        self.sim.do("device.enroll", device="d1", build="1511", session=False)
        self.sim.do("device.fault", device="d1", hang=True)
        self.assertEqual(self.session()["outcome"], "hung")
        self.assertEqual(len(self.known().messages), 1)

    def test_s21_add_of_what_is_there_is_418(self):
        self.enroll()
        session = self.session("d1", self.dm.set_pfn(SAMPLE_PFN, "Add"))
        self.assertEqual(self.codes(session)[0], ("Add", 418))
        self.assertEqual(self.known().push_status, "0")

    def test_s21_add_makes_the_missing_parent(self):
        self.dm.pfn = None
        self.enroll()
        self.assertEqual(self.codes(self.session("d1", self.dm.set_pfn(SAMPLE_PFN, "Add"))), [("Add", 200), ("Get", 200), ("Get", 200)])

    def test_s21_delete_unregisters(self):
        self.enroll()
        old = self.known().channel_uri
        session = self.session("d1", command("Delete", item(self.dm.push)))
        self.assertEqual(self.codes(session), [("Delete", 200), ("Get", 404), ("Get", 404)])
        self.assertEqual(push(self.sim, old, token(self.sim)).status, 410)

    def test_s21_absent_is_404_or_empty(self):
        self.dm.pfn = None
        self.enroll()
        self.assertEqual(self.codes(self.session()), [("Get", 404), ("Get", 404)])
        self.session("d1", command("Add", item(self.dm.push)))
        self.sim.do("device.set", device="d1", absent_style="empty")
        self.assertEqual(self.codes(self.session()), [("Get", 200), ("Get", 200)])
        self.assertEqual((self.known().channel_uri, self.known().push_status), ("", "4"))

    def test_a_setting_has_replace_need_its_node(self):
        self.dm.pfn = None
        self.enroll()
        self.sim.do("device.set", device="d1", replace_needs_node=True)
        self.assertEqual(self.codes(self.session("d1", self.dm.set_pfn(SAMPLE_PFN)))[0], ("Replace", 404))

    def test_s22_renewed_at_fifteen_days_in_a_session_of_its_own(self):
        self.enroll()
        old = self.known().channel_uri
        self.sim.do("clock.advance", days=14.99)
        self.assertNotIn("renewal", self.causes())
        self.sim.do("clock.advance", days=0.02)
        self.assertEqual(self.causes().count("renewal"), 1)
        self.assertNotEqual(self.known().channel_uri, old)
        self.assertEqual(push(self.sim, old, token(self.sim)).status, 200)
        self.sim.do("clock.advance", days=15)
        self.assertEqual(push(self.sim, old, token(self.sim)).status, 410)

    def test_s22_a_later_build_skips_without_network_and_tries_again_in_four_hours(self):
        self.enroll()
        self.sim.do("clock.advance", days=14)
        self.sim.do("device.offline", device="d1")
        self.sim.do("clock.advance", days=2)
        device = self.sim.device("d1")
        self.assertEqual(device["renewals"], 0)
        self.assertTrue(24 / 5 - 1 <= device["renewals_skipped"] <= 24 / 3 + 1, device["renewals_skipped"])
        self.sim.do("device.online", device="d1")
        self.sim.do("clock.advance", hours=5)
        self.assertEqual(self.causes().count("renewal"), 1)

    def test_s22_an_old_build_that_never_renews_shows_status_5_at_last(self):
        self.enroll(build="1511")
        self.sim.do("device.build", device="d1", build="1511", renewal="broken")
        self.sim.do("clock.advance", days=31)
        self.session()
        self.assertEqual((self.known().push_status, self.known().channel_uri), ("5", ""))
        self.session("d1", self.dm.set_pfn(SAMPLE_PFN))
        self.assertEqual(self.known().push_status, "0")


class Waking(Bench):
    def test_s23_a_push_is_followed_by_one_session_after_a_second(self):
        self.enroll()
        before = self.count()
        self.push()
        self.push()
        self.sim.do("clock.advance", s=0.9)
        self.assertEqual(self.count(), before)
        self.sim.do("clock.advance", s=0.1)
        self.assertEqual(self.count(), before + 1)
        self.sim.do("clock.advance", s=60)
        self.assertEqual((self.count(), self.causes()[-1]), (before + 1, "push"))

    def test_s23_queue_mode_waits_five_minutes(self):
        self.enroll()
        self.sim.do("device.set", device="d1", queue_mode=True)
        before = self.count()
        self.push()
        self.sim.do("clock.advance", s=299)
        self.assertEqual(self.count(), before)
        self.sim.do("clock.advance", s=1)
        self.assertEqual(self.count(), before + 1)

    def test_s23_without_a_way_to_the_server_status_7_until_a_session_went_well(self):
        self.enroll()
        self.sim.do("device.set", device="d1", server_reachable=False)
        self.push()
        self.sim.do("clock.advance", s=5)
        self.sim.do("device.set", device="d1", server_reachable=True)
        self.session()
        self.assertEqual(self.known().push_status, "7")
        self.session()
        self.assertEqual(self.known().push_status, "0")

    def test_s23_pushes_in_a_session_give_one_more_session(self):
        self.enroll()
        self.sim.do("device.session.open", device="d1")
        before = self.count()
        for _ in range(3):
            self.push()
        self.sim.do("clock.advance", s=10)
        self.assertEqual((self.count(), self.sim.device("d1")["sessions"]["running"]), (before, True))
        self.sim.do("device.session.resume", device="d1")
        self.sim.do("clock.advance", s=10)
        self.assertEqual((self.count(), self.causes()[-1]), (before + 1, "push"))

    def test_s24_nothing_marks_a_woken_session(self):
        self.enroll()
        self.push()
        self.sim.do("clock.advance", s=2)
        woken = self.sim.sessions("d1")[-1]
        self.session()
        self.sim.do("clock.advance", to="next_poll")
        asked, polled = self.sim.sessions("d1")[-2:]
        self.assertEqual([s["cause"] for s in (woken, asked, polled)], ["push", "user", "poll"])
        plain = [s["package1"].replace(f"<SessionID>{s['session_id']}<", "<SessionID><") for s in (woken, asked, polled)]
        self.assertEqual(plain[0], plain[1])
        self.assertEqual(plain[0], plain[2])
        self.assertEqual([r.get("MDM-GenericAlert") for r in self.dm.requests], [None] * len(self.dm.requests))

    def test_s24_a_setting_shows_the_other_alert(self):
        self.enroll()
        self.sim.do("device.set", device="d1", woken_alert="1200")
        self.push()
        self.sim.do("clock.advance", s=2)
        self.assertEqual(self.known().messages[-2].alerts(), ["1200", "1224"])
        self.session()
        self.assertEqual(self.known().messages[-2].alerts(), ["1201", "1224"])

    def test_s29_power_decides_what_a_push_does(self):
        self.enroll()
        for power, screen, priority, acts in (("mains", "off", "4", True), ("battery", "on", "4", True), ("battery", "off", "1", True),
                                              ("battery", "off", "2", False), ("battery", "off", None, False), ("battery", "off", "4", False)):
            self.sim.do("device.set", device="d1", power=power, screen=screen)
            before = self.count()
            self.push(headers={"X-WNS-PRIORITY": priority})
            self.sim.do("clock.advance", s=2)
            self.assertEqual(self.count() - before, 1 if acts else 0, (power, screen, priority))
            self.sim.do("device.set", device="d1", power="mains", screen="on")
            self.sim.do("clock.advance", s=2)
            self.assertEqual(self.count() - before, 1, (power, screen, priority))  # held until then

    def test_s29_battery_saver_closes_the_line_unless_the_user_exempts_us(self):
        self.enroll()
        before = self.count()
        self.sim.do("device.battery_saver", device="d1", on=True)
        answer = self.push()
        self.assertEqual((answer.header("X-WNS-Status"), answer.header("X-WNS-DeviceConnectionStatus")), ("received", "disconnected"))
        self.sim.do("clock.advance", s=60)
        self.assertEqual(self.count(), before)
        self.sim.do("device.battery_saver", device="d1", on=False)
        self.sim.do("clock.advance", s=2)
        self.assertEqual(self.count(), before + 1)
        self.sim.do("device.battery_saver", device="d1", on=True)
        self.sim.do("device.set", device="d1", exempt=True)
        self.assertEqual(self.push(headers={"X-WNS-PRIORITY": "4"}).header("X-WNS-DeviceConnectionStatus"), "connected")
        self.sim.do("clock.advance", s=2)
        self.assertEqual(self.count(), before + 1)
        self.push()
        self.sim.do("clock.advance", s=2)
        self.assertEqual(self.count(), before + 2)

    def test_a_metered_limit_closes_the_line_too(self):
        self.enroll()
        self.sim.do("device.set", device="d1", metered=True)
        self.assertEqual(self.push().header("X-WNS-DeviceConnectionStatus"), "disconnected")

    def test_a_device_may_ignore_its_pushes(self):
        self.enroll()
        self.sim.do("device.fault", device="d1", ignore_push=True)
        before = self.count()
        self.push()
        self.sim.do("clock.advance", hours=2)
        self.assertEqual(self.count(), before)


class Polls(Bench):
    def test_s25_three_sets_one_after_another(self):
        self.enroll(poll="15x2,60x1,1440x0")
        begin = self.sim.get("/clock")["now_ms"]
        self.sim.do("clock.advance", days=3)
        at = [(s["began_ms"] - begin) / 60_000 for s in self.sim.sessions("d1") if s["cause"] == "poll"]
        self.assertEqual(at, [15, 30, 90, 90 + 1440, 90 + 2880])

    def test_s25_the_server_changes_the_schedule(self):
        self.enroll()
        poll = "./Device/Vendor/MSFT/DMClient/Provider/FABRIKAM/Poll/"
        session = self.session("d1", command("Replace", item(poll + "IntervalForFirstSetOfRetries", "5", "int")),
                               command("Get", item(poll + "IntervalForFirstSetOfRetries")))
        self.assertEqual(self.codes(session)[:2], [("Replace", 200), ("Get", 200)])
        begin = self.sim.get("/clock")["now_ms"]
        self.assertEqual(self.sim.device("d1")["next_poll_ms"] - begin, 300_000)
        self.assertEqual(self.codes(self.session("d1", command("Replace", item(poll + "NumberOfFirstRetries", "many", "int"))))[0], ("Replace", 400))

    def test_s25_no_endless_set_means_a_day_and_none_is_invalid(self):
        self.enroll(poll="15x1,0x0,0x0")
        begin = self.sim.get("/clock")["now_ms"]
        self.sim.do("clock.advance", days=3)
        at = [(s["began_ms"] - begin) / 60_000 for s in self.sim.sessions("d1") if s["cause"] == "poll"]
        self.assertEqual(at, [15, 15 + 1440, 15 + 2880])

    def test_s25_three_retries_doubling_from_sixteen_seconds(self):
        self.sim.do("device.enroll", device="d1", session=False)
        times = []

        def fail(_):
            times.append(self.now())
            return 503, {}

        self.now = lambda: 0
        self.dm.http = fail
        self.sim.do("device.session", device="d1")
        self.assertEqual(len(times), 1)
        for wait in (16, 32, 64):
            before = len(times)
            self.sim.do("clock.advance", s=wait - 1)
            self.assertEqual(len(times), before)
            self.sim.do("clock.advance", s=1)
            self.assertEqual(len(times), before + 1)
        last = self.sim.sessions("d1")[-1]
        self.assertEqual((last["outcome"], last["http"]), ("http_503", [503] * 4))

    def test_s25_a_refusal_is_not_tried_again(self):
        self.sim.do("device.enroll", device="d1", session=False)
        self.dm.http = lambda _: (403, {})
        self.assertEqual(self.sim.do("device.session", device="d1")["session"]["outcome"], "http_403")

    def test_s25_429_waits_as_long_as_it_is_told(self):
        self.sim.do("device.enroll", device="d1", session=False)
        self.dm.http = lambda _: (429, {"Retry-After": "100"})
        self.sim.do("device.session", device="d1")
        self.sim.do("clock.advance", s=99)
        self.assertEqual(self.sim.sessions("d1")[-1]["http"], [429])
        self.dm.http = None
        self.sim.do("clock.advance", s=1)
        last = self.sim.sessions("d1")[-1]
        self.assertEqual((last["outcome"], last["http"], last["retry_after"]), ("done", [429, 200, 200], "100"))

    def test_s25_an_old_build_takes_429_for_any_failure(self):
        self.sim.do("device.enroll", device="d1", session=False)
        self.sim.do("device.set", device="d1", obeys_429=False)
        self.dm.http = lambda _: (429, {"Retry-After": "100"})
        self.sim.do("device.session", device="d1")
        self.sim.do("clock.advance", s=16)
        self.assertEqual(self.sim.sessions("d1")[-1]["http"], [429, 429])

    def test_no_network_no_poll(self):
        self.enroll()
        self.sim.do("device.offline", device="d1")
        before = self.count()
        self.sim.do("clock.advance", days=1)
        self.assertEqual((self.count(), self.sim.device("d1")["polls_missed"]), (before, 3))


class Commands(Bench):
    def one(self, *commands, **more):
        return self.codes(self.session("d1", *commands, **more))

    def setUp(self):
        super().setUp()
        self.dm.reads_channel = False
        self.enroll()

    def test_s26_defender(self):
        self.assertEqual(self.one(command("Exec", item("./Vendor/MSFT/Defender/Scan", "1"))), [("Exec", 202)])
        self.assertEqual(self.sim.device("d1")["quick_scan_time"], "")
        self.sim.do("clock.advance", s=120)
        self.assertEqual(self.sim.device("d1")["quick_scan_time"], "2026-01-15T09:32:00Z")
        self.assertEqual(self.one(command("Exec", item("./Vendor/MSFT/Defender/Scan", "2"))), [("Exec", 202)])
        self.session("d1", command("Get", item("./Vendor/MSFT/Defender/Health/ComputerState")))
        self.assertEqual(self.known().messages[-1].results(), {"./Vendor/MSFT/Defender/Health/ComputerState": ("int", "1")})
        self.assertEqual(self.one(command("Exec", item("./Vendor/MSFT/Defender/Scan", "3"))), [("Exec", 400)])
        before = self.sim.device("d1")["signature_version"]
        self.assertEqual(self.one(command("Exec", item("./Vendor/MSFT/Defender/UpdateSignature"))), [("Exec", 202)])
        self.sim.do("clock.advance", s=30)
        self.assertNotEqual(self.sim.device("d1")["signature_version"], before)

    def test_s26_a_reboot_takes_the_device_off_line(self):
        self.assertEqual(self.one(command("Exec", item("./Device/Vendor/MSFT/Reboot/RebootNow"))), [("Exec", 200)])
        self.assertEqual((self.sim.device("d1")["on"], self.sim.device("d1")["connected"]), (False, False))
        self.sim.do("clock.advance", s=90)
        self.assertTrue(self.sim.device("d1")["connected"])

    def test_s26_a_wipe_is_accepted_and_ends_the_enrolment(self):
        self.assertEqual(len(json.loads((self.folder / "enrolments.json").read_text())["devices"]), 1)
        self.assertEqual(self.one(command("Exec", item("./Device/Vendor/MSFT/RemoteWipe/doWipe"))), [("Exec", 202)])
        device = self.sim.device("d1")
        self.assertEqual((device["enrolled"], device["on"], device["channel_uri"]), (False, False, ""))
        self.assertEqual(json.loads((self.folder / "enrolments.json").read_text())["devices"], [])
        self.assertEqual(self.sim.refused("device.session", device="d1"), "device.busy")

    def test_s26_a_lock_is_for_phones(self):
        lock = command("Exec", item("./Vendor/MSFT/RemoteLock/Lock"))
        self.assertEqual(self.one(lock), [("Exec", 406)])
        self.sim.do("device.set", device="d1", edition="mobile")
        self.assertEqual(self.one(lock), [("Exec", 200)])
        self.sim.do("device.set", device="d1", pin=False)
        self.assertEqual(self.one(lock), [("Exec", 405)])
        self.sim.do("device.set", device="d1", edition="se")
        self.assertEqual(self.one(command("Exec", item("./Device/Vendor/MSFT/RemoteWipe/doWipe"))), [("Exec", 406)])

    def test_s27_tree_rules(self):
        for text, status in ((command("Get", item("/DevInfo/DevId")), 400), (command("Get", item("DevInfo/DevId")), 400),
                             (command("Get", item("./DevInfo/Nothing")), 404), (command("Get", item("./devinfo/DevId")), 404),
                             (command("Replace", item("./DevInfo/DevId", "x")), 405), (command("Exec", item("./DevInfo/DevId")), 405),
                             (command("Delete", item("./DevInfo/DevId")), 405), (command("Get", item("./Vendor/MSFT/DMClient/Provider/FABRI%4BAM/Push/PFN")), 200),
                             (command("Add", item("./Device/Vendor/MSFT/Reboot/Schedule/Single", "2026-02-01T10:00:00")), 200),
                             (command("Add", item("./Device/Vendor/MSFT/Reboot/Schedule/Single", "2026-02-01T10:00:00")), 418),
                             (command("Bogus", item("./DevInfo/DevId")), 400)):
            self.assertEqual([code for _, code in self.one(text)], [status], text)

    def test_s27_no_cmd_id_is_400(self):
        self.assertEqual(self.one("<Get>" + item("./DevInfo/DevId") + "</Get>"), [("Get", 400)])
        self.assertIn("Get has no CmdID", " ".join(self.sim.sessions("d1")[-1]["breaches"]))

    def test_s27_get_or_atomic_in_atomic_fails_the_whole(self):
        poll = "./Device/Vendor/MSFT/DMClient/Provider/FABRIKAM/Poll/NumberOfFirstRetries"
        replace = command("Replace", item(poll, "9", "int"))
        self.one(command("Atomic", inner=replace + command("Get", item("./DevInfo/DevId"))))
        self.assertEqual(self.statuses(), [200, 507, 215, 500])
        self.one(command("Atomic", inner=command("Atomic", inner=replace)))
        self.assertEqual(self.statuses(), [200, 507, 500])
        self.session("d1", command("Get", item(poll)))
        self.assertEqual(self.known().messages[-1].results()[poll][1], "0")

    def test_s27_one_failing_member_rolls_the_atomic_back(self):
        single = "./Device/Vendor/MSFT/Reboot/Schedule/Single"
        self.one(command("Atomic", inner=command("Add", item(single, "2026-02-01T10:00:00")) + command("Replace", item("./DevInfo/DevId", "x")) +
                         command("Replace", item(single, "z"))))
        self.assertEqual(self.statuses(), [200, 507, 216, 405, 215])
        self.assertEqual(self.one(command("Get", item(single))), [("Get", 404)])
        self.one(command("Atomic", inner=command("Add", item(single, "2026-02-01T10:00:00"))))
        self.assertEqual(self.statuses(), [200, 200, 200])

    def test_a_sequence_is_carried_out_in_order(self):
        self.one(command("Sequence", inner=command("Exec", item("./Vendor/MSFT/Defender/UpdateSignature")) +
                         command("Exec", item("./Vendor/MSFT/Defender/Scan", "1"))), command("Get", item("./Vendor/MSFT/Defender/Health/QuickScanTime")))
        self.assertEqual([(s["cmd"], s["code"]) for s in self.known().messages[-1].statuses()],
                         [("SyncHdr", 200), ("Sequence", 200), ("Exec", 202), ("Exec", 202), ("Get", 200)])

    def test_a_get_of_several_items_has_a_status_each_and_one_results(self):
        uris = ["./DevDetail/SwV", "./DevDetail/LrgObj", self.dm.push + "/Status", "./DevDetail/Nothing"]
        self.session("d1", command("Get", *map(item, uris)))
        message = self.known().messages[-1]
        self.assertEqual([(s["target"], s["code"]) for s in message.statuses()[1:]], list(zip(uris, [200, 200, 200, 404])))
        self.assertEqual(message.results(), {uris[0]: (None, "10.0.26100.4000"), uris[1]: ("bool", "false"), uris[2]: ("int", "0")})
        self.assertEqual(message.verbs().count("Results"), 1)

    def test_an_interior_node_names_its_children(self):
        self.session("d1", command("Get", item("./DevInfo")))
        self.assertEqual(self.known().messages[-1].results(), {"./DevInfo": ("node", "DevId/DmV/Lang/Man/Mod")})


class Conversation(Bench):
    def test_package_1_is_the_samples(self):
        self.enroll()
        first = self.known().messages[0]
        self.assertEqual(first.verbs(), ["Alert", "Alert", "Replace"])
        self.assertEqual((first.msg_id, first.session, first.final, first.loc_name, first.credential), (1, "1", True, None, None))
        sample = ('<Alert><CmdID>2</CmdID><Data>1201</Data></Alert><Alert><CmdID>3</CmdID><Data>1224</Data><Item><Meta><Type xmlns="syncml:metinf">'
                  "com.microsoft/MDM/LoginStatus</Type></Meta><Data>user</Data></Item></Alert><Replace><CmdID>4</CmdID><Item><Source><LocURI>"
                  "./DevInfo/DevId</LocURI></Source>")
        self.assertIn(sample, first.text)
        request = self.dm.requests[0]
        self.assertEqual((request["Content-Type"], request["path"]), ("application/vnd.syncml.dm+xml", "/dm"))

    def test_every_message_shows_the_devices_own_certificate(self):
        self.enroll("d1")
        self.enroll("d2")
        listed = {d["device_id"]: d for d in json.loads((self.folder / "enrolments.json").read_text())["devices"]}
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        for device_id, known in self.dm.devices.items():
            for message in known.messages:
                certificate = x509.load_der_x509_certificate(message.certificate)
                self.assertEqual(certificate.fingerprint(hashes.SHA256()).hex(), listed[device_id]["certificate_sha256"])
                self.assertEqual(f"{certificate.serial_number:032X}", listed[device_id]["serial"])

    def test_md5_credentials_are_shown_when_asked_for(self):
        vectors = json.loads((DATA / "dm-auth-md5.json").read_text())["cases"]
        self.assertEqual(vectors[0]["user"], "sim-client")
        (self.folder / "password").write_text("sim-password\n")
        self.sim.close()
        self.sim = Sim("windows", "--clock", "held", "--poll", "480x0", *self.dm.options(), "--dm-user", "sim-client",
                       "--dm-password-file", self.folder / "password", folder=self.folder)
        self.dm.password = ("sim-client", "sim-password")
        session = self.enroll()
        self.assertEqual((session["outcome"], session["breaches"], session["authenticated"]), ("done", [], True))
        first, second, third = self.known().messages
        self.assertEqual((first.credential, second.credential), (None, vectors[0]["cred_data"]))
        self.assertEqual((second.msg_id, second.loc_name, second.verbs()), (2, "sim-client", ["Alert", "Alert", "Replace"]))
        self.assertEqual(third.credential, second.credential)
        # The nonce is known now: the next session shows it at once.
        self.session()
        self.assertEqual(self.known().messages[3].credential, vectors[0]["cred_data"])
        self.dm.password = ("sim-client", "another")
        self.dm.nonce = b"sim-nonce-2"
        self.assertEqual(self.session()["outcome"], "not_authenticated")

    def test_too_small_a_message_size_aborts(self):
        self.enroll()
        self.dm.answer = lambda device, message, text: text.replace("</SyncHdr>", '<Meta><MaxMsgSize xmlns="syncml:metinf">200</MaxMsgSize></Meta></SyncHdr>')
        self.assertEqual(self.session()["outcome"], "aborted")
        self.assertEqual(self.known().messages[-1].alerts(), ["1223"])

    def test_a_server_without_final_is_asked_for_more(self):
        self.enroll()
        self.dm.answer = lambda device, message, text: text.replace("<Final/>", "") if message.msg_id == 1 else text
        self.assertEqual(self.session()["outcome"], "done")
        self.assertEqual(self.known().messages[-1].alerts(), ["1222"])

    def test_what_a_server_gets_wrong_is_said(self):
        self.enroll()
        for old, new, words in (("<MsgID>1<", "<MsgID>7<", "MsgID"), ("<SessionID>", "<SessionID>9", "SessionID"), ("<CmdID>2<", "<CmdID>1<", "comes twice"),
                                ("<CmdRef>3<", "<CmdRef>9<", "no Status on Alert 3"), ("<VerDTD>1.2<", "<VerDTD>1.1<", "VerDTD"),
                                ("<SyncBody>", "<SyncBody>\n  ", "white space"), ("<Cmd>Alert</Cmd>", "<Cmd><![CDATA[Alert]]></Cmd>", "CDATA"),
                                ("<MsgRef>1<", "<MsgRef>2<", "MsgRef"), ("SYNCML:SYNCML1.2", "SYNCML:SYNCML1.1", "namespace")):
            self.dm.answer = lambda device, message, text: text.replace(old, new) if message.msg_id == 1 else text
            self.assertIn(words, " ".join(self.session()["breaches"]), (old, new))
        self.dm.answer = None
        self.assertEqual(self.session()["breaches"], [])

    def test_a_server_that_is_no_syncml_server(self):
        self.enroll()
        for text, outcome in (("<html/>", "syncml.not_syncml"), ("<SyncML", "syncml.not_xml"), ("<!DOCTYPE x><SyncML/>", "syncml.not_xml"),
                              ("<SyncML/>", "syncml.header")):
            self.dm.answer = lambda *_: text
            self.assertEqual(self.session()["outcome"], outcome)

    def test_session_ids_grow_and_begin_anew_with_the_enrolment(self):
        self.enroll()
        self.session()
        self.assertEqual([s["session_id"] for s in self.sim.sessions("d1")], ["1", "2"])
        before = self.sim.device("d1")
        self.sim.do("device.reenroll", device="d1")
        self.assertEqual(self.session()["session_id"], "1")
        after = self.sim.device("d1")
        self.assertNotEqual(before["serial"], after["serial"])
        self.assertEqual(before["device_id"], after["device_id"])
        self.assertEqual(json.loads((self.folder / "enrolments.json").read_text())["devices"][0]["serial"], after["serial"])

    def test_leaving_says_so_once(self):
        self.enroll()
        session = self.sim.do("device.unenroll", device="d1")["session"]
        self.assertEqual(session["outcome"], "done")
        message = self.known().messages[-2]
        self.assertEqual(message.alerts(), ["1201", "1224", "1226"])
        self.assertIn('<Type xmlns="syncml:metinf">com.microsoft:mdm.unenrollment.userrequest</Type><Format xmlns="syncml:metinf">int</Format>'
                      '<Mark xmlns="syncml:metinf">critical</Mark></Meta><Data>1</Data>', message.text)
        self.assertEqual(self.dm.requests[-1]["MDM-GenericAlert"], "com.microsoft:mdm.unenrollment.userrequest")
        self.sim.do("clock.advance", days=3)
        self.assertEqual((self.sim.device("d1")["enrolled"], self.count()), (False, 2))

    def test_login_status(self):
        self.enroll()
        self.sim.do("device.set", device="d1", login="none")
        self.session()
        self.assertIn("<Data>none</Data>", self.known().messages[-2].text)


class Hostile(Bench):
    """S-28."""

    def test_a_foreign_channel(self):
        self.enroll()
        self.sim.do("device.report_channel", device="d1", uri="https://attacker.example/x")
        self.assertEqual(self.known().channel_uri, "https://attacker.example/x")

    def test_a_channel_of_a_megabyte(self):
        self.enroll()
        self.sim.do("device.fault", device="d1", huge_uri=1 << 20)
        self.session()
        self.assertGreater(len(self.known().channel_uri), 1 << 20)

    def test_a_channel_that_flaps(self):
        self.enroll()
        self.sim.do("device.fault", device="d1", flapping_uri=True)
        seen = set()
        for _ in range(4):
            self.session()
            seen.add(self.known().channel_uri)
        self.assertEqual(len(seen), 4)

    def test_somebody_elses_device_id(self):
        self.enroll("d1")
        self.enroll("d2")
        other = self.sim.device("d2")["device_id"]
        self.sim.do("device.fault", device="d1", device_id=other)
        self.session("d1")
        message = self.dm.device(other).messages[-1]
        self.assertEqual(message.source, other)
        self.assertNotEqual(message.certificate, self.dm.device(other).messages[0].certificate)

    def test_no_final_and_gone(self):
        self.enroll()
        self.sim.do("device.fault", device="d1", no_final=True)
        self.assertEqual(self.session()["outcome"], "gave_up")
        self.assertFalse(self.known().messages[-1].final)

    def test_gone_after_the_first_answer(self):
        self.enroll()
        self.sim.do("device.fault", device="d1", abandons=True)
        before = len(self.known().messages)
        self.assertEqual(self.session()["outcome"], "gave_up")
        self.assertEqual(len(self.known().messages), before + 1)

    def test_any_text_instead_of_package_1(self):
        self.enroll()
        self.sim.do("device.fault", device="d1", raw_package="<!DOCTYPE x [<!ENTITY a 'b'>]><SyncML>&a;</SyncML>")
        self.assertIn(self.session()["outcome"], ("http_400", "gave_up"))
        self.sim.do("device.fault", device="d1", clear=True)
        self.assertEqual(self.session()["outcome"], "done")


class Alone(Bench):
    """`mdm-device`: devices without a service to push to them."""

    command = "mdm-device"
    options = ("--devices", "3", "--prefix", "pc")

    def test_devices_from_the_command_line_register_and_poll(self):
        self.assertNotIn("wns_port", self.sim.ready)
        self.sim.do("clock.advance", s=1)
        self.assertEqual([self.sim.device(f"pc{i}")["sessions"]["last"]["outcome"] for i in (1, 2, 3)], ["done"] * 3)
        self.sim.do("device.push", device="pc2")
        self.sim.do("clock.advance", s=1)
        self.assertEqual([self.count(f"pc{i}") for i in (1, 2, 3)], [1, 2, 1])

    def test_a_device_is_the_same_after_a_restart(self):
        before = self.sim.device("pc1")
        self.sim.close()
        self.sim = Sim("mdm-device", "--clock", "held", "--seed", "7", *self.dm.options(), *self.options, folder=self.folder)
        after = self.sim.device("pc1")
        for member in ("device_id", "serial", "certificate_sha256"):
            self.assertEqual(before[member], after[member])


class Repeatable(unittest.TestCase):
    def test_the_same_seed_gives_the_same_events(self):
        runs = []
        for _ in range(2):
            folder = pathlib.Path(tempfile.mkdtemp(prefix="greengate-windows-"))
            dm = DmServer(folder)
            dm.pfn = SAMPLE_PFN
            sim = Sim("windows", "--clock", "held", "--start", "2026-01-15T09:30:00Z", "--seed", "11", "--poll", "480x0", "--devices", "5",
                      "--channel-delay", "2000", *dm.options(), folder=folder)
            sim.do("clock.advance", days=16)
            runs.append([(d["name"], d["device_id"], d["channel_uri"], [(s["cause"], s["began_ms"], s["outcome"]) for s in sim.sessions(d["name"])])
                         for d in sim.get("/devices")["devices"]])
            sim.close()
            dm.close()
        self.assertEqual(runs[0], runs[1])


if __name__ == "__main__":
    assert URL
    unittest.main()
