# SPDX-License-Identifier: Apache-2.0
#
# Builds for 64-bit Arm on another machine, with Debian's cross compiler and the
# arm64 libraries that `scripts/setup --aarch64` unpacks, and runs the programs
# in qemu: `make check-aarch64`. On an Arm machine nothing of this is needed.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

get_filename_component(CASCADE_ARM_ROOT
  ${CMAKE_CURRENT_LIST_DIR}/../build-aarch64/root ABSOLUTE)
set(CASCADE_ARM_LIBRARIES ${CASCADE_ARM_ROOT}/usr/lib/aarch64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR} ${CASCADE_ARM_LIBRARIES}/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CASCADE_ARM_ROOT})
set(CMAKE_C_FLAGS_INIT "-isystem ${CASCADE_ARM_ROOT}/usr/include \
-isystem ${CASCADE_ARM_ROOT}/usr/include/aarch64-linux-gnu")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${CASCADE_ARM_LIBRARIES}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT ${CMAKE_EXE_LINKER_FLAGS_INIT})
set(CMAKE_CROSSCOMPILING_EMULATOR
  qemu-aarch64 -L /usr/aarch64-linux-gnu
  -E LD_LIBRARY_PATH=${CASCADE_ARM_LIBRARIES})
