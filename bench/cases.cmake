# SPDX-License-Identifier: Apache-2.0
#
# The benchmark cases are data: every bench/cases/*.cases becomes text inside
# the command. Sets CASCADE_BENCH_CASES, the source that holds it.

file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cases/*.cases)
set(CASCADE_BENCH_CASES ${CMAKE_BINARY_DIR}/generated/bench_cases.c)
set(text "// Made from bench/cases/*.cases by bench/cases.cmake.\n")
string(APPEND text "#include \"bench/bench_case.h\"\n\n")
string(APPEND text "const char bench_case_text[] =\n")
foreach(file IN LISTS files)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(STRINGS ${file} lines)
  foreach(line IN LISTS lines)
    string(REPLACE "\\" "\\\\" line "${line}")
    string(REPLACE "\"" "\\\"" line "${line}")
    string(APPEND text "    \"${line}\\n\"\n")
  endforeach()
endforeach()
string(APPEND text "    \"\";\n")
file(CONFIGURE OUTPUT ${CASCADE_BENCH_CASES} CONTENT "${text}" @ONLY)

# What a result says about how it was made.
set(compiler "${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}")
string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
string(STRIP "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${type}}" flags)
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "unknown")
endif()
set_property(SOURCE ${CMAKE_SOURCE_DIR}/bench/bench_record.c APPEND PROPERTY
  COMPILE_DEFINITIONS
  BENCH_COMPILER="${compiler}" BENCH_FLAGS="${flags}" BENCH_COMMIT="${commit}")
