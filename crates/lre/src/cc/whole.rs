//! What is no compile of one source: the whole command runs in the same toolchain, as one action with all that it names.
use super::closure::Closure;
use super::compile::{Job, finish, object_of, with_suffix};
use super::deliver::Seen;
use super::record::Record;
use super::words::{Line, Mode, Part, Word};
use crate::client::{ClientError, Entry};
use crate::commands::Done;
use crate::exit::{Exit, OrProblem, Problem};
use std::io::Read;
use std::path::Path;

/// What stdin is called, where the command sees it.
const STDIN: &str = "stdin";

/// Why `line` is no compile of one source; `None`: it is one.
pub fn reason(line: &Line) -> Option<String> {
    let words = match (line.mode, line.sources.len()) {
        (Mode::Query, _) => "it only asks",
        (Mode::Preprocess, _) => "it only preprocesses",
        (Mode::Dependencies, _) => "it only lists dependencies",
        (Mode::Link, 0) => "it links",
        (Mode::Link, _) => "it compiles and links",
        (_, 0) => "it has no source",
        (_, 1) if line.stdin => "its source is stdin",
        (_, 1) => match &line.native {
            Some(native) => return Some(format!("{native} is another compile on another machine, so it is not kept")),
            None => return None,
        },
        _ => "it has several sources",
    };
    Some(words.to_owned())
}

/// Runs a compiler driver.
///
/// # Errors
/// As for a compile.
pub async fn driver(job: &Job<'_>, line: &Line, reason: &str, record: &mut Record) -> Done {
    (record.what, record.reason) = ("local".to_owned(), Some(reason.to_owned()));
    let mut closure = Closure::of(line, &job.roots)?;
    libraries(job, line, &mut closure)?;
    let mut inputs = closure.files.inputs(|_, _| true)?;
    let mut seen = Seen::new(&job.roots);
    outputs(line, &mut seen);
    let mut arguments = vec![job.program.clone()];
    arguments.extend(seen.words(&line.words));
    if line.stdin {
        let mut content = Vec::new();
        std::io::stdin().read_to_end(&mut content).or_problem("stdin cannot be read")?;
        inputs.add(STDIN, Entry::Bytes { content: content.into(), executable: false })?;
        arguments = fed(job, arguments)?;
    }
    let given = job.act_with(arguments, inputs, &seen, line.native.is_some()).await?;
    finish(job, &seen, &closure.foreign, given, record).await
}

/// An action has no stdin, so a shell opens the file for it.
fn fed(job: &Job<'_>, arguments: Vec<String>) -> Result<Vec<String>, Problem> {
    let tools = &job.pinned.toolchain.tools;
    let shell = tools.get("sh").or_else(|| tools.get("bash")).ok_or_else(|| {
        Problem::new(Exit::Run, "the source is stdin, and the toolchain has no shell to open it with")
            .hint("write it to a file")
    })?;
    let script = format!("exec \"$@\" < {}/{STDIN}", super::roots::EXEC);
    let mut fed = vec![shell.clone(), "-c".to_owned(), script, "sh".to_owned()];
    fed.extend(arguments);
    Ok(fed)
}

fn outputs(line: &Line, seen: &mut Seen<'_>) {
    match (&line.output, line.mode) {
        (Some(output), _) => seen.writes(output, false),
        (None, Mode::Link) => seen.writes("a.out", false),
        (None, Mode::Compile | Mode::Assembly) => {
            line.sources.iter().for_each(|source| seen.writes(&object_of(source, line.mode), false));
        }
        (None, _) => {}
    }
    for word in &line.words {
        match word.part {
            Part::DepFile if word.option.starts_with("-Wp,") => {
                seen.writes(word.value.split(',').next().unwrap_or_default(), true);
            }
            Part::DepFile => seen.writes(&word.value, true),
            Part::Output => seen.writes(&word.value, false),
            Part::Linker => linker_outputs(&word.value, seen),
            _ => {}
        }
    }
    if line.dep.as_ref().is_some_and(|dep| dep.file.is_none()) {
        match &line.output {
            Some(output) => seen.writes(&with_suffix(output, "d"), true),
            None => line.sources.iter().for_each(|s| seen.writes(&with_suffix(&object_of(s, line.mode), "d"), true)),
        }
    }
    for (suffix, source) in
        line.beside.iter().flat_map(|suffix| line.sources.iter().map(move |source| (suffix, source)))
    {
        let object = line.output.clone().filter(|_| line.sources.len() == 1);
        seen.writes(&with_suffix(&object.unwrap_or_else(|| object_of(source, Mode::Compile)), suffix), false);
    }
}

