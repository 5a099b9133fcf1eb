// SPDX-License-Identifier: Apache-2.0
//
// Names and sentences of statuses, and the per-thread message. The message is
// thread-local, so no lock is held or needed.

#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[ERROR_MESSAGE_BYTES];

const char *
cascade_status_name(enum cascade_status status)
{
    switch (status) {
    case CASCADE_OK:
        return "OK";
    case CASCADE_NOT_FOUND:
        return "NOT_FOUND";
    case CASCADE_EXISTS:
        return "EXISTS";
    case CASCADE_NO_SPACE:
        return "NO_SPACE";
    case CASCADE_BUSY:
        return "BUSY";
    case CASCADE_TIMEOUT:
        return "TIMEOUT";
    case CASCADE_CANCELLED:
        return "CANCELLED";
    case CASCADE_NO_MEMORY:
        return "NO_MEMORY";
    case CASCADE_INVALID:
        return "INVALID";
    case CASCADE_TOO_SMALL:
        return "TOO_SMALL";
    case CASCADE_TOO_LARGE:
        return "TOO_LARGE";
    case CASCADE_UNSUPPORTED:
        return "UNSUPPORTED";
    case CASCADE_FORKED:
        return "FORKED";
    case CASCADE_CLOSED:
        return "CLOSED";
    case CASCADE_CORRUPT:
        return "CORRUPT";
    case CASCADE_STALE:
        return "STALE";
    case CASCADE_IO:
        return "IO";
    case CASCADE_LOCKED:
        return "LOCKED";
    case CASCADE_PERMISSION:
        return "PERMISSION";
    case CASCADE_VERSION:
        return "VERSION";
    }
    return "UNKNOWN";
}

const char *
cascade_status_sentence(enum cascade_status status)
{
    switch (status) {
    case CASCADE_OK:
        return "Done";
    case CASCADE_NOT_FOUND:
        return "There is no block under that key";
    case CASCADE_EXISTS:
        return "The key is bound already and was left as it is";
    case CASCADE_NO_SPACE:
        return "No tier has room for the block";
    case CASCADE_BUSY:
        return "It is in use; release it or try again later";
    case CASCADE_TIMEOUT:
        return "The deadline passed first";
    case CASCADE_CANCELLED:
        return "It was cancelled before it started";
    case CASCADE_NO_MEMORY:
        return "The system gave no memory";
    case CASCADE_INVALID:
        return "An argument is out of its range";
    case CASCADE_TOO_SMALL:
        return "The output does not hold the answer";
    case CASCADE_TOO_LARGE:
        return "The block is larger than every tier";
    case CASCADE_UNSUPPORTED:
        return "This build or machine cannot do that";
    case CASCADE_FORKED:
        return "The store belongs to the parent process; open one after fork";
    case CASCADE_CLOSED:
        return "The store or queue is closing";
    case CASCADE_CORRUPT:
        return "The only copies of the block are damaged and now forgotten";
    case CASCADE_STALE:
        return "That copy is gone";
    case CASCADE_IO:
        return "A file or device failed";
    case CASCADE_LOCKED:
        return "Another live store owns the directory";
    case CASCADE_PERMISSION:
        return "The system refused access";
    case CASCADE_VERSION:
        return "It was written by a newer release and was left alone";
    }
    return "Unknown status";
}

enum cascade_status
error_set(enum cascade_status status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    return status;
}

enum cascade_status
error_status_of_errno(int error_number)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        return CASCADE_NO_SPACE;
    case ENOMEM:
        return CASCADE_NO_MEMORY;
    case EACCES:
    case EPERM:
    case EROFS:
        return CASCADE_PERMISSION;
    case ENOENT:
        return CASCADE_NOT_FOUND;
    default:
        return CASCADE_IO;
    }
}

enum cascade_status
error_set_errno(int error_number, const char *format, ...)
{
    char cause[128];
    va_list arguments;
    size_t used;
    const char *text = strerror_r(error_number, cause, sizeof(cause));

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    used = strlen(message);
    (void)snprintf(message + used, sizeof(message) - used, ": %s", text);
    return error_status_of_errno(error_number);
}

const char *
error_message(void)
{
    return message;
}

void
error_clear(void)
{
    message[0] = '\0';
}
