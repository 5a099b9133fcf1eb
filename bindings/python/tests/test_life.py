# SPDX-License-Identifier: Apache-2.0
"""Threads, forks, and the ends of stores and interpreters."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import cascade


# A fork beside threads is what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def run(program, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c",
         textwrap.dedent(program)], timeout=60, capture_output=True,
        text=True, env={**os.environ, **environment})


def in_child(function):
    """What `function` returned in a forked child, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = str(function())
        except BaseException as reason:
            text = f"{type(reason).__name__}: {reason}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as stream:
        return stream.read().decode()


def test_calls_are_refused_in_a_child(store):
    store.put("key", b"data")
    out = bytearray(4)
    for call in (lambda: store.put("key", b"x"),
                 lambda: store.get("key"),
                 lambda: store.get_into("key", out),
                 lambda: store.get_batch_into(["key"], [out]),
                 lambda: store.submit_get("key", out),
                 store.stats, store.flush, store.clear):
        assert in_child(call).startswith("ForkedError: the store was opened")
    assert store.get_into("key", out) == 4


def test_child_may_close_drop_and_open(store):
    store.put("key", b"data")
    block = store.get("key")

    def in_the_child():
        nonlocal block
        try:
            memoryview(block)
        except BufferError:
            pass
        else:
            return "a buffer in the child"
        block = None
        store.close()
        with cascade.Store(dram_capacity="16MiB") as other:
            other.put("own", b"bytes")
            return other.get_into("own", bytearray(5))

    assert in_child(in_the_child) == "5"
    assert bytes(block) == b"data"
    assert store.exists("key")


def test_child_exits_like_any_other():
    done = run("""
        import os, sys, cascade
        store = cascade.Store(dram_capacity="16MiB")
        store.put("key", b"data")
        block = store.get("key")
        child = os.fork()
        if child == 0:
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(bytes(block).decode())
        block.close()
    """)
    assert (done.stdout, done.stderr) == ("3\ndata\n", "")


def test_interpreter_exit_closes_stores(tmp_path):
    path = str(tmp_path / "cold")
    done = run("""
        import os, cascade
        store = cascade.Store(dram_capacity="16MiB",
                              cold_path=os.environ["COLD"])
        store.put("key", b"data")
    """, COLD=path)
    assert (done.returncode, done.stderr) == (0, "")
    with cascade.Store(dram_capacity="16MiB", cold_path=path) as store:
        out = bytearray(4)
        assert store.get_into("key", out) == 4 and out == b"data"


@pytest.mark.parametrize("end", [
    "pass", "block = store.get('key')",
    "view = memoryview(store.get('key'))",
    "import builtins; builtins.kept = memoryview(store.get('key'))",
    "future = store.submit_get('key', bytearray(4))",
    "store.__enter__(); block = store.get('key'); view = memoryview(block); "
    "store.__exit__(None, None, None)",
])
def test_interpreter_exit_never_hangs(tmp_path, end):
    done = run(f"""
        import os, cascade
        store = cascade.Store(dram_capacity="16MiB",
                              cold_path=os.environ["COLD"])
        store.put("key", b"data")
        {end}
    """, COLD=str(tmp_path / "cold"))
    assert (done.returncode, done.stderr) == (0, "")


def test_exit_while_a_thread_is_busy():
    done = run("""
        import threading, cascade
        store = cascade.Store(dram_capacity="64MiB")
        started = threading.Event()
        def work():
            data = bytes(1 << 20)
            while True:
                store.put("key", data)
                started.set()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
    """)
    assert done.returncode == 0
    assert "Fatal" not in done.stderr


def test_dropped_store_is_closed_with_a_warning():
    store = cascade.Store(dram_capacity="16MiB")
    with pytest.warns(ResourceWarning, match="unclosed"):
        del store
        gc.collect()


def test_calls_of_other_threads_end_before_close():
    store = cascade.Store(dram_capacity="64MiB")
    refused = []
    data = bytes(1 << 20)

    def work(number):
        out = bytearray(1 << 20)
        try:
            while True:
                store.put(f"{number}", data)
                store.get_into(f"{number}", out)
                store.get(f"{number}").close()
        except cascade.ClosedError:
            refused.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while store.stats().gets < 20:
        pass
    while not store.closed:
        try:
            store.close()
        except cascade.BusyError:
            pass  # a block was out
    for thread in threads:
        thread.join(30)
    assert sorted(refused) == [0, 1, 2, 3]


def test_close_waits_for_a_call_that_is_inside():
    store = cascade.Store(dram_capacity="16MiB")
    inside, leave = threading.Event(), threading.Event()

    def stay():
        inside.set()
        leave.wait(30)

    caller = threading.Thread(target=store._gate.call, args=(stay,))
    closer = threading.Thread(target=store.close)
    caller.start()
    inside.wait(30)
    closer.start()
    while not store.closed:
        time.sleep(0)
    assert closer.is_alive()
    with pytest.raises(cascade.ClosedError):
        store.stats()
    leave.set()
    closer.join(30)
    caller.join(30)
    assert not closer.is_alive()


def test_close_gives_up_on_a_call_that_stays():
    store = cascade.Store(dram_capacity="16MiB")
    inside, leave = threading.Event(), threading.Event()

    def stay():
        inside.set()
        leave.wait(30)

    caller = threading.Thread(target=store._gate.call, args=(stay,))
    caller.start()
    inside.wait(30)
    with pytest.raises(cascade.BusyError):
        store._close(0.01)
    assert not store.closed and store.world_size == 1
    leave.set()
    caller.join(30)
    store.close()


def test_the_interpreter_goes_on_during_a_call(store):
    data = bytearray(32 << 20)
    out = bytearray(32 << 20)
    inside = threading.Event()
    done = threading.Event()
    seen = 0

    def work():
        inside.set()
        for number in range(8):
            data[0] = number
            store.put("key", data)
            store.get_into("key", out)
        done.set()

    thread = threading.Thread(target=work)
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)  # only a release lets this thread run
    try:
        thread.start()
        inside.wait()
        while not done.is_set():
            seen += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(before)
        thread.join()
    assert seen > 8


def test_many_threads_put_and_get(store):
    wrong = []

    def work(number):
        out = bytearray(1000)
        for turn in range(200):
            data = bytes([number, turn]) * 500
            store.put(f"{number}", data)
            if store.get_into(f"{number}", out) != 1000 or out != data:
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
