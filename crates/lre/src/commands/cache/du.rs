//! `lre cache du`: what the store takes, and for what.
use super::owner::Owner;
use super::{By, DuArgs, ago, count, most_by, table};
use crate::commands::{Context, Done};
use crate::{disk, ui};
use lre_proto::admin::{InvocationUsage, Part, ToolchainUsage, UsageResponse};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Invocations that the short version shows.
const INVOCATIONS_SHORT: usize = 5;

pub(super) async fn run(args: &DuArgs, context: &Context) -> Done {
    let usage = Owner::of(context).await?.usage().await?;
    let store = context.config.store.display().to_string();
    let free = disk::free_bytes(&context.config.store).unwrap_or_default();
    match args.json {
        true => say!("{:#}", as_json(&usage, &store, free)),
        false => {
            ui::out(format_args!("{}", as_text(&usage, &store, free, args.by, SystemTime::now(), ui::stdout_paint())));
        }
    }
    Ok(None)
}

fn as_json(usage: &UsageResponse, store: &str, free: u64) -> Value {
    let part = |p: &Part| (p.name.clone(), json!({ "count": p.count, "bytes": p.bytes }));
    let parts = |parts: &[Part]| Value::Object(parts.iter().map(part).collect());
    let toolchain = |t: &ToolchainUsage| {
        json!({
            "name": t.name, "digest": t.digest, "count": t.count, "bytes": t.bytes, "shared_bytes": t.shared_bytes,
            "missing": t.missing,
        })
    };
    let invocation = |i: &InvocationUsage| {
        json!({
            "name": i.name, "tool": i.tool, "began": i.began, "last": i.last, "count": i.count, "bytes": i.bytes,
        })
    };
    json!({
        "schema_version": 1,
        "store": store,
        "total_bytes": usage.total_bytes,
        "counted_bytes": usage.counted_bytes,
        "budget_bytes": usage.budget_bytes,
        "held_bytes": usage.held_bytes,
        "holder": usage.holder,
        "free_bytes": free,
        "kinds": parts(&usage.kinds),
        "ages": parts(&usage.ages),
        "toolchains": usage.toolchains.iter().map(toolchain).collect::<Vec<_>>(),
        "invocations": usage.invocations.iter().map(invocation).collect::<Vec<_>>(),
    })
}

fn as_text(usage: &UsageResponse, store: &str, free: u64, by: Option<By>, now: SystemTime, paint: ui::Paint) -> String {
    let mut parts = Vec::new();
    if by.is_none() {
        parts.push(head(usage, store, free));
    }
    let shown = |what: By| by.is_none_or(|by| by == what);
    if shown(By::Kind) {
        parts.push(kinds(usage, by.is_some(), paint));
    }
    if shown(By::Age) {
        parts.push(amounts("last used", &usage.ages, age, paint));
    }
    if shown(By::Toolchain) && (by.is_some() || !usage.toolchains.is_empty()) {
        parts.push(toolchains(&usage.toolchains, paint));
    }
    if shown(By::Invocation) {
        let at_most = if by.is_some() { usize::MAX } else { INVOCATIONS_SHORT };
        parts.push(invocations(&usage.invocations, at_most, now, paint));
    }
    parts.join("\n")
}

fn head(usage: &UsageResponse, store: &str, free: u64) -> String {
    let budget = usage.budget_bytes.map(|budget| format!(" of {}", ui::bytes(budget))).unwrap_or_default();
    let holder = most_by(&usage.holder);
    format!(
        "store   {} in {store}, {} free\nbudget  {}{budget} used\nheld    {}{holder}\n",
        ui::bytes(usage.total_bytes),
        ui::bytes(free),
        ui::bytes(usage.counted_bytes),
        ui::bytes(usage.held_bytes),
    )
}

fn kinds(usage: &UsageResponse, all: bool, paint: ui::Paint) -> String {
    let shown: Vec<_> = usage.kinds.iter().filter(|part| all || part.bytes > 0).cloned().collect();
    let mut rows = rows("kind", &shown, kind);
    rows.push(vec!["total".to_owned(), String::new(), ui::bytes(usage.total_bytes)]);
    table(&rows, paint)
}

/// What a kind is, for people.
fn kind(name: &str) -> &str {
    match name {
        "file-blobs" => "blobs that are files",
        "packed-blobs" => "blobs in the log",
        "results" => "action results",
        "names" => "names",
        "dead" => "dead in the log",
        "checkpoint" => "checkpoint of the log",
        "copies" => "executable copies",
        "inputs" => "input trees, executions",
        "toolchains" => "toolchains laid out",
        "staging" => "uploads",
        "quarantine" => "quarantine",
        other => other,
    }
}

fn age(name: &str) -> &str {
    match name {
        "hour" => "within an hour",
        "day" => "within a day",
        "week" => "within a week",
        "month" => "within 30 days",
        other => other,
    }
}

