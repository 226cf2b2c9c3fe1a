//! An environment for make, `configure` and whatever else reads `CC`.
use crate::choice::Choice;
use crate::{Unsuitable, head};
use std::collections::BTreeMap;

/// The committed environment, in the workspace, to be read by a shell.
pub const FILE: &str = "lre.env";

/// The usual variables, with the roles of the toolchain.
const VARIABLES: [(&str, &str); 9] = [
    ("CC", "cc"),
    ("CXX", "c++"),
    ("AR", "ar"),
    ("LD", "ld"),
    ("NM", "nm"),
    ("OBJCOPY", "objcopy"),
    ("OBJDUMP", "objdump"),
    ("RANLIB", "ranlib"),
    ("STRIP", "strip"),
];

const PEOPLE: [&str; 3] = [
    "Used with: . ./lre.env && make, or ./configure && make",
    "A Makefile that sets them itself is told on its command line: make CC=\"$CC\" CXX=\"$CXX\" AR=\"$AR\"",
    "Compilers are run by `lre cc`, in the sandbox, with the toolchain of the lre.lock above the current directory.",
];

/// All files to be committed.
pub(crate) fn files(choice: &Choice<'_>) -> Result<BTreeMap<String, String>, Unsuitable> {
    let cc = choice.cc.as_ref().ok_or(Unsuitable::NoCompiler)?;
    let mut text = head::committed(&[cc.locked], &PEOPLE);
    text.push('\n');
    for (variable, role) in VARIABLES.iter().filter(|(_, role)| cc.locked.tools.contains_key(*role)) {
        text += &format!("export {variable}='lre cc {role}'\n");
    }
    Ok(BTreeMap::from([(FILE.to_owned(), text)]))
}
