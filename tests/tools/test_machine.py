# SPDX-License-Identifier: Apache-2.0
"""cascade info, doctor, config, stats."""

import os

from tool import NO, USAGE, ToolTest, main


class InfoTest(ToolTest):
    def test_facts(self):
        facts = self.run_tool("info", "--json").objects[0]
        version = self.run_tool("--version").text
        self.assertEqual(version, f"cascade {facts['version']}\n")
        self.assertTrue(facts["hash_kernel"])
        self.assertEqual(set(facts["tiers"]), {"gpu", "dram", "segments"})
        self.assertEqual(set(facts["fabrics"]), {"self", "mpi"})
        for part in (*facts["tiers"].values(), *facts["fabrics"].values()):
            self.assertIs(type(part["there"]), bool)
            self.assertTrue(part["reason"])

    def test_the_fabric_of_one_rank(self):
        facts = self.run_tool("info", "--json").objects[0]
        self.assertEqual(facts["fabric_option"], "auto")
        self.assertEqual(facts["fabric_chosen"], "self")
        self.assertIn("no launcher", facts["fabric_reason"])
        self.assertIn("no launcher", self.run_tool("info").text)

    def test_the_fabric_under_a_launcher(self):
        facts = self.run_tool("info", "--json", OMPI_COMM_WORLD_SIZE="4")
        facts = facts.objects[0]
        there = "Open MPI by" in facts["fabrics"]["mpi"]["reason"]
        self.assertEqual(facts["fabric_chosen"], "openmpi" if there else "none")
        self.assertIn("mpirun of Open MPI", facts["fabric_reason"])

    def test_the_fabric_that_is_configured(self):
        facts = self.run_tool("info", "--json", CASCADE_FABRIC="self",
                              OMPI_COMM_WORLD_SIZE="4").objects[0]
        self.assertEqual(facts["fabric_option"], "self")
        self.assertEqual(facts["fabric_chosen"], "self")

    def test_text_says_the_same(self):
        facts = self.run_tool("info", "--json").objects[0]
        text = self.run_tool("info").text
        self.assertIn(facts["hash_kernel"], text)
        self.assertIn(facts["tiers"]["gpu"]["reason"], text)


class DoctorTest(ToolTest):
    def test_a_good_folder(self):
        checks = {
            check["check"]: check
            for check in self.run_tool("doctor", "-j", ".").objects
        }
        self.assertEqual(checks["directory"]["result"], "ok")
        for check in checks.values():
            self.assertIn(check["result"], ("ok", "warning"))
            self.assertEqual(check["remedy"] == "", check["result"] == "ok")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_missing_folder_fails_with_a_remedy(self):
        checks = self.run_tool("doctor", "gone", "--json", expect=NO).objects
        self.assertEqual(
            (checks[0]["check"], checks[0]["result"]), ("directory", "fail")
        )
        self.assertIn("mkdir", checks[0]["remedy"])
        text = self.run_tool("doctor", "gone", expect=NO).text
        self.assertRegex(text, "(?m)^fail +directory")

    def test_the_configured_folder_is_looked_at(self):
        gone = str(self.folder / "gone")
        result = self.run_tool("doctor", expect=NO, CASCADE_COLD_PATH=gone)
        self.assertIn(gone, result.text)

    def test_ranks_without_a_module(self):
        result = self.run_tool("doctor", expect=NO, OMPI_COMM_WORLD_SIZE="4",
                               CASCADE_FABRIC_MODULE=str(self.folder))
        self.assertRegex(result.text, "(?m)^fail +mpi")
        self.assertIn("fabric=self", result.text)

    def test_ranks_that_need_no_module(self):
        result = self.run_tool("doctor", OMPI_COMM_WORLD_SIZE="4",
                               CASCADE_FABRIC="self",
                               CASCADE_FABRIC_MODULE=str(self.folder))
        self.assertRegex(result.text, "(?m)^ok +mpi")


class ConfigTest(ToolTest):
    def value(self, name, *arguments, **environment):
        row = self.run_tool("config", "-j", *arguments, name,
                            **environment).objects[0]
        return row["value"], row["origin"]

    def test_every_option_has_all_columns(self):
        rows = self.run_tool("config", "--json").objects
        names = [row["name"] for row in rows]
        self.assertEqual(len(set(names)), len(names))
        self.assertIn("dram_capacity", names)
        for row in rows:
            self.assertTrue(row["sentence"])
            self.assertEqual(row["origin"], "default")
            self.assertEqual(row["value"], row["default"])

    def test_later_sources_win(self):
        conf = self.write("cascade.conf", b"timeout = 5 # seconds\n")
        self.assertEqual(self.value("timeout", "-f", conf), ("5", "file"))
        self.assertEqual(
            self.value("timeout", CASCADE_CONF=str(conf)), ("5", "file")
        )
        self.assertEqual(
            self.value("timeout", "-f", conf, CASCADE_TIMEOUT="6"),
            ("6", "environment"),
        )
        self.assertEqual(
            self.value("timeout", "-o", "timeout=7", CASCADE_TIMEOUT="6"),
            ("7", "program"),
        )

    def test_the_text_is_a_file_of_options(self):
        given = ("-o", "timeout=7", "-o", "segment_size=64MiB")
        conf = self.write("cascade.conf", self.run_tool("config", *given).bytes)
        rows = self.run_tool("config", "-j", "-f", conf).objects
        changed = {r["name"]: r["value"] for r in rows if r["origin"] == "file"}
        self.assertEqual(changed, {"timeout": "7", "segment_size": "64MiB"})

    def test_refusals(self):
        result = self.run_tool("config", "dram_capcity", expect=USAGE)
        self.assertIn("dram_capacity", result.errors)
        self.run_tool("config", "-o", "timeout=never", expect=USAGE)
        self.run_tool("config", "-o", "timeout", expect=USAGE)
        self.run_tool("config", expect=USAGE, CASCADE_DEDUP="perhaps")
        self.run_tool("config", "-f", "gone", expect=NO)


class StatsTest(ToolTest):
    def test_nothing_runs(self):
        self.run_tool("stats", expect=NO)
        self.run_tool("stats", "--pid", str(os.getpid()), expect=NO)
        self.run_tool("stats", "--store", ".", "--json", expect=NO)
        self.run_tool("stats", "--pid", "me", expect=USAGE)


if __name__ == "__main__":
    main()
