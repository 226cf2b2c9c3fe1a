//! A toolchain file for CMake: compilers and binutils are those of the toolchain, run by `lre cc`, so a machine needs none.
//!
//! CMake wants to call a compiler by one path, also when it asks what the compiler can do, and it takes no arguments for `ar` and
//! the like. So the file writes small programs into the build directory. The folder's path stays in CMake's environment,
//! because CMake reads toolchain files again for the small projects that it compiles while it configures.
use crate::choice::Choice;
use crate::{Unsuitable, head};
use std::collections::BTreeMap;

/// The committed toolchain file, in the workspace.
pub const FILE: &str = "lre.cmake";

/// CMake's variables, with the roles of the toolchain.
const VARIABLES: [(&str, &str); 9] = [
    ("CMAKE_C_COMPILER", "cc"),
    ("CMAKE_CXX_COMPILER", "c++"),
    ("CMAKE_AR", "ar"),
    ("CMAKE_LINKER", "ld"),
    ("CMAKE_NM", "nm"),
    ("CMAKE_OBJCOPY", "objcopy"),
    ("CMAKE_OBJDUMP", "objdump"),
    ("CMAKE_RANLIB", "ranlib"),
    ("CMAKE_STRIP", "strip"),
];

const PEOPLE: [&str; 2] = [
    "Used with: cmake -S . -B build --toolchain lre.cmake",
    "Compilers are run by `lre cc`, in the sandbox. What this machine has installed is not looked at.",
];

const PROGRAMS: &str = r##"
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
foreach(lre_tool IN ITEMS @tools@)
  file(WRITE "${CMAKE_BINARY_DIR}/CMakeFiles/lre/${lre_tool}"
    "#!/bin/sh\nexec '${lre_program}' cc --lock '${lre_lock}' ${lre_tool} \"$@\"\n")
  file(COPY "${CMAKE_BINARY_DIR}/CMakeFiles/lre/${lre_tool}" DESTINATION "$ENV{LRE_CMAKE_TOOLS}"
    FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
endforeach()
"##;

const FIND: &str = r#"
# Headers, libraries and packages of this machine are not the toolchain's. Further places: -DCMAKE_FIND_ROOT_PATH=...
list(APPEND CMAKE_FIND_ROOT_PATH "${CMAKE_CURRENT_LIST_DIR}" "${CMAKE_BINARY_DIR}")
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
"#;

/// All files to be committed.
pub(crate) fn files(choice: &Choice<'_>) -> Result<BTreeMap<String, String>, Unsuitable> {
    let cc = choice.cc.as_ref().ok_or(Unsuitable::NoCompiler)?;
    let tools: Vec<_> = VARIABLES.iter().filter(|(_, role)| cc.locked.tools.contains_key(*role)).collect();
    let mut text = head::committed(&[cc.locked], &PEOPLE);
    let names: Vec<_> = tools.iter().map(|(_, role)| *role).collect();
    text += &PROGRAMS.replace("@tools@", &names.join(" "));
    for (variable, role) in tools {
        text += &format!("set({variable} \"$ENV{{LRE_CMAKE_TOOLS}}/{role}\")\n");
    }
    text += FIND;
    Ok(BTreeMap::from([(FILE.to_owned(), text)]))
}
