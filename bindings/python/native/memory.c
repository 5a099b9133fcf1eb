// SPDX-License-Identifier: Apache-2.0
//
// Memory: a caller's buffer as an address, or, where its bytes do not lie in C
// order without gaps, as runs that can be gathered into and scattered from
// such an order. It knows no types of elements: bytes are bytes.
//
// Invariant: `data`, the runs and `bytes` describe memory that `buffer` or
// `owner` keeps alive. After close there is no memory. The interpreter lock
// guards the object; the copies run without it, and the caller must not close
// the object meanwhile.

#include "native.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

// Spans are filled as one type and read as either.
static_assert(sizeof(struct cascade_span) == sizeof(struct cascade_const_span),
              "spans to read and to write have one layout");
static_assert(offsetof(struct cascade_span, bytes) ==
                  offsetof(struct cascade_const_span, bytes),
              "spans to read and to write have one layout");
static_assert(offsetof(struct cascade_span, memory) ==
                  offsetof(struct cascade_const_span, memory),
              "spans to read and to write have one layout");
static_assert(offsetof(struct cascade_span, device) ==
                  offsetof(struct cascade_const_span, device),
              "spans to read and to write have one layout");

#define RANK_MAX 64

struct memory {
    PyObject_HEAD Py_buffer buffer;
    PyObject *owner;
    char *data;
    Py_ssize_t bytes;
    Py_ssize_t run_bytes; // bytes that lie together
    int rank;             // dimensions over the runs; 0: all lies together
    Py_ssize_t shape[RANK_MAX];
    Py_ssize_t strides[RANK_MAX];
    bool has_buffer;
};

// Direction and progress of one copy between the runs and a flat buffer.
struct move {
    char *flat;
    Py_ssize_t left; // bytes still to move
    bool to_flat;
};

static void
move_bytes(struct move *move, char *strided, Py_ssize_t bytes)
{
    if (bytes > move->left) {
        bytes = move->left;
    }
    if (move->to_flat) {
        memcpy(move->flat, strided, (size_t)bytes);
    } else {
        memcpy(strided, move->flat, (size_t)bytes);
    }
    move->flat += bytes;
    move->left -= bytes;
}

// A row of runs of a size known when compiled, so that memcpy is a move.
#define ROW_OF(size)                                                     \
    case size:                                                           \
        for (Py_ssize_t i = 0; i < count; i++) {                         \
            char *at = strided + i * stride;                             \
            char *flat = move->flat + i * (size);                        \
            memcpy(move->to_flat ? flat : at, move->to_flat ? at : flat, \
                   (size));                                              \
        }                                                                \
        break

static void
move_row(struct move *move, char *strided, Py_ssize_t count, Py_ssize_t stride,
         Py_ssize_t run)
{
    Py_ssize_t whole = move->left / run;
    bool cut = whole < count;
    if (cut) {
        count = whole;
    }
    switch (run) {
        ROW_OF(1);
        ROW_OF(2);
        ROW_OF(4);
        ROW_OF(8);
        ROW_OF(16);
    default:
        for (Py_ssize_t i = 0; i < count; i++) {
            char *at = strided + i * stride;
            char *flat = move->flat + i * run;
            memcpy(move->to_flat ? flat : at, move->to_flat ? at : flat,
                   (size_t)run);
        }
        break;
    }
    move->flat += count * run;
    move->left -= count * run;
    if (cut && move->left != 0) {
        move_bytes(move, strided + count * stride, run);
    }
}

static void
move_all(const struct memory *memory, struct move *move)
{
    if (memory->rank == 0) {
        move_bytes(move, memory->data, memory->bytes);
        return;
    }
    Py_ssize_t index[RANK_MAX] = {0};
    int inner = memory->rank - 1;
    char *row = memory->data;
    while (move->left != 0) {
        move_row(move, row, memory->shape[inner], memory->strides[inner],
                 memory->run_bytes);
        int dimension = inner - 1;
        while (dimension >= 0) {
            row += memory->strides[dimension];
            index[dimension]++;
            if (index[dimension] < memory->shape[dimension]) {
                break;
            }
            row -= memory->strides[dimension] * memory->shape[dimension];
            index[dimension] = 0;
            dimension--;
        }
        if (dimension < 0) {
            break;
        }
    }
}

