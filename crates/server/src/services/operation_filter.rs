//! `ListOperationsRequest.filter`: the part of the usual filter language (AIP-160) that is of use for operations.
//!
//! Terms `FIELD = VALUE` and `FIELD != VALUE`, joined by `AND` (or `&`, as `bgd` writes it); all of them must hold.
use crate::operation::{Operation, State};
use lre_model::Invalid;

/// What can be asked for, for the answer to everything else.
const KNOWN: &str = "known are stage (CACHE_CHECK, QUEUED, EXECUTING, COMPLETED), done (true, false), name, and \
                     action_digest (HASH or HASH/SIZE), each with = or !=, joined by AND";

/// A filter that can be followed.
#[derive(Debug, Default)]
pub(super) struct Filter(Vec<Term>);

#[derive(Debug)]
struct Term {
    field: Field,
    /// As opposed to `!=`.
    equal: bool,
}

#[derive(Debug)]
enum Field {
    /// The name of the stage.
    Stage(&'static str),
    Done(bool),
    Name(String),
    /// Hash, or hash and size.
    Action(String),
}

const STAGES: [&str; 4] = ["CACHE_CHECK", "QUEUED", "EXECUTING", "COMPLETED"];

impl Filter {
    /// Reads a filter; an empty one is followed by every operation.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let text = text.replace('&', " AND ");
        let words: Vec<_> = text.split_whitespace().collect();
        let terms = words.split(|word| word.eq_ignore_ascii_case("and"));
        terms.map(|words| Term::parse(&words.concat())).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn matches(&self, operation: &Operation) -> bool {
        self.0.iter().all(|term| term.field.matches(operation) == term.equal)
    }
}

impl Term {
    fn parse(term: &str) -> Result<Self, Invalid> {
        let refuse = |what: &str| Invalid::new("filter", format!("{what} in `{term}`; {KNOWN}"));
        let (left, value) = term.split_once('=').ok_or_else(|| refuse("no comparison that is known"))?;
        let (field, equal) = match left.strip_suffix('!') {
            Some(field) => (field, false),
            None => (left, true),
        };
        let value = value.trim_start_matches('=').trim_matches('"');
        let field = match field {
            "stage" => {
                let known = STAGES.into_iter().find(|stage| stage.eq_ignore_ascii_case(value));
                Field::Stage(known.ok_or_else(|| refuse("no such stage"))?)
            }
            "done" => Field::Done(value.parse().map_err(|_| refuse("neither true nor false"))?),
            "name" => Field::Name(value.to_owned()),
            "action_digest" => Field::Action(value.to_owned()),
            _ => return Err(refuse("no such field")),
        };
        Ok(Self { field, equal })
    }
}

impl Field {
    fn matches(&self, operation: &Operation) -> bool {
        match self {
            Self::Stage(stage) => *stage == stage_of(&operation.state()),
            Self::Done(done) => *done == matches!(operation.state(), State::Completed(_)),
            Self::Name(name) => *name == operation.name,
            Self::Action(digest) => {
                let action = operation.action.0;
                let hash = action.hash_text();
                *digest == format!("{hash}/{}", action.size_bytes()) || *digest == hash
            }
        }
    }
}

fn stage_of(state: &State) -> &'static str {
    match state {
        State::CacheCheck => STAGES[0],
        State::Queued => STAGES[1],
        State::Executing(_) => STAGES[2],
        State::Completed(_) => STAGES[3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_or_refused_with_what_is_known() {
        for (text, terms) in [
            ("", 0),
            ("  ", 0),
            ("stage=queued", 1),
            ("stage = \"EXECUTING\"", 1),
            ("done != true AND stage != CACHE_CHECK", 2),
            ("done==false&name=operations/x", 2),
            ("action_digest=ab/7", 1),
        ] {
            assert_eq!(Filter::parse(text).unwrap().0.len(), terms, "{text}");
        }
        for text in
            ["stage", "stage=asleep", "done=maybe", "colour=red", "AND", "done=true AND", "stage:QUEUED", "done>true"]
        {
            let refused = Filter::parse(text).unwrap_err();
            assert_eq!(refused.field, "filter");
            assert!(refused.problem.contains("action_digest"), "{text}: {}", refused.problem);
        }
    }
}
