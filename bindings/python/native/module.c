// SPDX-License-Identifier: Apache-2.0
//
// The module cascade._native: the three types and one function. Nothing else.

#include "native.h"

PyMODINIT_FUNC
PyInit__native(void);

static PyObject *
has_buffer(PyObject *module, PyObject *object)
{
    (void)module;
    return PyBool_FromLong(PyObject_CheckBuffer(object));
}

static bool
add_type(PyObject *module, const char *name, PyObject *type)
{
    if (type == NULL) {
        return false;
    }
    return PyModule_AddObjectRef(module, name, type) == 0;
}

PyMODINIT_FUNC
PyInit__native(void)
{
    static PyMethodDef methods[] = {
        {"has_buffer", has_buffer, METH_O,
         "Whether the object has the buffer protocol."},
        {"dlpack_layout", memory_dlpack_layout, METH_O,
         "(device type, address, shape, strides, bits) of a capsule."},
        {NULL, NULL, 0, NULL},
    };
    static struct PyModuleDef definition = {
        PyModuleDef_HEAD_INIT,
        .m_name = "cascade._native",
        .m_doc = "C types of the package cascade.",
        .m_size = -1,
        .m_methods = methods,
    };
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) {
        return NULL;
    }
    if (!add_type(module, "Gate", gate_type_create()) ||
        !add_type(module, "Block", block_type_create()) ||
        !add_type(module, "Memory", memory_type_create())) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
