// SPDX-License-Identifier: Apache-2.0
//
// The message that goes with a status. The function that first knows the
// failure writes it, naming the thing and the remedy; callers above only pass
// the status on. Kept per thread, like errno; read through
// `cascade_error_message`. Not a log.

#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/attributes.h"
#include "cascade/status.h"

#define ERROR_MESSAGE_BYTES 512

// Stores the formatted message for this thread and returns `status`, so that a
// failure is one line: return error_set(CASCADE_IO, "cannot read %s: ...", p).
enum cascade_status
error_set(enum cascade_status status, const char *format, ...)
    PRINTF_LIKE(2, 3);

// Maps a positive errno to the status that a caller can act on: ENOSPC and
// EDQUOT to NO_SPACE, ENOMEM to NO_MEMORY, EACCES, EPERM and EROFS to
// PERMISSION, ENOENT to NOT_FOUND, others to IO.
enum cascade_status
error_status_of_errno(int error_number);

// Same as error_set with the status of `error_number`; ": <system's text>" is
// appended.
enum cascade_status
error_set_errno(int error_number, const char *format, ...) PRINTF_LIKE(2, 3);

// This thread's last message; "" if there was none. Valid until the thread's
// next failing call.
const char *
error_message(void);

// Forgets this thread's message.
void
error_clear(void);

#endif
