# SPDX-License-Identifier: Apache-2.0
#
# What `make install` puts where.

install(TARGETS libcascade
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET cascade_archive)
  install(FILES ${CASCADE_ARCHIVE} DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(TARGET cascade)
  install(TARGETS cascade RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY include/cascade DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
install(FILES ${CMAKE_BINARY_DIR}/include/cascade/version.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cascade)
# The prefix is found from where the file lies, so that a tree can be moved.
file(RELATIVE_PATH CASCADE_PC_UP
  /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" CASCADE_PC_UP "${CASCADE_PC_UP}")
configure_file(cascade.pc.in ${CMAKE_BINARY_DIR}/cascade.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/cascade.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(GLOB CASCADE_MAN_PAGES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/man/*.[1-8])
foreach(page IN LISTS CASCADE_MAN_PAGES)
  string(REGEX REPLACE ".*\\." "" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
install(FILES completion/cascade.bash RENAME cascade
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES completion/cascade.zsh RENAME _cascade
  DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