// Turns shape and strides into the fewest dimensions over the longest runs.
static bool
memory_set_layout(struct memory *memory, int rank, const Py_ssize_t *shape,
                  const Py_ssize_t *strides, Py_ssize_t item_bytes)
{
    if (rank > RANK_MAX || rank < 0 || item_bytes < 0) {
        PyErr_SetString(PyExc_ValueError, "the layout has too many dimensions");
        return false;
    }
    memory->rank = 0;
    memory->bytes = item_bytes;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0 ||
            __builtin_mul_overflow(memory->bytes, shape[i], &memory->bytes)) {
            PyErr_SetString(PyExc_ValueError, "the shape is out of range");
            return false;
        }
    }
    memory->run_bytes = memory->bytes;
    if (memory->bytes == 0 || strides == NULL) {
        return true;
    }
    Py_ssize_t run = item_bytes;
    int outer = rank;
    while (outer > 0 && (shape[outer - 1] == 1 || strides[outer - 1] == run)) {
        outer--;
        run *= shape[outer];
    }
    memory->run_bytes = run;
    for (int i = 0; i < outer; i++) {
        if (shape[i] == 1) {
            continue;
        }
        int last = memory->rank - 1;
        if (memory->rank != 0 &&
            memory->strides[last] == shape[i] * strides[i]) {
            memory->shape[last] *= shape[i];
            memory->strides[last] = strides[i];
            continue;
        }
        memory->shape[memory->rank] = shape[i];
        memory->strides[memory->rank] = strides[i];
        memory->rank++;
    }
    return true;
}

static bool
sizes_of_tuple(PyObject *tuple, Py_ssize_t *sizes, Py_ssize_t *count)
{
    *count = PyTuple_Size(tuple);
    if (*count < 0) {
        return false;
    }
    if (*count > RANK_MAX) {
        PyErr_SetString(PyExc_ValueError, "the layout has too many dimensions");
        return false;
    }
    for (Py_ssize_t i = 0; i < *count; i++) {
        sizes[i] = PyLong_AsSsize_t(PyTuple_GetItem(tuple, i));
        if (sizes[i] == -1 && PyErr_Occurred() != NULL) {
            return false;
        }
    }
    return true;
}

static PyObject *
memory_create(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *object;
    int writable;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "Op", &object, &writable)) {
        return NULL;
    }
    struct memory *memory = (struct memory *)PyType_GenericAlloc(type, 0);
    if (memory == NULL) {
        return NULL;
    }
    // Without PyBUF_FORMAT, so that formats nobody here reads cannot fail.
    int flags = writable ? PyBUF_STRIDED : PyBUF_STRIDED_RO;
    if (PyObject_GetBuffer(object, &memory->buffer, flags) != 0) {
        Py_DECREF(memory);
        return NULL;
    }
    memory->has_buffer = true;
    memory->data = memory->buffer.buf;
    bool known = memory->buffer.shape != NULL;
    Py_ssize_t item = known ? memory->buffer.itemsize : memory->buffer.len;
    if (!memory_set_layout(memory, known ? memory->buffer.ndim : 0,
                           memory->buffer.shape, memory->buffer.strides,
                           item)) {
        Py_DECREF(memory);
        return NULL;
    }
    if (memory->bytes != memory->buffer.len) {
        PyErr_SetString(PyExc_ValueError,
                        "the buffer's length and shape disagree");
        Py_DECREF(memory);
        return NULL;
    }
    return (PyObject *)memory;
}

static PyObject *
memory_from_layout(PyObject *type, PyObject *arguments)
{
    PyObject *owner;
    unsigned long long address;
    PyObject *shape_tuple;
    PyObject *strides_tuple;
    Py_ssize_t item_bytes;
    if (!PyArg_ParseTuple(arguments, "OKO!On", &owner, &address, &PyTuple_Type,
                          &shape_tuple, &strides_tuple, &item_bytes)) {
        return NULL;
    }
    Py_ssize_t shape[RANK_MAX];
    Py_ssize_t strides[RANK_MAX];
    Py_ssize_t rank;
    Py_ssize_t stride_count = 0;
    bool has_strides = strides_tuple != Py_None;
    if (!sizes_of_tuple(shape_tuple, shape, &rank) ||
        (has_strides &&
         !sizes_of_tuple(strides_tuple, strides, &stride_count))) {
        return NULL;
    }
    if (has_strides && stride_count != rank) {
        PyErr_SetString(PyExc_ValueError, "shape and strides disagree");
        return NULL;
    }
    struct memory *memory = (struct memory *)PyType_GenericAlloc(
        (PyTypeObject *)type, 0);
    if (memory == NULL) {
        return NULL;
    }
    memory->owner = Py_NewRef(owner);
    memory->data = (char *)(uintptr_t)address;
    if (!memory_set_layout(memory, (int)rank, shape,
                           has_strides ? strides : NULL, item_bytes)) {
        Py_DECREF(memory);
        return NULL;
    }
    return (PyObject *)memory;
}

