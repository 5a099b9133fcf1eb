# SPDX-License-Identifier: Apache-2.0
"""A quota that is really spent: of btrfs, for its quota binds root too."""

from manners import SPACE, MannersTest
from tool import main


class QuotaTest(MannersTest):
    def test_spent_quota(self):
        self.need_root()
        image = self.folder / "image"
        with image.open("wb") as file:
            file.truncate(256 << 20)
        self.need("mkfs.btrfs", "-q", "-f", str(image))
        disk = self.folder / "disk"
        disk.mkdir()
        steps = (f"mount -o loop {image} {disk} && "
                 f"btrfs -q quota enable {disk} && "
                 f"btrfs -q subvolume create {disk}/store && "
                 f"btrfs -q qgroup limit 20M {disk}/store")
        self.need(*SPACE, f"{steps} && btrfs subvolume delete {disk}/store")
        done = self.fill(f"{steps} || exit 9")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("quota exceeded", done.stderr.lower())


if __name__ == "__main__":
    main()