/// `-Wl,-Map=x` and the like.
fn linker_outputs(words: &str, seen: &mut Seen<'_>) {
    const WRITE: [&str; 4] = ["-Map", "--Map", "--out-implib", "--dependency-file"];
    let mut words = words.split(',').peekable();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((option, path)) if WRITE.contains(&option) => seen.writes(path, option == "--dependency-file"),
            None if WRITE.contains(&word) => {
                if let Some(path) = words.next() {
                    seen.writes(path, word == "--dependency-file");
                }
            }
            _ => {}
        }
    }
}

/// Libraries that are named without their directory, shared ones that others need, and what the linker is told of.
fn libraries(job: &Job<'_>, line: &Line, closure: &mut Closure<'_>) -> Result<(), ClientError> {
    let mut directories: Vec<&str> = Vec::new();
    for word in &line.words {
        match word.part {
            Part::LibraryDirectory => directories.push(&word.value),
            Part::Linker => {
                closure.mentioned(&word.value)?;
                let paths = word.value.split([',', '=', ':']).filter(|path| Path::new(path).is_dir());
                directories.extend(paths);
            }
            _ => {}
        }
    }
    let names: Vec<_> = line.words.iter().filter(|word| word.part == Part::Library).map(|word| &word.value).collect();
    for directory in directories {
        let host = job.roots.directory().join(directory);
        let Some(entries) = job.roots.inside(&host).and_then(|_| std::fs::read_dir(&host).ok()) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let asked = names.iter().any(|asked| is_library(&name, asked));
            if asked || name.contains(".so") {
                closure.mentioned(&format!("{directory}/{name}"))?;
            }
        }
    }
    Ok(())
}

fn is_library(file: &str, asked: &str) -> bool {
    if let Some(exact) = asked.strip_prefix(':') {
        return file == exact;
    }
    let rest = file.strip_prefix("lib").and_then(|rest| rest.strip_prefix(asked));
    rest.is_some_and(|rest| rest == ".a" || rest.starts_with(".so"))
}

/// Runs one of binutils.
///
/// # Errors
/// As for a compile; and what is not known to leave certain files.
pub async fn tool(job: &Job<'_>, tool: &str, arguments: &[String], record: &mut Record) -> Done {
    (record.what, record.reason) = ("local".to_owned(), Some(format!("it is {tool}")));
    let word = |text: &String| Word { option: "", value: text.clone(), part: Part::Text };
    let positional = |text: &String| Word { option: "", value: text.clone(), part: Part::Positional };
    let words: Vec<_> =
        arguments.iter().map(|text| if text.starts_with('-') { word(text) } else { positional(text) }).collect();
    let mut line = Line::parse(&[]);
    line.words = words.clone();
    let mut closure = Closure::of(&line, &job.roots)?;
    let mut seen = Seen::new(&job.roots);
    let written = tool_outputs(tool, arguments)?;
    if let Some(first) = written.first() {
        record.file.clone_from(first);
    }
    written.iter().for_each(|path| seen.writes(path, false));
    let inputs = closure.files.inputs(|_, _| true)?;
    // An archive that is not there yet is named all the same; other words are no paths.
    let known = |word: &Word| job.roots.directory().join(&word.value).exists() || written.contains(&word.value);
    let words: Vec<_> = words
        .into_iter()
        .map(
            |word| {
                if word.part == Part::Positional && !known(&word) { Word { part: Part::Text, ..word } } else { word }
            },
        )
        .collect();
    let mut command = vec![job.program.clone()];
    command.extend(seen.words(&words));
    let changed: Vec<_> = written.iter().filter(|path| job.roots.directory().join(path).is_file()).collect();
    let command = changing(job, &changed, command);
    let given = job.act_with(command, inputs, &seen, false).await?;
    finish(job, &seen, &closure.foreign, given, record).await
}

