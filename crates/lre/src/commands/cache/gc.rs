//! `lre cache gc`: evicts what was used the longest ago.
use super::owner::{Owner, next};
use super::{GcArgs, ago, most_by, some};
use crate::commands::{Context, Done};
use crate::exit::{Exit, Problem};
use crate::ui;
use lre_proto::admin::{CollectEvent, CollectRequest, Collected, Part, Progress};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::SystemTime;

pub(super) async fn run(args: &GcArgs, context: &Context) -> Done {
    let mut owner = Owner::of(context).await?;
    let mut telling = owner.collect(CollectRequest { to_bytes: args.to, dry_run: args.dry_run }).await?;
    let progress = ui::Progress::default();
    let mut done = None;
    while let Some(told) = next(&mut telling).await? {
        match told.event {
            Some(CollectEvent::Progress(p)) => progress.show(&line(&p)),
            Some(CollectEvent::Done(collected)) => done = Some(collected),
            None => {}
        }
    }
    progress.clear();
    let Some(collected) = done else { return Err(Problem::error("the server ended before it was done")) };
    match args.json {
        true => say!("{:#}", as_json(&collected, args.dry_run)),
        false => ui::out(format_args!("{}", as_text(&collected, args.dry_run, SystemTime::now(), ui::stdout_paint()))),
    }
    Ok((!is_enough(&collected)).then_some(Exit::Finding))
}

fn line(progress: &Progress) -> String {
    match progress.of_bytes {
        0 => progress.stage.clone(),
        of => format!("{}: {} of {}", progress.stage, ui::bytes(progress.bytes), ui::bytes(of)),
    }
}

/// Whether it came down to what was asked for.
fn is_enough(collected: &Collected) -> bool {
    !collected.interrupted && collected.after_bytes <= collected.to_bytes
}

fn freed(collected: &Collected) -> u64 {
    collected.freed.iter().map(|part| part.bytes).sum()
}

fn as_json(collected: &Collected, dry_run: bool) -> Value {
    let part = |p: &Part| (p.name.clone(), json!({ "count": p.count, "bytes": p.bytes }));
    json!({
        "schema_version": 1,
        "dry_run": dry_run,
        "freed": Value::Object(collected.freed.iter().map(part).collect()),
        "freed_bytes": freed(collected),
        "before_bytes": collected.before_bytes,
        "after_bytes": collected.after_bytes,
        "to_bytes": collected.to_bytes,
        "enough": is_enough(collected),
        "oldest": (collected.oldest > 0).then_some(collected.oldest),
        "youngest": (collected.youngest > 0).then_some(collected.youngest),
        "held_bytes": collected.held_bytes,
        "holder": collected.holder,
        "interrupted": collected.interrupted,
    })
}

/// What went, with its number.
fn named(part: &Part) -> String {
    let (one, many) = match part.name.as_str() {
        "results" => ("action result", "action results"),
        "names" => ("name", "names"),
        "directories" => ("directory", "directories"),
        "copies" => ("executable copy", "executable copies"),
        _ => ("blob", "blobs"),
    };
    format!("{} ({})", some(part.count, one, many), ui::bytes(part.bytes))
}

fn as_text(collected: &Collected, dry_run: bool, now: SystemTime, paint: ui::Paint) -> String {
    let mut text = String::new();
    let (before, after, to) = (collected.before_bytes, collected.after_bytes, collected.to_bytes);
    let went: Vec<_> = collected.freed.iter().filter(|part| part.count > 0).map(named).collect();
    let _ = match (went.is_empty(), before <= to) {
        (true, true) => {
            writeln!(text, "nothing to do: {} are used, {} were asked for", ui::bytes(before), ui::bytes(to))
        }
        (true, false) => writeln!(text, "nothing can be freed"),
        (false, _) => {
            let verb = if dry_run { "would free" } else { "freed" };
            let sizes = format!("{} of {}", ui::bytes(freed(collected)), ui::bytes(before));
            writeln!(text, "{verb} {}: {}", paint.bold(&sizes), went.join(", "))
        }
    };
    if collected.oldest > 0 {
        let _ = writeln!(text, "used last: {} to {}", ago(collected.oldest, now), ago(collected.youngest, now));
    }
    let _ = match dry_run {
        true => writeln!(text, "the store would take {}", ui::bytes(after)),
        false => writeln!(text, "the store takes {}", ui::bytes(after)),
    };
    if collected.interrupted {
        let _ = writeln!(text, "{}: the server is going away", paint.odd("interrupted"));
    } else if after > to {
        let more = ui::bytes(after - to);
        let _ = writeln!(
            text,
            "{} more than the {} asked for: {} are held{}",
            paint.odd(&more),
            ui::bytes(to),
            ui::bytes(collected.held_bytes),
            most_by(&collected.holder)
        );
        text += "held is what was used within three hours, or since a build began that still calls; and toolchains\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn text(collected: &Collected, dry_run: bool) -> String {
        let paint = ui::Paint::decide(Some("1"), None, false);
        as_text(collected, dry_run, UNIX_EPOCH + Duration::from_secs(1_000_000), paint)
    }

    fn collected() -> Collected {
        let part = |name: &str, count, bytes| Part { name: name.to_owned(), count, bytes };
        Collected {
            freed: vec![part("results", 1, 200), part("names", 0, 0), part("blobs", 1200, 3_000_000)],
            before_bytes: 5_000_000,
            after_bytes: 1_999_800,
            to_bytes: 2_000_000,
            oldest: 100_000,
            youngest: 900_000,
            ..Collected::default()
        }
    }

    #[test]
    fn what_went_is_told() {
        let expected = "freed 3.0 MB of 5.0 MB: 1 action result (200 B), 1,200 blobs (3.0 MB)\nused last: 10d10h ago to \
                        1d03h ago\nthe store takes 2.0 MB\n";
        assert_eq!(text(&collected(), false), expected);
        assert!(text(&collected(), true).starts_with("would free 3.0 MB"));
        assert!(is_enough(&collected()));
        assert_eq!(as_json(&collected(), true)["freed"]["blobs"]["count"], 1200);
    }

    #[test]
    fn what_holds_the_rest_is_told() {
        let held = Collected {
            freed: Vec::new(),
            after_bytes: 5_000_000,
            oldest: 0,
            held_bytes: 4_000_000,
            holder: "the build x of bazel 7.4, which began 2 h ago".to_owned(),
            ..collected()
        };
        let text = text(&held, false);
        assert!(text.starts_with("nothing can be freed\n"), "{text}");
        assert!(
            text.contains(
                "3.0 MB more than the 2.0 MB asked for: 4.0 MB are held, most of it by the build x of bazel 7.4"
            ),
            "{text}"
        );
        assert!(!is_enough(&held));
    }
}
