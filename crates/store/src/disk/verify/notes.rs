//! What was found damaged, by whoever came upon it, until somebody asks.
use super::super::unpoisoned;
use super::{Checked, Damage};
use std::sync::Mutex;

/// Most that is remembered: the log of the server has all of it.
const NOTES_MAX: usize = 1000;

/// See the module.
#[derive(Default)]
pub(in super::super) struct Notes(Mutex<Vec<Damage>>);

impl Notes {
    pub(in super::super) fn note(&self, what: Checked, subject: impl ToString, problem: &str, done: &str) {
        let mut notes = unpoisoned(self.0.lock());
        if notes.len() < NOTES_MAX {
            let (subject, problem, done) = (subject.to_string(), problem.to_owned(), done.to_owned());
            notes.push(Damage { what, subject, problem, done });
        }
    }

    /// All of them, once.
    pub(super) fn take(&self) -> Vec<Damage> {
        std::mem::take(&mut *unpoisoned(self.0.lock()))
    }
}
