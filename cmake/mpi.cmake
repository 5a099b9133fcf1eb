# SPDX-License-Identifier: Apache-2.0
#
# The MPI fabric: one module for each MPI found, build/lib/cascade/
# fabric_<mpi>.so, opened at run time, so that nothing else needs MPI. Debian
# has both side by side (mpicc.openmpi, mpicc.mpich); elsewhere `mpicc` is
# asked which one it is. On a machine with a wrapper of its own the module is
# built by that: MPICC=cc make.
#
# A module is linked with its MPI and with nothing of the library: a second copy
# of the library's globals would be another library.

file(GLOB CASCADE_MPI_SOURCES CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/src/fabric/fabric_mpi*.c)
set(CASCADE_MPI_FOUND "")

# What a compiler wrapper adds, as three lists.
function(cascade_ask_mpi_wrapper wrapper folders compile_options link_options)
  execute_process(COMMAND ${wrapper} -show
    OUTPUT_VARIABLE shown ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(words UNIX_COMMAND "${shown}")
  set(include ${words})
  list(FILTER include INCLUDE REGEX "^-I")
  list(TRANSFORM include REPLACE "^-I" "")
  set(compile ${words})
  list(FILTER compile INCLUDE REGEX "^-(D|pthread)")
  set(link ${words})
  list(FILTER link INCLUDE REGEX "^-(L|l|Wl,|pthread)")
  set(${folders} "${include}" PARENT_SCOPE)
  set(${compile_options} "${compile}" PARENT_SCOPE)
  set(${link_options} "${link}" PARENT_SCOPE)
endfunction()

function(cascade_add_mpi_module mpi wrapper)
  cascade_ask_mpi_wrapper(${wrapper} folders compile link)
  add_library(fabric_${mpi} MODULE ${CASCADE_MPI_SOURCES})
  set_target_properties(fabric_${mpi} PROPERTIES
    PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/cascade)
  # The headers of MPI are not ours to warn about.
  target_include_directories(fabric_${mpi} SYSTEM PRIVATE ${folders})
  target_compile_options(fabric_${mpi} PRIVATE ${compile})
  target_include_directories(fabric_${mpi} PRIVATE
    ${CMAKE_SOURCE_DIR}/include ${CMAKE_BINARY_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(fabric_${mpi} PRIVATE
    cascade_build Threads::Threads ${link})
  if(NOT CASCADE_SANITIZE_FLAGS)
    target_link_options(fabric_${mpi} PRIVATE LINKER:--no-undefined)
  endif()
  install(TARGETS fabric_${mpi}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/cascade)
endfunction()

# The same with a wrapper that cannot be asked: it compiles and links.
function(cascade_add_mpi_module_by_wrapper mpi wrapper)
  set(module ${CMAKE_BINARY_DIR}/lib/cascade/fabric_${mpi}.so)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/fabric/fabric*.h)
  add_custom_command(OUTPUT ${module}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/lib/cascade
    COMMAND ${wrapper} -std=gnu11 -O2 -g -fPIC -shared -fvisibility=hidden
      -D_GNU_SOURCE -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_BINARY_DIR}/include
      -I${CMAKE_SOURCE_DIR}/src ${CASCADE_MPI_SOURCES} -o ${module} -lpthread
    DEPENDS ${CASCADE_MPI_SOURCES} ${headers} VERBATIM)
  add_custom_target(fabric_${mpi} ALL DEPENDS ${module})
  install(PROGRAMS ${module} DESTINATION ${CMAKE_INSTALL_LIBDIR}/cascade)
endfunction()

# Which MPI a wrapper compiles for: openmpi, mpich or nothing.
function(cascade_which_mpi wrapper result)
  file(WRITE ${CMAKE_BINARY_DIR}/generated/which_mpi.c "#include <mpi.h>\n")
  execute_process(
    COMMAND ${wrapper} -dM -E ${CMAKE_BINARY_DIR}/generated/which_mpi.c
    OUTPUT_VARIABLE macros ERROR_QUIET RESULT_VARIABLE failed)
  set(${result} "" PARENT_SCOPE)
  if(NOT failed AND macros MATCHES "#define OPEN_MPI ")
    set(${result} openmpi PARENT_SCOPE)
  elseif(NOT failed AND macros MATCHES "#define (MPICH_VERSION|CRAY_MPICH_VERSION|MPICH) ")
    set(${result} mpich PARENT_SCOPE)
  endif()
endfunction()

if(CASCADE_MPI AND CASCADE_MPI_SOURCES AND NOT CMAKE_CROSSCOMPILING)
  if(DEFINED ENV{MPICC})
    find_program(CASCADE_MPICC_given $ENV{MPICC})
    if(NOT CASCADE_MPICC_given)
      message(FATAL_ERROR "MPICC=$ENV{MPICC} is not a program")
    endif()
    cascade_which_mpi(${CASCADE_MPICC_given} mpi)
    if(NOT mpi)
      message(FATAL_ERROR "MPICC=$ENV{MPICC} finds no mpi.h of Open MPI or MPICH")
    endif()
    cascade_add_mpi_module_by_wrapper(${mpi} ${CASCADE_MPICC_given})
    set(CASCADE_MPI_FOUND ${mpi})
  else()
    foreach(mpi IN ITEMS openmpi mpich)
      find_program(CASCADE_MPICC_${mpi} mpicc.${mpi})
    endforeach()
    find_program(CASCADE_MPICC mpicc)
    if(CASCADE_MPICC AND NOT CASCADE_MPICC_openmpi AND NOT CASCADE_MPICC_mpich)
      cascade_which_mpi(${CASCADE_MPICC} mpi)
      if(mpi)
        set(CASCADE_MPICC_${mpi} ${CASCADE_MPICC})
      endif()
    endif()
    foreach(mpi IN ITEMS openmpi mpich)
      if(CASCADE_MPICC_${mpi})
        cascade_add_mpi_module(${mpi} ${CASCADE_MPICC_${mpi}})
        list(APPEND CASCADE_MPI_FOUND ${mpi})
      endif()
    endforeach()
  endif()
endif()

# Where the library looks for modules at last.
set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/fabric/fabric_module.c APPEND PROPERTY
  COMPILE_DEFINITIONS
  "CASCADE_MODULE_FOLDER=\"${CMAKE_INSTALL_FULL_LIBDIR}/cascade\"")

