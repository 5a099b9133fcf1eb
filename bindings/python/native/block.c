// SPDX-License-Identifier: Apache-2.0
//
// Block: the bytes of a pinned block as a read-only buffer. It does not copy.
//
// Invariant: the pin is held while any buffer export exists, whoever closes
// the block; it is released once, by the last of close, export and object.
// Guarded by the interpreter lock.

#include "native.h"

struct block {
    PyObject_HEAD struct gate *gate;
    PyObject *owner; // the Store
    struct cascade_view view;
    Py_ssize_t exports;
    Py_ssize_t bytes; // stays readable after the release
    enum cascade_tier tier;
    bool held; // the view has to be released
    bool closed;
};

static PyTypeObject *block_type;

static void
block_release(struct block *block)
{
    // In a child process the pin belongs to the parent.
    if (!block->held || !gate_is_ours(block->gate)) {
        return;
    }
    block->held = false;
    cascade_release(block->gate->store, &block->view);
    block->view = (struct cascade_view){0};
    gate_view_ended(block->gate, block->owner);
}

static int
block_get_buffer(PyObject *self, Py_buffer *buffer, int flags)
{
    struct block *block = (struct block *)self;
    const char *reason = NULL;
    if (block->closed) {
        reason = "the block is closed";
    } else if (!gate_is_ours(block->gate)) {
        reason = "the block belongs to the parent process";
    } else if (block->view.memory != CASCADE_MEMORY_HOST) {
        reason = "the block is in device memory";
    }
    if (reason != NULL) {
        buffer->obj = NULL;
        PyErr_SetString(PyExc_BufferError, reason);
        return -1;
    }
    static char nothing;
    void *data = (void *)(uintptr_t)block->view.data;
    if (data == NULL) {
        data = &nothing;
    }
    if (PyBuffer_FillInfo(buffer, self, data, block->bytes, 1, flags) != 0) {
        return -1;
    }
    block->exports++;
    return 0;
}

static void
block_release_buffer(PyObject *self, Py_buffer *buffer)
{
    struct block *block = (struct block *)self;
    (void)buffer;
    block->exports--;
    if (block->exports == 0 && block->closed) {
        block_release(block);
    }
}

static PyObject *
block_close(PyObject *self, PyObject *nothing)
{
    struct block *block = (struct block *)self;
    (void)nothing;
    block->closed = true;
    if (block->exports != 0) {
        PyErr_Format(PyExc_BufferError,
                     "%zd buffers of the block are in use; it stays pinned "
                     "until the last of them is gone",
                     block->exports);
        return NULL;
    }
    block_release(block);
    Py_RETURN_NONE;
}

static PyObject *
block_enter(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    if (((struct block *)self)->closed) {
        PyErr_SetString(PyExc_ValueError, "the block is closed");
        return NULL;
    }
    return Py_NewRef(self);
}

static PyObject *
block_exit(PyObject *self, PyObject *arguments)
{
    struct block *block = (struct block *)self;
    (void)arguments;
    block->closed = true;
    if (block->exports == 0) {
        block_release(block);
    }
    Py_RETURN_NONE;
}

static Py_ssize_t
block_length(PyObject *self)
{
    return ((struct block *)self)->bytes;
}

static PyObject *
block_get_bytes(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromSsize_t(((struct block *)self)->bytes);
}

static PyObject *
block_get_tier(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromLong((long)((struct block *)self)->tier);
}

static PyObject *
block_get_closed(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyBool_FromLong(((struct block *)self)->closed);
}

static PyObject *
block_get_pinned(PyObject *self, void *nothing)
{
    struct block *block = (struct block *)self;
    (void)nothing;
    return PyBool_FromLong(block->held);
}

static PyObject *
block_get_address(PyObject *self, void *nothing)
{
    struct block *block = (struct block *)self;
    (void)nothing;
    if (block->closed) {
        PyErr_SetString(PyExc_ValueError, "the block is closed");
        return NULL;
    }
    return PyLong_FromUnsignedLongLong((uintptr_t)block->view.data);
}

static PyObject *
block_get_device(PyObject *self, void *nothing)
{
    struct block *block = (struct block *)self;
    (void)nothing;
    if (block->view.memory != CASCADE_MEMORY_DEVICE) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLong(block->view.device);
}

static void
block_destroy(PyObject *self)
{
    struct block *block = (struct block *)self;
    PyTypeObject *type = Py_TYPE(self);
    block_release(block);
    Py_XDECREF((PyObject *)block->gate);
    Py_XDECREF(block->owner);
    PyObject_Free(self);
    Py_DECREF(type);
}

PyObject *
block_acquire(struct gate *gate, PyObject *owner, struct cascade_key key,
              uint64_t timeout_ns)
{
    struct block *block = (struct block *)PyType_GenericAlloc(block_type, 0);
    if (block == NULL) {
        return NULL;
    }
    struct cascade_call call = {
        .size = sizeof(call),
        .timeout_ns = timeout_ns,
    };
    struct cascade_view view = {0};
    enum cascade_status status;
    Py_BEGIN_ALLOW_THREADS status = cascade_acquire(gate->store, key, &call,
                                                    &view);
    Py_END_ALLOW_THREADS if (status != CASCADE_OK)
    {
        Py_DECREF(block);
        return PyLong_FromLong((long)status);
    }
    block->view = view;
    block->held = true;
    block->bytes = (Py_ssize_t)view.bytes;
    block->tier = view.tier;
    block->gate = (struct gate *)Py_NewRef((PyObject *)gate);
    block->owner = Py_NewRef(owner);
    gate->views++;
    return (PyObject *)block;
}

PyObject *
block_type_create(void)
{
    static PyMethodDef methods[] = {
        {"close", block_close, METH_NOARGS,
         "Ends the view. BufferError while buffers of it are in use: the pin\n"
         "then ends with the last of them."},
        {"__enter__", block_enter, METH_NOARGS, NULL},
        {"__exit__", block_exit, METH_VARARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef properties[] = {
        {"nbytes", block_get_bytes, NULL, "Size in bytes.", NULL},
        {"tier", block_get_tier, NULL, "The tier it was found in.", NULL},
        {"closed", block_get_closed, NULL, "No new buffers.", NULL},
        {"pinned", block_get_pinned, NULL, "The bytes are held.", NULL},
        {"address", block_get_address, NULL, "Where the bytes are.", NULL},
        {"device", block_get_device, NULL, "GPU number or None.", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, block_destroy},
        {Py_tp_methods, methods},
        {Py_tp_getset, properties},
        {Py_sq_length, block_length},
        {Py_bf_getbuffer, block_get_buffer},
        {Py_bf_releasebuffer, block_release_buffer},
        {Py_tp_doc, (void *)(uintptr_t) "A pinned block, without a copy."},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "cascade.Block",
        .basicsize = sizeof(struct block),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromSpec(&spec);
    block_type = (PyTypeObject *)type;
    return type;
}
