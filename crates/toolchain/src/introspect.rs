//! What a toolchain is like: asked inside the sandbox, with only the tree mounted (TOOLCHAINS 5).

/// The include directories that `-E -v` lists, normalised, in order, each once.
pub(crate) fn include_directories(said: &str) -> Vec<String> {
    let after = said.split_once("#include <...> search starts here:").map_or("", |(_, after)| after);
    let listed = after.split_once("End of search list").map_or(after, |(listed, _)| listed);
    let mut directories = Vec::new();
    for line in listed.lines() {
        // clang on some systems adds ` (framework directory)`.
        let line = line.trim().split(" (").next().unwrap_or_default();
        let directory = normalise(line);
        if directory.starts_with('/') && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// Resolves `.` and `..` in the text alone.
fn normalise(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    if path.starts_with('/') { format!("/{}", segments.join("/")) } else { segments.join("/") }
}
