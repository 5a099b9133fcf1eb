// SPDX-License-Identifier: Apache-2.0
//
// The three C types of the Python package, all in the limited API of 3.11:
// Gate counts what is going on inside a store, Block shows the bytes of a
// pinned block, Memory describes a caller's buffer. Calls that only pass
// arguments go through cffi and are not here.
//
// The fields are guarded by the interpreter lock. No code here takes another
// lock while it holds that one, except inside cascade_release, which is short.

#ifndef CASCADE_PYTHON_NATIVE_H
#define CASCADE_PYTHON_NATIVE_H

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <sys/types.h>

#include <cascade/cascade.h>

// OPEN lets calls in. CLOSING does not, and the closer waits for those inside.
// LEAVING: nobody is inside, the last view that ends closes the store.
enum gate_state {
    GATE_OPEN = 0,
    GATE_CLOSING = 1,
    GATE_LEAVING = 2,
    GATE_CLOSED = 3
};

// Invariant: `store` is valid while state is not CLOSED and while views are
// out. At interpreter exit a gate is CLOSED though its store lives on.
struct gate {
    PyObject_HEAD struct cascade *store;
    PyObject *refuse; // refuse(status) raises; called when the gate is shut
    PyObject *idle;   // idle.set() when a closer waits and the last call ends
    pid_t process;
    Py_ssize_t calls;
    Py_ssize_t views;
    enum gate_state state;
};

// The types; each returns a new reference or NULL with an exception.
PyObject *
gate_type_create(void);

PyObject *
block_type_create(void);

PyObject *
memory_type_create(void);

// False in a child process: the store is not there.
bool
gate_is_ours(const struct gate *gate);

// Called when a view has been released; may close the store through `owner`.
void
gate_view_ended(struct gate *gate, PyObject *owner);

// Pins `key` and returns a Block, or the status as a number if there is none.
// `owner` is kept alive as long as the block.
PyObject *
block_acquire(struct gate *gate, PyObject *owner, struct cascade_key key,
              uint64_t timeout_ns);

// What a DLPack capsule describes: (device type, address, shape, strides or
// None, bits of an item). The capsule stays the owner of the memory.
PyObject *
memory_dlpack_layout(PyObject *module, PyObject *capsule);

#endif
