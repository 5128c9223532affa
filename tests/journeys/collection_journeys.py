"""Software inventory and collected files, from the machine to the site."""

import os
import sys
import unittest
import zlib

from estate import estate


def unpacked(post):
    """What a payload holds, whether or not it was compressed."""
    try:
        return zlib.decompressobj().decompress(post)
    except zlib.error:
        return post


class Collections(unittest.TestCase):
    def test_software_and_files_of_a_machine_arrive_at_the_site(self):
        with estate() as world:
            world.start_site()
            world.start_gateway()
            tree = world.folder / "tree"
            tree.mkdir()
            content = os.urandom(1_500_000)
            (tree / "large.conf").write_bytes(content)
            (tree / "small.conf").write_text("small\n")
            (tree / "shadow.conf").symlink_to("/etc/shadow")
            world.agent_config("agent", world.token(), software=True,
                               more=f'paths = ["/usr/bin"]\n[files]\ncollect = ["{tree}/*.conf"]\nfile_bytes_max = "4MiB"\n'
                                    'bytes_per_second = "64MiB"\n')
            world.start_agent()
            agent = world.wait("an agent that is ready at the site",
                               lambda: next((a for a in world.agents() if a["site"]["state"] == "ready"), None))

            def delivered(kind):
                return [r for r in world.reports(agent) if r["kind"] == kind and r["state"] == "delivered"]

            world.wait("the software inventory to be delivered", lambda: delivered("software inventory"), 90)
            world.wait("both files, six chunks and one, to be delivered", lambda: len(delivered("collected file")) == 7, 90)
            self.assertEqual(world.refused_at_site(), [])
            posts = b"".join(part.read_bytes() for message in world.verdicts() if message.get("report", {}).get("kind") == "files"
                             for part in (world.folder / "site" / message["folder"]).iterdir())
            came = [unpacked(after) for after in posts.split(b"application/octet-stream\r\n\r\n")[1:]]
            # Not assertIn: it would print all of it.
            self.assertEqual(len(came), 2)
            self.assertTrue(content in came[0] or content in came[1], "the large file is not at the site as it was")
            self.assertFalse(any(b"root:" in one for one in came), "a link was followed")
            self.assertEqual([r for r in world.reports(agent) if r["state"] == "buried"], [])


if __name__ == "__main__":
    sys.exit(unittest.main())
