# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a store in memory, and one with a cold tier."""

import gc

import pytest

import cascade


@pytest.fixture
def store():
    with cascade.Store(dram_capacity="64MiB") as opened:
        yield opened
    gc.collect()


@pytest.fixture
def cold_store(tmp_path):
    with cascade.Store(dram_capacity="64MiB",
                       cold_path=tmp_path / "cold") as opened:
        yield opened
    gc.collect()
