# SPDX-License-Identifier: Apache-2.0
#
# What `cascade info` says of its own build: flags, and the commit if this is a
# checkout. A new commit configures again, so that it is never another one's.

set(commit unknown)
find_program(CASCADE_GIT git)
if(CASCADE_GIT AND EXISTS ${CMAKE_SOURCE_DIR}/.git)
  execute_process(COMMAND ${CASCADE_GIT} rev-parse --short=12 HEAD
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} ERROR_QUIET
    OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(answer)
    set(commit ${answer})
  endif()
  execute_process(COMMAND ${CASCADE_GIT} rev-parse --git-path logs/HEAD
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} ERROR_QUIET
    OUTPUT_VARIABLE log OUTPUT_STRIP_TRAILING_WHITESPACE)
  get_filename_component(log "${log}" ABSOLUTE BASE_DIR ${CMAKE_SOURCE_DIR})
  if(EXISTS ${log} AND NOT IS_DIRECTORY ${log})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${log})
  endif()
endif()

string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
set(flags "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${type}} ${CASCADE_SANITIZE_FLAGS}")
string(REPLACE ";" " " flags "${flags}")
string(REGEX REPLACE " +" " " flags "${flags}")
string(STRIP "${flags}" flags)
set_property(SOURCE ${CMAKE_SOURCE_DIR}/tools/command_info.c APPEND PROPERTY
  COMPILE_DEFINITIONS
  "CASCADE_BUILD_COMMIT=\"${commit}\"" "CASCADE_BUILD_FLAGS=\"${flags}\"")
