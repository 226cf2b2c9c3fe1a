//! Lists of dependencies, as compilers write them for make.

/// `targets: prerequisites`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Left of the colon.
    pub targets: Vec<String>,
    /// Right of it.
    pub prerequisites: Vec<String>,
}

/// Reads rules.
#[must_use]
pub fn parse(text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines() {
        let mut rule = Rule::default();
        let mut right = false;
        for word in words(line) {
            match word {
                Word::Colon if !right => right = true,
                Word::Colon => rule.prerequisites.push(":".to_owned()),
                Word::Name(name) if right => rule.prerequisites.push(name),
                Word::Name(name) => rule.targets.push(name),
            }
        }
        if right {
            rules.push(rule);
        }
    }
    rules
}

enum Word {
    Name(String),
    Colon,
}

fn words(line: &str) -> Vec<Word> {
    let mut all = Vec::new();
    let mut name = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let next = characters.peek().copied();
        match (c, next) {
            ('\\', Some(kept @ (' ' | '#' | ':' | '\\'))) if kept != '\\' => {
                name.push(kept);
                characters.next();
            }
            ('$', Some('$')) => {
                name.push('$');
                characters.next();
            }
            // Only before a blank or at the end: a colon may be part of a name.
            (':', None | Some(' ' | '\t')) => {
                if !name.is_empty() {
                    all.push(Word::Name(std::mem::take(&mut name)));
                }
                all.push(Word::Colon);
            }
            (' ' | '\t', _) => {
                if !name.is_empty() {
                    all.push(Word::Name(std::mem::take(&mut name)));
                }
            }
            (c, _) => name.push(c),
        }
    }
    if !name.is_empty() {
        all.push(Word::Name(name));
    }
    all
}

/// Writes rules.
#[must_use]
pub fn format(rules: &[Rule]) -> String {
    let mut out = String::new();
    for rule in rules {
        let targets: Vec<_> = rule.targets.iter().map(|name| escaped(name)).collect();
        out.push_str(&targets.join(" "));
        out.push(':');
        for name in &rule.prerequisites {
            out.push_str(" \\\n ");
            out.push_str(&escaped(name));
        }
        out.push('\n');
    }
    out
}

fn escaped(name: &str) -> String {
    name.replace('$', "$$").replace(' ', "\\ ").replace('#', "\\#")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(targets: &[&str], prerequisites: &[&str]) -> Rule {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Rule { targets: own(targets), prerequisites: own(prerequisites) }
    }

    #[test]
    fn what_compilers_write_is_read() {
        let text = "a.o: a.c \\\n  dir\\ x/b.h c\\#.h \\\n d$$.h\n\nb.h:\n\nx/y.o z.o : q.c\n";
        let rules = parse(text);
        assert_eq!(
            rules,
            [
                rule(&["a.o"], &["a.c", "dir x/b.h", "c#.h", "d$.h"]),
                rule(&["b.h"], &[]),
                rule(&["x/y.o", "z.o"], &["q.c"])
            ]
        );
        assert_eq!(parse(&format(&rules)), rules);
        assert_eq!(parse("no rule here"), []);
    }
}