static bool
memory_is_open(const struct memory *memory)
{
    if (!memory->has_buffer && memory->owner == NULL) {
        PyErr_SetString(PyExc_ValueError, "the memory was closed");
        return false;
    }
    return true;
}

static PyObject *
memory_move(PyObject *self, PyObject *arguments, bool to_flat)
{
    const struct memory *memory = (const struct memory *)self;
    unsigned long long address;
    Py_ssize_t bytes;
    if (!PyArg_ParseTuple(arguments, "Kn", &address, &bytes) ||
        !memory_is_open(memory)) {
        return NULL;
    }
    if (bytes < 0 || bytes > memory->bytes) {
        PyErr_SetString(PyExc_ValueError, "more bytes than the memory has");
        return NULL;
    }
    struct move move = {
        .flat = (char *)(uintptr_t)address,
        .left = bytes,
        .to_flat = to_flat,
    };
    Py_BEGIN_ALLOW_THREADS move_all(memory, &move);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *
memory_gather(PyObject *self, PyObject *arguments)
{
    return memory_move(self, arguments, true);
}

static PyObject *
memory_scatter(PyObject *self, PyObject *arguments)
{
    return memory_move(self, arguments, false);
}

// The runs in C order, one span each. The room is the caller's promise.
static void
spans_of_runs(const struct memory *memory, struct cascade_span *spans)
{
    Py_ssize_t index[RANK_MAX] = {0};
    char *run = memory->data;
    Py_ssize_t count = memory->bytes / memory->run_bytes;
    for (Py_ssize_t i = 0; i < count; i++) {
        spans[i] = (struct cascade_span){
            .data = run,
            .bytes = (size_t)memory->run_bytes,
            .memory = CASCADE_MEMORY_HOST,
            .device = -1,
        };
        for (int dimension = memory->rank - 1; dimension >= 0; dimension--) {
            run += memory->strides[dimension];
            index[dimension]++;
            if (index[dimension] < memory->shape[dimension]) {
                break;
            }
            run -= memory->strides[dimension] * memory->shape[dimension];
            index[dimension] = 0;
        }
    }
}

static PyObject *
memory_fill_spans(PyObject *self, PyObject *arguments)
{
    const struct memory *memory = (const struct memory *)self;
    unsigned long long address;
    Py_ssize_t room;
    if (!PyArg_ParseTuple(arguments, "Kn", &address, &room) ||
        !memory_is_open(memory)) {
        return NULL;
    }
    if (memory->bytes == 0 || room < memory->bytes / memory->run_bytes) {
        PyErr_SetString(PyExc_ValueError, "no room for a span of each run");
        return NULL;
    }
    spans_of_runs(memory, (struct cascade_span *)(uintptr_t)address);
    Py_RETURN_NONE;
}

static PyObject *
memory_close(PyObject *self, PyObject *nothing)
{
    struct memory *memory = (struct memory *)self;
    (void)nothing;
    if (memory->has_buffer) {
        memory->has_buffer = false;
        PyBuffer_Release(&memory->buffer);
    }
    Py_CLEAR(memory->owner);
    memory->data = NULL;
    Py_RETURN_NONE;
}

static PyObject *
memory_get_address(PyObject *self, void *nothing)
{
    const struct memory *memory = (const struct memory *)self;
    (void)nothing;
    if (!memory_is_open(memory)) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong((uintptr_t)memory->data);
}

static PyObject *
memory_get_bytes(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromSsize_t(((const struct memory *)self)->bytes);
}

static PyObject *
memory_get_run_bytes(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromSsize_t(((const struct memory *)self)->run_bytes);
}

// Whether two elements may share a byte: some dimension steps less far than
// all the shorter steps together reach.
static PyObject *
memory_get_overlaps(PyObject *self, void *nothing)
{
    const struct memory *memory = (const struct memory *)self;
    (void)nothing;
    bool taken[RANK_MAX] = {false};
    Py_ssize_t reach = memory->run_bytes;
    for (int i = 0; i < memory->rank; i++) {
        int shortest = -1;
        Py_ssize_t step = 0;
        for (int dimension = 0; dimension < memory->rank; dimension++) {
            Py_ssize_t stride = memory->strides[dimension];
            stride = stride < 0 ? -stride : stride;
            if (!taken[dimension] && (shortest < 0 || stride < step)) {
                shortest = dimension;
                step = stride;
            }
        }
        if (step < reach) {
            Py_RETURN_TRUE;
        }
        taken[shortest] = true;
        reach += (memory->shape[shortest] - 1) * step;
    }
    Py_RETURN_FALSE;
}

static PyObject *
memory_get_contiguous(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyBool_FromLong(((const struct memory *)self)->rank == 0);
}

static void
memory_destroy(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(memory_close(self, NULL));
    PyObject_Free(self);
    Py_DECREF(type);
}

// The layout that DLPack 0.x fixed: github.com/dmlc/dlpack, dlpack.h.
struct dlpack_tensor {
    void *data;
    int32_t device_type;
    int32_t device_id;
    int32_t rank;
    uint8_t type_code;
    uint8_t type_bits;
    uint16_t type_lanes;
    int64_t *shape;
    int64_t *strides; // in items; NULL: C order
    uint64_t byte_offset;
};

static PyObject *
tuple_of_sizes(const int64_t *sizes, int32_t count, int64_t scale)
{
    PyObject *tuple = PyTuple_New(count);
    for (int32_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *size = PyLong_FromLongLong(sizes[i] * scale);
        if (size == NULL) {
            Py_CLEAR(tuple);
        } else {
            (void)PyTuple_SetItem(tuple, i, size);
        }
    }
    return tuple;
}

PyObject *
memory_dlpack_layout(PyObject *module, PyObject *capsule)
{
    (void)module;
    const struct dlpack_tensor *tensor = PyCapsule_GetPointer(capsule,
                                                              "dltensor");
    if (tensor == NULL) {
        return NULL;
    }
    int64_t bits = (int64_t)tensor->type_bits * tensor->type_lanes;
    PyObject *shape = tuple_of_sizes(tensor->shape, tensor->rank, 1);
    PyObject *strides = Py_NewRef(Py_None);
    if (tensor->strides != NULL) {
        Py_DECREF(strides);
        strides = tuple_of_sizes(tensor->strides, tensor->rank, bits / 8);
    }
    if (shape == NULL || strides == NULL) {
        Py_XDECREF(shape);
        Py_XDECREF(strides);
        return NULL;
    }
    uintptr_t address = (uintptr_t)tensor->data + tensor->byte_offset;
    return Py_BuildValue("iKNNL", (int)tensor->device_type,
                         (unsigned long long)address, shape, strides,
                         (long long)bits);
}

PyObject *
memory_type_create(void)
{
    static PyMethodDef methods[] = {
        {"from_layout", memory_from_layout, METH_VARARGS | METH_CLASS,
         "from_layout(owner, address, shape, strides, item_bytes)"},
        {"gather", memory_gather, METH_VARARGS,
         "gather(address, bytes): copies the first bytes in C order there."},
        {"scatter", memory_scatter, METH_VARARGS,
         "scatter(address, bytes): fills the first bytes in C order."},
        {"fill_spans", memory_fill_spans, METH_VARARGS,
         "fill_spans(address, room): a struct cascade_span for each run."},
        {"close", memory_close, METH_NOARGS, "Lets the buffer go."},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef properties[] = {
        {"address", memory_get_address, NULL, "Of the first element.", NULL},
        {"nbytes", memory_get_bytes, NULL, "Size in bytes.", NULL},
        {"overlaps", memory_get_overlaps, NULL, "Elements share bytes.", NULL},
        {"run_bytes", memory_get_run_bytes, NULL, "That lie together.", NULL},
        {"contiguous", memory_get_contiguous, NULL, "C order, no gaps.", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    static PyType_Slot slots[] = {
        {Py_tp_new, memory_create},
        {Py_tp_dealloc, memory_destroy},
        {Py_tp_methods, methods},
        {Py_tp_getset, properties},
        {Py_tp_doc, (void *)(uintptr_t) "A caller's buffer."},
        {0, NULL},
    };
    static PyType_Spec spec = {
        .name = "cascade._native.Memory",
        .basicsize = sizeof(struct memory),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    return PyType_FromSpec(&spec);
}
