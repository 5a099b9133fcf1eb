# SPDX-License-Identifier: Apache-2.0
#
# The warnings that the project is compiled with, by gcc and clang alike.

set(CASCADE_WARNINGS
  -Wall -Wextra -Wundef -Wshadow -Wconversion -Wcast-qual
  -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum -Wvla -Wformat=2)
if(CASCADE_WERROR)
  list(APPEND CASCADE_WARNINGS -Werror)
endif()
