# SPDX-License-Identifier: Apache-2.0
#
# The libraries that the product stands on. docs/HACKING.md says what each is
# for. CASCADE_LIBRARIES is what the library links.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

pkg_check_modules(libcrypto REQUIRED IMPORTED_TARGET libcrypto>=3.0)
pkg_check_modules(libisal REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing>=2.3)
pkg_check_modules(jansson REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(inih REQUIRED IMPORTED_TARGET inih)

if(CASCADE_TOOLS OR CASCADE_TESTS)
  pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
endif()

set(CASCADE_LIBRARIES
  PkgConfig::libcrypto PkgConfig::libisal PkgConfig::liburing
  PkgConfig::jansson PkgConfig::inih
  Threads::Threads ${CMAKE_DL_LIBS} m rt)

if(CASCADE_TESTS)
  pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
endif()

# The interpreter for the Python package and its tests: the one that
# scripts/setup prepared, else the one on the path.
set(CASCADE_PYTHON "" CACHE FILEPATH "Python with cffi, numpy and pytest")
if(NOT CASCADE_PYTHON)
  if(EXISTS ${CMAKE_SOURCE_DIR}/build/venv/bin/python3)
    set(CASCADE_PYTHON ${CMAKE_SOURCE_DIR}/build/venv/bin/python3)
  else()
    find_program(CASCADE_PYTHON_ON_PATH python3)
    set(CASCADE_PYTHON ${CASCADE_PYTHON_ON_PATH})
  endif()
endif()
