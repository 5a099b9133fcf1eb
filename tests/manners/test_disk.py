# SPDX-License-Identifier: Apache-2.0
"""Disks that are really full, files that are purged, modes and group."""

import grp
import os
import stat

from manners import SPACE, MannersTest
from tool import NO, PROGRAM, main


class DiskTest(MannersTest):
    def put(self, key, data, **environment):
        return self.run_tool("put", key, "-", stdin=data, **environment)

    def test_full_tmpfs(self):
        self.need_root()
        self.need(*SPACE, "mount -t tmpfs none /mnt")
        (self.folder / "disk").mkdir()
        done = self.fill("mount -t tmpfs -o size=20m none disk")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, "NO_SPACE|No space left")

    def test_full_ext4(self):
        self.need_root()
        image = self.folder / "image"
        with image.open("wb") as file:
            file.truncate(24 << 20)
        self.need("mkfs.ext4", "-q", "-F", str(image))
        (self.folder / "disk").mkdir()
        self.need(*SPACE, f"mount -o loop {image} {self.folder}/disk")
        done = self.fill(f"mount -o loop {image} disk")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, "NO_SPACE|No space left")

    def test_purged_files_are_misses(self):
        for key in "abc":
            self.put(key, key.encode() * 100000, CASCADE_REBIND="refused")
        segments = sorted(self.store.rglob("*.seg"))
        self.assertGreater(len(segments), 1)
        # A site's purge takes the oldest.
        segments[0].unlink()
        found = [key for key in "abc"
                 if self.run_in(PROGRAM, "get", key, os.devnull,
                                CASCADE_REBIND="refused").returncode == 0]
        self.assertLess(len(found), 3)
        self.assertGreater(len(found), 0)
        self.put("d", b"after the purge", CASCADE_REBIND="refused")
        result = self.run_tool("get", "d", CASCADE_REBIND="refused")
        self.assertEqual(result.bytes, b"after the purge")

    def test_everything_purged(self):
        self.put("k", b"1" * 100000)
        for path in self.store.rglob("*"):
            if path.is_file():
                path.unlink()
        result = self.run_in(PROGRAM, "get", "k", os.devnull)
        self.assertEqual(result.returncode, NO)

    def modes(self):
        found = {}
        for path in [self.store, *self.store.rglob("*")]:
            status = path.lstat()
            if path.name.startswith(".seen-"):
                continue
            found[str(path)] = (stat.S_IMODE(status.st_mode), path.is_dir(),
                                status.st_gid)
        return found

    def test_modes_whatever_the_umask(self):
        for mask in (0o077, 0o000):
            before = os.umask(mask)
            try:
                self.put(f"k{mask}", b"1" * 100000,
                         CASCADE_COLD_FILE_MODE="0660")
            finally:
                os.umask(before)
        for path, (mode, is_folder, _) in self.modes().items():
            self.assertEqual(mode & 0o777, 0o770 if is_folder else 0o660, path)

    def test_group(self):
        self.need_root()
        group = next((row for row in grp.getgrall()
                      if row.gr_gid not in (0, os.getegid())), None)
        if group is None:
            self.skipTest("there is one group only")
        self.put("k", b"1" * 100000, CASCADE_COLD_FILE_MODE="0640",
                 CASCADE_COLD_GROUP=group.gr_name)
        for path, (mode, is_folder, gid) in self.modes().items():
            self.assertEqual(gid, group.gr_gid, path)
            self.assertEqual(mode & 0o777, 0o750 if is_folder else 0o640, path)
        result = self.run_tool("put", "x", "-", expect=2,
                               CASCADE_COLD_GROUP="no such group")
        self.assertIn("no such group", result.errors)


if __name__ == "__main__":
    main()