/// Inputs are read-only files, and `ranlib` and `strip` write to theirs. Where the toolchain has no shell, they say so.
fn changing(job: &Job<'_>, changed: &[&String], command: Vec<String>) -> Vec<String> {
    let tools = &job.pinned.toolchain.tools;
    let Some(shell) = tools.get("sh").or_else(|| tools.get("bash")).filter(|_| !changed.is_empty()) else {
        return command;
    };
    let script =
        format!("n={}; while [ $n -gt 0 ]; do chmod u+w \"$1\"; shift; n=$((n-1)); done; exec \"$@\"", changed.len());
    let mut all = vec![shell.clone(), "-c".to_owned(), script, "sh".to_owned()];
    all.extend(changed.iter().map(|path| job.roots.argument(path)));
    all.extend(command);
    all
}

fn tool_outputs(tool: &str, arguments: &[String]) -> Result<Vec<String>, Problem> {
    let plain: Vec<_> = arguments.iter().filter(|text| !text.starts_with('-')).cloned().collect();
    let after = |option: &str| {
        let next = arguments.iter().position(|text| text == option).and_then(|at| arguments.get(at + 1));
        next.or(None).cloned().into_iter().collect::<Vec<_>>()
    };
    match tool {
        "ar" => archive(arguments),
        "ranlib" => Ok(plain),
        "strip" | "objcopy" | "dwp" if !after("-o").is_empty() => Ok(after("-o")),
        "strip" => Ok(plain),
        "objcopy" => Ok(plain.last().cloned().into_iter().collect()),
        "as" | "ld" if after("-o").is_empty() => Ok(vec!["a.out".to_owned()]),
        "as" | "ld" | "dwp" => Ok(after("-o")),
        _ => Ok(Vec::new()),
    }
}

/// `ar qc lib.a a.o`.
fn archive(arguments: &[String]) -> Result<Vec<String>, Problem> {
    let mut rest = arguments.iter().filter(|text| !text.starts_with("--"));
    let Some(operation) = rest.next() else { return Ok(Vec::new()) };
    let has = |letters: &str| operation.trim_start_matches('-').contains(|c| letters.contains(c));
    if has("x") || operation == "-M" {
        return Err(Problem::new(Exit::Run, format!("`ar {operation}` cannot be used with lre cc"))
            .why("the names of the files that it writes are known to ar alone")
            .hint("lre run --in ARCHIVE --out FILE -- ar x ARCHIVE FILE"));
    }
    // A place among the members is named before the archive.
    let skipped = if has("ab") || has("i") { 1 } else { 0 };
    Ok(if has("rqdms") { rest.nth(skipped).cloned().into_iter().collect() } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn reasons_are_named() {
        for (text, expected) in [
            ("-c a.c -o a.o", None),
            ("-S a.c", None),
            ("-fsyntax-only a.c", None),
            ("a.o -o p", Some("it links")),
            ("a.c -o p", Some("it compiles and links")),
            ("-c a.c b.c", Some("it has several sources")),
            ("-E a.c", Some("it only preprocesses")),
            ("-MM a.c", Some("it only lists dependencies")),
            ("-c -x c -", Some("its source is stdin")),
            ("--version", Some("it only asks")),
        ] {
            assert_eq!(reason(&Line::parse(&words(text))).as_deref(), expected, "{text}");
        }
        assert!(reason(&Line::parse(&words("-c a.c -march=native"))).unwrap().contains("not kept"));
    }

    #[test]
    fn what_tools_write_is_known() {
        for (tool, text, expected) in [
            ("ar", "qc lib.a a.o b.o", "lib.a"),
            ("ar", "-rcs lib.a a.o", "lib.a"),
            ("ar", "--plugin=x rb c.o lib.a a.o", "lib.a"),
            ("ar", "t lib.a", ""),
            ("ranlib", "lib.a", "lib.a"),
            ("strip", "-g p q", "p q"),
            ("strip", "p -o q", "q"),
            ("objcopy", "--only-keep-debug p q", "q"),
            ("ld", "a.o", "a.out"),
            ("nm", "a.o", ""),
        ] {
            assert_eq!(tool_outputs(tool, &words(text)).unwrap().join(" "), expected, "{tool} {text}");
        }
        assert!(tool_outputs("ar", &words("x lib.a")).is_err());
    }

    #[test]
    fn libraries_are_found_by_name() {
        for (file, asked, expected) in [
            ("libz.a", "z", true),
            ("libz.so.1.2", "z", true),
            ("libzz.a", "z", false),
            ("libz.la", "z", false),
            ("z.lib", ":z.lib", true),
        ] {
            assert_eq!(is_library(file, asked), expected, "{file}");
        }
    }
}
