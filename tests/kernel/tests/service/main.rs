//! What must be impossible and what must survive, through the whole service: a server of its own for each test, run
//! by the user of the tests and, when that is root, by an ordinary user too. Attacks are actions.
mod after;
mod faults;
mod host;
mod reach;
mod rights;
mod stored;
mod terms;

use lre_kernel::service::{Service, Setting, services};
use std::collections::BTreeMap;

/// A service for each kind of user, with so many slots.
fn everyone(slots: usize) -> Vec<Service> {
    with(&Setting { slots, ..Setting::default() })
}

fn with(setting: &Setting) -> Vec<Service> {
    services(env!("CARGO_BIN_EXE_lre-kernel-serve").as_ref(), setting)
}

/// Lines `name=result`, as an attack prints them.
fn results(printed: &str) -> BTreeMap<&str, &str> {
    printed.lines().filter_map(|line| line.rsplit_once('=')).collect()
}

/// The names of those that worked.
fn worked(printed: &str) -> Vec<&str> {
    printed.lines().filter_map(|line| line.strip_suffix("=ok")).collect()
}
