# SPDX-License-Identifier: Apache-2.0
#
# The MPI fabric: one module for each MPI found, build/lib/cascade/
# fabric_<mpi>.so, opened at run time, so that nothing else needs MPI. Debian
# has both side by side (mpicc.openmpi, mpicc.mpich); elsewhere `mpicc` is
# asked which one it is.

file(GLOB CASCADE_MPI_SOURCES CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/src/fabric/fabric_mpi*.c)
set(CASCADE_MPI_FOUND "")

# What a compiler wrapper adds, as two lists.
function(cascade_ask_mpi_wrapper wrapper compile_options link_options)
  execute_process(COMMAND ${wrapper} -show
    OUTPUT_VARIABLE shown ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(words UNIX_COMMAND "${shown}")
  set(compile ${words})
  list(FILTER compile INCLUDE REGEX "^-(I|D|pthread)")
  set(link ${words})
  list(FILTER link INCLUDE REGEX "^-(L|l|Wl,|pthread)")
  set(${compile_options} "${compile}" PARENT_SCOPE)
  set(${link_options} "${link}" PARENT_SCOPE)
endfunction()

function(cascade_add_mpi_module mpi wrapper)
  cascade_ask_mpi_wrapper(${wrapper} compile link)
  add_library(fabric_${mpi} MODULE ${CASCADE_MPI_SOURCES})
  set_target_properties(fabric_${mpi} PROPERTIES
    PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/cascade)
  # The headers of MPI are not ours to warn about.
  string(REGEX REPLACE "(^|;)-I" "\\1-isystem;" compile "${compile}")
  target_compile_options(fabric_${mpi} PRIVATE ${compile})
  target_link_libraries(fabric_${mpi} PRIVATE cascade_build cascade_internal)
  target_link_options(fabric_${mpi} PRIVATE ${link} LINKER:--exclude-libs,ALL)
  install(TARGETS fabric_${mpi}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/cascade)
endfunction()

if(CASCADE_MPI AND CASCADE_MPI_SOURCES)
  foreach(mpi IN ITEMS openmpi mpich)
    find_program(CASCADE_MPICC_${mpi} mpicc.${mpi})
  endforeach()
  find_program(CASCADE_MPICC mpicc)
  if(CASCADE_MPICC AND NOT CASCADE_MPICC_openmpi AND NOT CASCADE_MPICC_mpich)
    execute_process(COMMAND ${CASCADE_MPICC} -show OUTPUT_VARIABLE shown ERROR_QUIET)
    if(shown MATCHES "-lmpich|-lmpi_cray|mpich")
      set(CASCADE_MPICC_mpich ${CASCADE_MPICC})
    else()
      set(CASCADE_MPICC_openmpi ${CASCADE_MPICC})
    endif()
  endif()
  foreach(mpi IN ITEMS openmpi mpich)
    if(CASCADE_MPICC_${mpi})
      cascade_add_mpi_module(${mpi} ${CASCADE_MPICC_${mpi}})
      list(APPEND CASCADE_MPI_FOUND ${mpi})
    endif()
  endforeach()
endif()
