//! Directories that a compiler takes from its environment, as the options that mean the same: an action sees nothing of this
//! machine's environment, and what it would have found there must not be lost without a word.
use super::words::{Line, Mode};
use std::path::Path;

/// Variables for all languages, and the option whose directories they follow.
const ALL: [(&str, &str); 1] = [("CPATH", "-I")];
const C: (&str, &str) = ("C_INCLUDE_PATH", "-isystem");
const CXX: (&str, &str) = ("CPLUS_INCLUDE_PATH", "-isystem");
const LINK: (&str, &str) = ("LIBRARY_PATH", "-L");

/// The words that `line` of the compiler `compiler` has in the environment that `variable` knows.
pub fn words(compiler: &str, line: &Line, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut meant: Vec<_> = ALL.to_vec();
    match line.mode {
        Mode::Query => return Vec::new(),
        _ if line.sources.is_empty() => meant.clear(),
        _ if is_cxx(compiler, line) => meant.push(CXX),
        _ => meant.push(C),
    }
    if line.mode == Mode::Link {
        meant.push(LINK);
    }
    let mut words = Vec::new();
    for (name, option) in meant {
        for directory in variable(name).filter(|value| !value.is_empty()).iter().flat_map(|value| value.split(':')) {
            // An empty one is the working directory.
            words.extend([option.to_owned(), if directory.is_empty() { "." } else { directory }.to_owned()]);
        }
    }
    words
}

fn is_cxx(compiler: &str, line: &Line) -> bool {
    let said = line.words.windows(2).any(|pair| pair[0].text() == "-x" && pair[1].value.starts_with("c++"))
        || line.words.iter().any(|word| word.option == "-x" && word.value.starts_with("c++"));
    let c = |source: &String| {
        let extension = Path::new(source).extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("c" | "i" | "h" | "m" | "s" | "S"))
    };
    said || compiler.contains("++") || !line.sources.iter().all(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_the_environment_come_last() {
        let environment = |name: &str| match name {
            "CPATH" => Some("/a::b".to_owned()),
            "C_INCLUDE_PATH" => Some("/c".to_owned()),
            "CPLUS_INCLUDE_PATH" => Some("/cc".to_owned()),
            "LIBRARY_PATH" => Some("/l".to_owned()),
            _ => None,
        };
        let found = |compiler: &str, text: &str| {
            let line = Line::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
            words(compiler, &line, environment).join(" ")
        };
        assert_eq!(found("gcc", "-c a.c"), "-I /a -I . -I b -isystem /c");
        for (compiler, text) in
            [("g++", "-c a.c"), ("gcc", "-c a.cc"), ("gcc", "-x c++ -c a.c"), ("gcc", "-xc++ -c a.c")]
        {
            assert_eq!(found(compiler, text), "-I /a -I . -I b -isystem /cc", "{compiler} {text}");
        }
        assert_eq!(found("gcc", "a.o -o a"), "-L /l");
        assert_eq!(found("gcc", "--version"), "");
        let line = Line::parse(&["-c".to_owned(), "a.c".to_owned()]);
        assert_eq!(words("gcc", &line, |_| Some(String::new())), Vec::<String>::new());
    }
}
