# Generated from lre.lock; do not edit. `lre init --check` says whether it has drifted.
#
# Used with: cmake -S . -B build --toolchain lre.cmake
# Compilers are run by `lre cc`, in the sandbox. What this machine has installed is not looked at.
#
# The toolchain `cc`, cc (Debian 12.2.0-14) 12.2.0, is made up of:
# 9f9740bc206ce4239b188bd120267906c44870598a6551b4302bb80024ac688e/19 at /
# AR=/usr/bin/ar
# CC=/usr/bin/cc
# CXX=/usr/bin/c++
# LD=/usr/bin/ld
# STRIP=/usr/bin/strip

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
find_program(LRE_PROGRAM lre)
if(NOT LRE_PROGRAM)
  message(FATAL_ERROR "lre is not on the PATH: the compilers of this project are run by it")
endif()
if(NOT DEFINED ENV{LRE_CMAKE_TOOLS})
  set(ENV{LRE_CMAKE_TOOLS} "${CMAKE_BINARY_DIR}/lre-tools")
endif()
string(REPLACE "'" "'\\''" lre_program "${LRE_PROGRAM}")
string(REPLACE "'" "'\\''" lre_lock "${CMAKE_CURRENT_LIST_DIR}/lre.lock")
foreach(lre_tool IN ITEMS cc c++ ar ld nm objcopy objdump strip)
  file(WRITE "${CMAKE_BINARY_DIR}/CMakeFiles/lre/${lre_tool}"
    "#!/bin/sh\nexec '${lre_program}' cc --lock '${lre_lock}' ${lre_tool} \"$@\"\n")
  file(COPY "${CMAKE_BINARY_DIR}/CMakeFiles/lre/${lre_tool}" DESTINATION "$ENV{LRE_CMAKE_TOOLS}"
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
endforeach()
set(CMAKE_C_COMPILER "$ENV{LRE_CMAKE_TOOLS}/cc")
set(CMAKE_CXX_COMPILER "$ENV{LRE_CMAKE_TOOLS}/c++")
set(CMAKE_AR "$ENV{LRE_CMAKE_TOOLS}/ar")
set(CMAKE_LINKER "$ENV{LRE_CMAKE_TOOLS}/ld")
set(CMAKE_NM "$ENV{LRE_CMAKE_TOOLS}/nm")
set(CMAKE_OBJCOPY "$ENV{LRE_CMAKE_TOOLS}/objcopy")
set(CMAKE_OBJDUMP "$ENV{LRE_CMAKE_TOOLS}/objdump")
set(CMAKE_STRIP "$ENV{LRE_CMAKE_TOOLS}/strip")

# Headers, libraries and packages of this machine are not the toolchain's. Further places: -DCMAKE_FIND_ROOT_PATH=...
list(APPEND CMAKE_FIND_ROOT_PATH "${CMAKE_CURRENT_LIST_DIR}" "${CMAKE_BINARY_DIR}")
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
