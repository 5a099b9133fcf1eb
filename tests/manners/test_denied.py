# SPDX-License-Identifier: Apache-2.0
"""System calls that a container's filter takes away."""

from manners import DENY, HOLD, SKIPPED, MannersTest
from tool import PROGRAM, main


class DeniedTest(MannersTest):
    def denied(self, error, calls):
        probe = self.run_in(DENY, error, calls, "true")
        if probe.returncode == SKIPPED:
            self.skipTest("this machine takes no filters of system calls")
        return DENY, error, calls

    def test_no_io_uring(self):
        for error in ("EPERM", "ENOSYS"):
            self.round_trip(*self.denied(error, "io_uring_setup"))
        done = self.run_in(*self.denied("EPERM", "io_uring_setup"), PROGRAM,
                           "doctor", self.folder)
        self.assertIn("io_uring", done.stdout)

    def test_no_io_uring_where_it_is_asked_for(self):
        done = self.run_in(*self.denied("ENOSYS", "io_uring_setup"), HOLD,
                           CASCADE_COLD_IO="uring")
        self.assertEqual(done.returncode, 1)
        self.assertIn("io_uring", done.stderr)

    def test_no_memfd(self):
        denied = self.denied("EPERM", "memfd_create")
        done = self.run_in(*denied, HOLD)
        self.assertEqual(done.returncode, 1)
        self.assertIn("memfd_create", done.stderr)
        self.assertIn("dram_capacity=0", done.stderr)
        # The way out that the message names.
        self.works(*denied, HOLD, CASCADE_DRAM_CAPACITY="0")

    def test_no_locked_memory_and_no_advice_beyond_need(self):
        self.round_trip(*self.denied("EPERM", "mlock,mlock2"))
        self.round_trip(*self.denied("ENOSYS", "fallocate"))

    def test_no_direct_io_facts(self):
        self.round_trip(*self.denied("ENOSYS", "statx"))

    def test_no_affinity(self):
        self.round_trip(*self.denied("EPERM", "sched_getaffinity"))

    def test_no_eventfd(self):
        denied = self.denied("EPERM", "eventfd2")
        self.round_trip(*denied)
        done = self.run_in(*denied, HOLD, CASCADE_DRAIN_SIGNALS="term")
        self.assertEqual(done.returncode, 1)
        self.assertIn("eventfd", done.stderr)


if __name__ == "__main__":
    main()
