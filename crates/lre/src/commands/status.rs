//! `lre` and `lre status`: the state in six lines, and the one next step.
use crate::commands::{Context, Done, block_on};
use crate::exit::Problem;
use crate::instance::Instance;
use crate::{disk, pinned, ui};
use lre_toolchain::Toolchain;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// How long the disk is looked at, at most: with a million files it would take seconds.
const DISK_TIME_MAX: Duration = Duration::from_millis(300);

/// What is to be told.
struct State {
    instance: Option<Instance>,
    /// It answers; or why it does not.
    answers: Result<(), Problem>,
    endpoint: String,
    toolchains: Vec<Toolchain>,
    disk: disk::Usage,
    store: String,
    workspace_locked: bool,
}

/// Runs `lre status`. A server that does not run is a state, not an error.
///
/// # Errors
/// The store cannot be read.
pub fn run(context: &Context, json: bool) -> Done {
    let state = look(context)?;
    match json {
        true => say!("{:#}", as_json(&state)),
        false => ui::out(format_args!("{}", as_text(&state))),
    }
    Ok(None)
}

fn look(context: &Context) -> Result<State, Problem> {
    let store = &context.config.store;
    let here = std::env::current_dir().unwrap_or_default();
    Ok(State {
        instance: Instance::running(store),
        answers: block_on(context.connect()).map(drop),
        endpoint: context.endpoint().to_string(),
        toolchains: pinned::installed(context)?,
        disk: disk::usage(store, DISK_TIME_MAX),
        store: store.display().to_string(),
        workspace_locked: here.ancestors().any(|d| d.join("lre.lock").exists()),
    })
}

/// The one command to give next.
fn next(state: &State) -> &'static str {
    match (&state.answers, state.toolchains.is_empty(), state.workspace_locked) {
        (Err(_), ..) => "lre up",
        (Ok(()), true, _) => "lre toolchain add cc --from capture:/usr/bin/cc",
        (Ok(()), false, false) => "lre init --client bazel    or    lre run -- cc --version",
        (Ok(()), false, true) => "bazel build --config=lre //...",
    }
}

fn as_json(state: &State) -> Value {
    json!({
        "schema_version": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "server": state.endpoint,
        "answers": state.answers.is_ok(),
        "running": state.instance,
        "toolchains": state.toolchains,
        "store": state.store,
        "disk_bytes": state.disk.bytes,
        "disk_bytes_complete": state.disk.complete,
        "disk_free_bytes": state.disk.free_bytes,
        "store_bytes_max": state.instance.as_ref().and_then(|instance| instance.store_bytes_max),
        "next": next(state),
    })
}

fn as_text(state: &State) -> String {
    let paint = ui::stdout_paint();
    let mut text = String::new();
    let title = paint.bold(concat!("lre ", env!("CARGO_PKG_VERSION")));
    let _ = match (&state.instance, &state.answers) {
        (Some(i), Ok(())) => {
            let tcp = i.tcp.map(|a| format!("  {a}")).unwrap_or_default();
            let socket = i.socket.as_ref().map(|s| format!("  unix:{}", s.display())).unwrap_or_default();
            writeln!(text, "{title}  {} {}{tcp}{socket}", paint.good("up"), ui::span(i.up_for()))
        }
        (None, Ok(())) => writeln!(text, "{title}  {}  {}", paint.good("up"), state.endpoint),
        (_, Err(_)) => writeln!(text, "{title}  {}  {}", paint.odd("down"), state.endpoint),
    };
    if let Some(instance) = &state.instance {
        let _ = writeln!(text, " sandbox    {}, {} slots", instance.sandbox, instance.slots);
        if instance.version != env!("CARGO_PKG_VERSION") {
            let _ = writeln!(
                text,
                " {}    the server has version {}: lre down && lre up",
                paint.odd("version"),
                instance.version
            );
        }
    }
    match state.toolchains.as_slice() {
        [] => text += " toolchain  none\n",
        all => {
            for t in all {
                let _ = writeln!(text, " toolchain  {} ({})  {}", t.name, t.source, ui::short(t.digest));
            }
        }
    }
    let more = if state.disk.complete { "" } else { "more than " };
    let budget = state.instance.as_ref().and_then(|instance| instance.store_bytes_max);
    let budget = budget.map(|bytes| format!(" of {}", ui::bytes(bytes))).unwrap_or_default();
    let _ = writeln!(
        text,
        " disk       {more}{}{budget} in {}, {} free",
        ui::bytes(state.disk.bytes),
        state.store,
        ui::bytes(state.disk.free_bytes)
    );
    let _ = writeln!(text, " next       {}", paint.bold(next(state)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(up: bool) -> State {
        let instance = up.then(|| Instance { sandbox: "strict".into(), slots: 2, ..Instance::of_this_process() });
        State {
            instance,
            answers: if up { Ok(()) } else { Err(Problem::error("no")) },
            endpoint: "unix:/r/re.sock".into(),
            toolchains: Vec::new(),
            disk: disk::Usage { bytes: 1000, complete: true, free_bytes: 5_000_000 },
            store: "/c/lre".into(),
            workspace_locked: false,
        }
    }

    #[test]
    fn there_is_always_one_next_step() {
        assert_eq!(next(&state(false)), "lre up");
        assert!(next(&state(true)).starts_with("lre toolchain add"));
        assert_eq!(as_json(&state(false))["next"], "lre up");
        assert_eq!(as_json(&state(true))["schema_version"], 1);
    }

    #[test]
    fn six_lines_are_enough() {
        let text = as_text(&state(true));
        assert!(text.lines().count() <= 6, "{text}");
        assert!(text.contains(" disk       1.0 kB in /c/lre, 5.0 MB free\n"), "{text}");
        assert!(as_text(&state(false)).contains("down"));
        let mut bounded = state(true);
        bounded.instance.as_mut().unwrap().store_bytes_max = Some(2_000_000);
        assert!(as_text(&bounded).contains(" disk       1.0 kB of 2.0 MB in /c/lre"));
    }
}
