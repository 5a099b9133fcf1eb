// SPDX-License-Identifier: Apache-2.0
//
// Gate: who is inside a store. A store may be closed only when no call is
// inside and no view is out, and a child process must stay outside. It is not
// a lock: nothing waits here.
//
// The interpreter lock makes each method one step, so no other lock is needed
// and none can be left locked by a fork.

#include "native.h"

#include <unistd.h>

static int
gate_refusal(const struct gate *gate)
{
    if (gate->process != getpid()) {
        return CASCADE_FORKED;
    }
    return gate->state == GATE_OPEN ? CASCADE_OK : CASCADE_CLOSED;
}

// Raises what `refuse` raises.
static PyObject *
gate_refuse(struct gate *gate, int status)
{
    PyObject *result = PyObject_CallFunction(gate->refuse, "i", status);
    if (result != NULL) {
        Py_DECREF(result);
        PyErr_SetString(PyExc_SystemError, "the refusal raised nothing");
    }
    return NULL;
}

static void
gate_leave(struct gate *gate)
{
    gate->calls--;
    if (gate->calls != 0 || gate->state != GATE_CLOSING) {
        return;
    }
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethod(gate->idle, "set", NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(gate->idle);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

static PyObject *
gate_call(PyObject *self, PyObject *arguments)
{
    struct gate *gate = (struct gate *)self;
    Py_ssize_t count = PyTuple_Size(arguments);
    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "call() needs a function");
        return NULL;
    }
    int refusal = gate_refusal(gate);
    if (refusal != CASCADE_OK) {
        return gate_refuse(gate, refusal);
    }
    PyObject *function = PyTuple_GetItem(arguments, 0);
    PyObject *rest = PyTuple_GetSlice(arguments, 1, count);
    if (rest == NULL) {
        return NULL;
    }
    gate->calls++;
    PyObject *result = PyObject_CallObject(function, rest);
    gate_leave(gate);
    Py_DECREF(rest);
    return result;
}

static PyObject *
gate_acquire(PyObject *self, PyObject *arguments)
{
    struct gate *gate = (struct gate *)self;
    PyObject *owner;
    const char *key;
    Py_ssize_t key_bytes;
    unsigned long long timeout_ns;
    if (!PyArg_ParseTuple(arguments, "Oy#K", &owner, &key, &key_bytes,
                          &timeout_ns)) {
        return NULL;
    }
    int refusal = gate_refusal(gate);
    if (refusal != CASCADE_OK) {
        return gate_refuse(gate, refusal);
    }
    struct cascade_key name = {.data = key, .bytes = (size_t)key_bytes};
    gate->calls++;
    PyObject *result = block_acquire(gate, owner, name, timeout_ns);
    gate_leave(gate);
    return result;
}

static PyObject *
gate_begin_close(PyObject *self, PyObject *nothing)
{
    struct gate *gate = (struct gate *)self;
    (void)nothing;
    bool begun = gate_is_ours(gate) && gate->state == GATE_OPEN;
    if (begun) {
        gate->state = GATE_CLOSING;
    }
    return PyBool_FromLong(begun);
}

static PyObject *
gate_reopen(PyObject *self, PyObject *nothing)
{
    struct gate *gate = (struct gate *)self;
    (void)nothing;
    if (gate->state == GATE_CLOSING) {
        gate->state = GATE_OPEN;
    }
    Py_RETURN_NONE;
}

static PyObject *
gate_leave_later(PyObject *self, PyObject *nothing)
{
    struct gate *gate = (struct gate *)self;
    (void)nothing;
    bool later = gate->calls == 0 && gate->views != 0 &&
                 (gate->state == GATE_OPEN || gate->state == GATE_CLOSING);
    if (later) {
        gate->state = GATE_LEAVING;
    }
    return PyBool_FromLong(later);
}

static PyObject *
gate_finish(PyObject *self, PyObject *nothing)
{
    struct gate *gate = (struct gate *)self;
    (void)nothing;
    gate->state = GATE_CLOSED;
    Py_RETURN_NONE;
}

static PyObject *
gate_get_calls(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromSsize_t(((struct gate *)self)->calls);
}

static PyObject *
gate_get_views(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromSsize_t(((struct gate *)self)->views);
}

static PyObject *
gate_get_open(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyBool_FromLong(((struct gate *)self)->state == GATE_OPEN);
}

static PyObject *
gate_get_ours(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyBool_FromLong(gate_is_ours((struct gate *)self));
}

static PyObject *
gate_create(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    unsigned long long address;
    PyObject *refuse;
    PyObject *idle;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "KOO", &address, &refuse, &idle)) {
        return NULL;
    }
    struct gate *gate = (struct gate *)PyType_GenericAlloc(type, 0);
    if (gate == NULL) {
        return NULL;
    }
    gate->store = (struct cascade *)(uintptr_t)address;
    gate->refuse = Py_NewRef(refuse);
    gate->idle = Py_NewRef(idle);
    gate->process = getpid();
    return (PyObject *)gate;
}

static void
gate_destroy(PyObject *self)
{
    struct gate *gate = (struct gate *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(gate->refuse);
    Py_XDECREF(gate->idle);
    PyObject_Free(self);
    Py_DECREF(type);
}

bool
gate_is_ours(const struct gate *gate)
{
    return gate->process == getpid();
}

void
gate_view_ended(struct gate *gate, PyObject *owner)
{
    gate->views--;
    if (gate->views != 0 || gate->state != GATE_LEAVING) {
        return;
    }
    // Runs where a block is deallocated, so an exception may be under way.
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethod(owner, "_last_view_ended", NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(owner);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

PyObject *
gate_type_create(void)
{
    static PyMethodDef methods[] = {
        {"call", gate_call, METH_VARARGS,
         "call(function, *arguments): function inside the gate, or refusal."},
        {"acquire", gate_acquire, METH_VARARGS,
         "acquire(owner, key, timeout_ns): a Block, or a status."},
        {"begin_close", gate_begin_close, METH_NOARGS,
         "Shuts the gate; False if it was not open."},
        {"reopen", gate_reopen, METH_NOARGS, "Takes begin_close back."},
        {"leave_later", gate_leave_later, METH_NOARGS,
         "Leaves the closing to the last view; False if there is none."},
        {"finish", gate_finish, METH_NOARGS, "The store is closed."},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef properties[] = {
        {"calls", gate_get_calls, NULL, "Calls inside.", NULL},
        {"views", gate_get_views, NULL, "Views out.", NULL},
        {"open", gate_get_open, NULL, "Whether calls may enter.", NULL},
        {"ours", gate_get_ours, NULL, "False in a child process.", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_new, gate_create},
        {Py_tp_dealloc, gate_destroy},
        {Py_tp_methods, methods},
        {Py_tp_getset, properties},
        {Py_tp_doc, (void *)(uintptr_t) "Who is inside a store."},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "cascade._native.Gate",
        .basicsize = sizeof(struct gate),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    return PyType_FromSpec(&spec);
}
