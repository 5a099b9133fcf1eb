# SPDX-License-Identifier: Apache-2.0
#
# How tests are made known to ctest. Exit status 77 is "skipped" everywhere.

set(CASCADE_TEST_TIMEOUT_SECONDS 120 CACHE STRING "Limit of one test")
# Tests that cannot run under an emulator, each with the reason.
set(CASCADE_SKIP_LIST "" CACHE STRING "File of tests to skip")
if(CMAKE_CROSSCOMPILING_EMULATOR)
  set(CASCADE_TEST_TIMEOUT_SECONDS 1200)
endif()
set(CASCADE_LONG_TIMEOUT_SECONDS 1800 CACHE STRING "Limit of one long test")

# Registers one test: cascade_register_test(NAME [LABEL label] COMMAND ...)
function(cascade_register_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL" "COMMAND")
  if(CASCADE_SKIP_LIST)
    string(REGEX REPLACE "^aligned_" "" listed ${name})
    file(STRINGS ${CMAKE_SOURCE_DIR}/${CASCADE_SKIP_LIST} row REGEX "^${listed} ")
    if(row)
      string(REGEX REPLACE "^[^ ]+ +" "" reason "${row}")
      set(arg_COMMAND sh -c "echo '${reason}' && exit 77")
    endif()
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND})
  set(seconds ${CASCADE_TEST_TIMEOUT_SECONDS})
  if(arg_LABEL STREQUAL "long")
    set(seconds ${CASCADE_LONG_TIMEOUT_SECONDS})
  endif()
  set_tests_properties(${name} PROPERTIES
    SKIP_RETURN_CODE 77 TIMEOUT ${seconds} LABELS "${arg_LABEL}"
    ENVIRONMENT "CASCADE_SOURCE_DIR=${CMAKE_SOURCE_DIR};CASCADE_BUILD_DIR=${CMAKE_BINARY_DIR};ASAN_OPTIONS=detect_leaks=1;UBSAN_OPTIONS=print_stacktrace=1;TSAN_OPTIONS=halt_on_error=1:die_after_fork=0")
endfunction()

# Builds the program FOLDER_NAME from tests/FOLDER/test_NAME.c and the helpers
# of that folder (its other .c files).
function(cascade_add_test_program source helpers)
  get_filename_component(stem ${source} NAME_WE)
  get_filename_component(folder_path ${source} DIRECTORY)
  get_filename_component(folder ${folder_path} NAME)
  string(REGEX REPLACE "^test_" "" stem ${stem})
  set(program ${folder}_${stem})
  add_executable(${program}
    ${source} ${helpers} ${CMAKE_SOURCE_DIR}/tests/filter.c)
  set_target_properties(${program} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${program} PRIVATE
    cascade_build cascade_test_support cascade_internal PkgConfig::cmocka)
  set(label ${folder})
  cascade_register_test(${program} LABEL ${label} COMMAND ${program})
endfunction()

# One ctest test for each bindings/python/tests/test_*.py.
function(cascade_add_python_tests)
  file(GLOB sources CONFIGURE_DEPENDS
    ${CMAKE_SOURCE_DIR}/bindings/python/tests/test_*.py)
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    string(REGEX REPLACE "^test_" "python_" name ${stem})
    cascade_register_test(${name} LABEL python COMMAND
      ${CMAKE_COMMAND} -E env PYTHONPATH=${CMAKE_BINARY_DIR}/python
      ${CMAKE_SOURCE_DIR}/scripts/run_pytest ${CASCADE_PYTHON} ${source})
  endforeach()
endfunction()

# One ctest test for each examples/*.py, run as the guide tells to run it.
function(cascade_add_python_examples)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.py)
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    cascade_register_test(example_${stem} LABEL python COMMAND
      ${CMAKE_COMMAND} -E env PYTHONPATH=${CMAKE_BINARY_DIR}/python
      ${CASCADE_PYTHON} ${source})
  endforeach()
endfunction()