# For the two functions below: one test for each MPI, skipped visibly where that
# is missing. `runner` is the command before, the program's own arguments after.
function(cascade_add_test_per_mpi name program suffix label runner arguments)
  foreach(mpi IN ITEMS openmpi mpich)
    set(test cluster_${name}_${mpi}_${suffix})
    string(REPLACE "@mpi@" ${mpi} command "${runner}")
    if(NOT mpi IN_LIST CASCADE_MPI_FOUND)
      set(command sh -c "echo 'no ${mpi} where this was built' && exit 77")
    elseif(CASCADE_SANITIZE_FLAGS)
      set(command sh -c "echo 'MPI itself is not clean under sanitizers' && exit 77")
    elseif(TARGET ${program}_${mpi})
      list(APPEND command $<TARGET_FILE:${program}_${mpi}> ${arguments})
    elseif(TARGET ${program})
      list(APPEND command $<TARGET_FILE:${program}> ${arguments})
    else()
      set(command sh -c "echo 'mpi.h was found through MPICC only' && exit 77")
    endif()
    cascade_register_test(${test} LABEL ${label} COMMAND ${command})
    set_tests_properties(${test} PROPERTIES RUN_SERIAL TRUE)
  endforeach()
endfunction()

# Registers cluster_<name>_<mpi>_<ranks> for each MPI: the program as that many
# ranks on this machine. FAILS: the job must fail, and in time; ENDS: it must
# only end.
#   cascade_add_cluster_test(name program ranks [FAILS] [ENDS] [SECONDS n]
#                            [LABEL l] [ARGS ...])
function(cascade_add_cluster_test name program ranks)
  cmake_parse_arguments(PARSE_ARGV 3 arg "FAILS;ENDS" "SECONDS;LABEL" "ARGS")
  if(NOT arg_LABEL)
    set(arg_LABEL cluster)
  endif()
  if(NOT arg_SECONDS)
    set(arg_SECONDS 60)
  endif()
  set(runner ${CMAKE_SOURCE_DIR}/tests/cluster/run_ranks)
  if(arg_FAILS)
    list(APPEND runner --fails)
  elseif(arg_ENDS)
    list(APPEND runner --ends)
  endif()
  list(APPEND runner @mpi@ ${ranks} ${arg_SECONDS})
  cascade_add_test_per_mpi(${name} ${program} ${ranks} ${arg_LABEL}
    "${runner}" "${arg_ARGS}")
endfunction()

# Registers cluster_<name>_<mpi>_<nodes>x<ranks>: the same on that many nodes
# with so many ranks each (tests/cluster/run_in_namespaces). RATE is in Mbit/s.
#   cascade_add_namespace_test(name program nodes ranks [RATE n] [SECONDS n]
#                              [LABEL l] [ARGS ...])
function(cascade_add_namespace_test name program nodes ranks)
  cmake_parse_arguments(PARSE_ARGV 4 arg "" "RATE;SECONDS;LABEL" "ARGS")
  if(NOT arg_LABEL)
    set(arg_LABEL cluster)
  endif()
  if(NOT arg_SECONDS)
    set(arg_SECONDS 60)
  endif()
  set(runner ${CMAKE_SOURCE_DIR}/tests/cluster/run_in_namespaces)
  if(arg_RATE)
    list(APPEND runner --rate ${arg_RATE})
  endif()
  list(APPEND runner @mpi@ ${nodes} ${ranks} ${arg_SECONDS})
  cascade_add_test_per_mpi(${name} ${program} ${nodes}x${ranks} ${arg_LABEL}
    "${runner}" "${arg_ARGS}")
endfunction()
