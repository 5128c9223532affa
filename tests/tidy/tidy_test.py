"""The house as it was designed: who may include whom, and a few things no file may hold. Each finding is a sentence."""

import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What a folder may include besides itself. The most specific entry counts.
MAY_INCLUDE = {
    "core": [],
    "store": ["core"],
    "adapters/agents": ["core"],
    "adapters/http": ["core"],
    "adapters/mp": ["core", "adapters/http", "proto"],
    "adapters/bgb": ["core", "adapters/http"],
    "adapters/wns": ["core", "adapters/http"],
    "adapters/mdm": ["core", "proto"],
    "workers": ["core", "store", "adapters", "proto"],
    "gateway": ["core", "store", "adapters", "workers", "proto"],
    "agent": ["core", "adapters/agents", "proto"],
    "ctl": ["core", "adapters/http", "adapters/mp", "proto"],
    "simulators": ["core", "proto"],
}
# Of core, what a simulator may use: words, not encoders.
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def sources():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file():
            yield name, path


def folder_of(name):
    best = None
    for folder in MAY_INCLUDE:
        if name.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


class Floors(unittest.TestCase):
    def test_a_folder_includes_only_lower_floors(self):
        findings = []
        for name, path in sources():
            home = folder_of(name)
            if home is None or not name.endswith((".h", ".cc")):
                continue
            for include in INCLUDE.findall(path.read_text(encoding="utf-8")):
                target = "proto" if include.startswith("greengate/v1/") else include
                inside = target == home or target.startswith(home + "/")
                allowed = any(target == f or target.startswith(f + "/") for f in MAY_INCLUDE[home])
                if not inside and not allowed:
                    findings.append(f'{name} includes "{include}"; {home}/ may include only itself'
                                    f'{" and " if MAY_INCLUDE[home] else ""}{", ".join(MAY_INCLUDE[home])}.')
        self.assertEqual(findings, [], "\n" + "\n".join(findings))

    def test_every_folder_of_the_house_is_looked_at(self):
        seen = {folder_of(name) for name, _ in sources() if name.endswith(".cc")}
        self.assertEqual(sorted(set(MAY_INCLUDE) - seen), [])

    def test_microsofts_endpoints_are_named_only_where_microsoft_lives(self):
        findings = []
        for name, path in sources():
            if not name.endswith((".h", ".cc")) or name.startswith(("adapters/mp/", "simulators/", "tests/")):
                continue
            text = path.read_text(encoding="utf-8")
            for word in ("MP_DdrEndpoint", "MP_HinvEndpoint", "MP_RelayEndpoint", "MP_ClientRegistration"):
                if word in text:
                    findings.append(f"{name} names {word}; that belongs to adapters/mp or simulators.")
        self.assertEqual(findings, [], "\n" + "\n".join(findings))


class Files(unittest.TestCase):
    def test_headers_begin_with_pragma_once(self):
        findings = [name for name, path in sources()
                    if name.endswith(".h") and "#pragma once" not in path.read_text(encoding="utf-8")[:400]]
        self.assertEqual(findings, [])

    def test_nothing_is_left_for_later_in_the_code(self):
        # Spelled in halves, so that this line is not its own finding.
        marker = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b|" + "DISABLED" + "_")
        findings = []
        for name, path in sources():
            if not name.endswith((".h", ".cc", ".proto", ".py", ".txt")) or name.startswith("tests/data/"):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if marker.search(line):
                    findings.append(f"{name}:{number}: {line.strip()}")
        self.assertEqual(findings, [], "\n" + "\n".join(findings))

    def test_no_header_opens_a_namespace_to_everyone(self):
        findings = [name for name, path in sources()
                    if name.endswith(".h") and re.search(r"^using namespace", path.read_text(encoding="utf-8"), re.M)]
        self.assertEqual(findings, [])

    def test_links_between_documents_lead_somewhere(self):
        findings = []
        for name, path in sources():
            if not name.endswith(".md"):
                continue
            for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
                if "://" not in target and not (path.parent / target).exists():
                    findings.append(f"{name} links to {target}, which is not there.")
        self.assertEqual(findings, [], "\n" + "\n".join(findings))


class References(unittest.TestCase):
    def test_every_metric_is_documented_and_none_is_invented(self):
        named = set()
        for name, path in sources():
            if name.endswith((".cc", ".h")) and folder_of(name) in ("core", "store", "adapters/agents", "adapters/http", "adapters/mp", "adapters/bgb", "adapters/wns", "adapters/mdm", "workers", "gateway"):
                named |= set(re.findall(r'"(greengate_[a-z_]+)"', path.read_text(encoding="utf-8")))
        documented = set(re.findall(r"^\| `(greengate_[a-z_]+)`", (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8"), re.M))
        self.assertEqual(named, documented)

    def test_every_field_of_a_log_line_is_in_the_vocabulary(self):
        used = set()
        for name, path in sources():
            if name.endswith((".cc", ".h")) and folder_of(name) and not name.startswith("simulators/"):
                used |= set(re.findall(r'kv\("([a-z_]+)"', path.read_text(encoding="utf-8")))
        documented = set(re.findall(r"^\| `([a-z_]+)`", (ROOT / "docs/reference/logs.md").read_text(encoding="utf-8"), re.M))
        self.assertEqual(used, documented)

    def test_every_code_of_a_task_is_documented_and_none_is_invented(self):
        used = set()
        for name, path in sources():
            if name.endswith((".cc", ".h")) and name.startswith("agent/"):
                used |= set(re.findall(r'"(task\.[a-z_]+)"', path.read_text(encoding="utf-8")))
        text = (ROOT / "docs/reference/tasks.md").read_text(encoding="utf-8")
        documented = {code for row in re.findall(r"^\| (`task\.[^|]+)\|", text, re.M) for code in re.findall(r"`(task\.[a-z_]+)`", row)}
        # Those of scripts have a page of their own.
        self.assertEqual({code for code in used if not code.startswith("task.script")}, documented)


if __name__ == "__main__":
    unittest.main()