fn rows<'a>(what: &str, parts: &'a [Part], name: impl Fn(&'a str) -> &'a str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![what.to_owned(), "count".to_owned(), "size".to_owned()]];
    rows.extend(parts.iter().map(|p| vec![name(&p.name).to_owned(), count(p.count), ui::bytes(p.bytes)]));
    rows
}

fn amounts<'a>(what: &str, parts: &'a [Part], name: impl Fn(&'a str) -> &'a str, paint: ui::Paint) -> String {
    table(&rows(what, parts, name), paint)
}

fn toolchains(toolchains: &[ToolchainUsage], paint: ui::Paint) -> String {
    let mut rows = vec![["toolchain", "count", "size", "shared"].map(str::to_owned).to_vec()];
    for t in toolchains {
        let mut row = vec![t.name.clone(), count(t.count), ui::bytes(t.bytes), ui::bytes(t.shared_bytes)];
        if t.missing > 0 {
            row.push(paint.bad(&format!("{} missing: lre toolchain verify {}", count(t.missing), t.name)));
        }
        rows.push(row);
    }
    table(&rows, paint)
}

fn invocations(invocations: &[InvocationUsage], at_most: usize, now: SystemTime, paint: ui::Paint) -> String {
    let mut rows = vec![["invocation", "last call", "count", "size"].map(str::to_owned).to_vec()];
    for i in invocations.iter().take(at_most) {
        let last = if i.last == 0 { String::new() } else { ago(i.last, now) };
        rows.push(vec![who(i), last, count(i.count), ui::bytes(i.bytes)]);
    }
    let mut text = table(&rows, paint);
    if invocations.len() > at_most {
        let more = format!("and {} more: lre cache du --by invocation", invocations.len() - at_most);
        text = format!("{text}{}\n", paint.dim(&more));
    }
    text
}

fn who(invocation: &InvocationUsage) -> String {
    match (invocation.tool.as_str(), invocation.name.as_str()) {
        ("", "") => "nobody who said so".to_owned(),
        ("", name) => name.to_owned(),
        (tool, name) => format!("{tool}  {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn usage() -> UsageResponse {
        let part = |name: &str, count, bytes| Part { name: name.to_owned(), count, bytes };
        let invocation = |n: u64| InvocationUsage {
            name: format!("id-{n}"),
            tool: "bazel 7.4".to_owned(),
            began: 10,
            last: 100_000 - n * 600,
            count: n,
            bytes: n * 1000,
        };
        UsageResponse {
            total_bytes: 5_100_000,
            counted_bytes: 5_000_000,
            budget_bytes: Some(60_000_000_000),
            held_bytes: 1_000_000,
            holder: "the build id-0 of bazel 7.4, which began 5 min ago".to_owned(),
            kinds: vec![part("file-blobs", 1200, 5_000_000), part("names", 0, 0), part("packed-blobs", 30, 100_000)],
            ages: vec![part("hour", 1230, 5_100_000), part("older", 0, 0)],
            invocations: (0..7).map(invocation).collect(),
            toolchains: vec![ToolchainUsage {
                name: "cc".to_owned(),
                digest: "ab/3".to_owned(),
                count: 12,
                bytes: 3000,
                shared_bytes: 1000,
                missing: 2,
            }],
        }
    }

    fn text(by: Option<By>) -> String {
        let paint = ui::Paint::decide(Some("1"), None, false);
        as_text(&usage(), "/c/lre", 7_000_000, by, UNIX_EPOCH + Duration::from_secs(100_000), paint)
    }

    #[test]
    fn the_short_version_has_all_and_leaves_out_what_is_not() {
        let text = text(None);
        for line in [
            "store   5.1 MB in /c/lre, 7.0 MB free",
            "budget  5.0 MB of 60.0 GB used",
            "held    1.0 MB, most of it by the build id-0 of bazel 7.4, which began 5 min ago",
            "blobs that are files  1,200    5.0 MB",
            "total                          5.1 MB",
            "bazel 7.4  id-1    10m ago      1  1.0 kB",
            "and 2 more: lre cache du --by invocation",
            "cc            12  3.0 kB  1.0 kB  2 missing: lre toolchain verify cc",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("\nnames"), "{text}");
    }

    #[test]
    fn one_way_is_shown_in_full() {
        let kinds = text(Some(By::Kind));
        assert!(kinds.contains("\nnames") && !kinds.contains("last used") && !kinds.contains("store "), "{kinds}");
        assert_eq!(text(Some(By::Invocation)).lines().count(), 8);
        let json = as_json(&usage(), "/c/lre", 7);
        assert_eq!(json["kinds"]["file-blobs"]["count"], 1200);
        assert_eq!((&json["schema_version"], &json["toolchains"][0]["missing"]), (&1.into(), &2.into()));
    }
}
