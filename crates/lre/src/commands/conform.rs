//! `lre conform`: asks any REAPI server whether it keeps the contract.
use super::{Context, Done, block_on};
use crate::args::ConformArgs;
use crate::exit::{Exit, Problem};
use crate::ui;
use lre_conform::{BadTarget, Check, Choice, Outcome, Report, Summary, Target};
use serde_json::{Value, json};
use std::time::Duration;

/// Of the report.
const SCHEMA_VERSION: u32 = 1;

/// Asks, and says what came out.
///
/// # Errors
/// A command line that cannot be meant, and a server that does not answer.
pub fn run(args: &ConformArgs, context: &Context) -> Done {
    let choice = Choice { only: args.only.clone() };
    let chosen: Vec<Check> = lre_conform::all().into_iter().filter(|check| choice.takes(check)).collect();
    if chosen.is_empty() {
        return Err(Problem::usage("--only chooses no check").hint("lre conform --list"));
    }
    if args.list {
        list(&chosen, args.json);
        return Ok(None);
    }
    let target = target(args, context)?;
    let paint = ui::stdout_paint();
    let told = |report: &Report| {
        if !args.json {
            say!("{}", line(report, &paint));
        }
    };
    let asked = async { lre_conform::run(&target, &choice, told).await.map_err(|e| unreachable(&e)) };
    let reports = block_on(asked)?;
    let summary = Summary::of(&reports);
    if args.json {
        say!("{:#}", as_json(&target, &reports, summary));
    } else {
        say!("{}", sentence(summary, reports.len()));
    }
    Ok((summary.failed_must > 0).then_some(Exit::Finding))
}

fn unreachable(error: &lre_conform::Unreachable) -> Problem {
    Problem::new(Exit::Unreachable, format!("{} does not answer", error.address))
        .why(&error.why)
        .hint("lre status says whether a server of yours runs, and where")
}

fn target(args: &ConformArgs, context: &Context) -> Result<Target, Problem> {
    let bad = |error: BadTarget| Problem::usage(error);
    let address = args.address.clone().unwrap_or_else(|| context.endpoint().to_string());
    let mut target = Target::new(&address).map_err(bad)?;
    target.instance.clone_from(&args.instance);
    target.patience = Duration::from_secs(args.timeout.max(1));
    for property in &args.platform {
        let pair = property.split_once('=');
        let (name, value) =
            pair.ok_or_else(|| Problem::usage(format!("`{property}` is no property: write NAME=VALUE")))?;
        target.platform.push((name.to_owned(), value.to_owned()));
    }
    // As the API wants them, whoever writes them in which order.
    target.platform.sort();
    for header in &args.headers {
        let (name, value) = header.split_once('=').ok_or_else(|| Problem::usage("a header is NAME=VALUE"))?;
        target.header(name, value).map_err(bad)?;
    }
    if let Some(url) = &args.http {
        target.http(url).map_err(bad)?;
    }
    Ok(target)
}

fn list(checks: &[Check], as_json: bool) {
    if as_json {
        let checks: Vec<Value> = checks.iter().map(named).collect();
        say!("{:#}", json!({ "schema_version": SCHEMA_VERSION, "checks": checks }));
        return;
    }
    for check in checks {
        say!("{:>3} {:1}  {}", check.clause, check.level.letter(), check.name);
    }
}

/// `fail     36 M  what was expected: what was seen`.
fn line(report: &Report, paint: &ui::Paint) -> String {
    let word = format!("{:<7}", report.outcome.word());
    let word = match &report.outcome {
        Outcome::Pass => paint.good(&word),
        Outcome::Fail(_) => paint.bad(&word),
        Outcome::Note(_) | Outcome::Skipped(_) => paint.dim(&word),
    };
    let Check { clause, level, name, .. } = report.check;
    let why = report.outcome.why().map(|why| format!(": {}", why.replace('\n', " "))).unwrap_or_default();
    format!("{word} {clause:>3} {:1}  {name}{why}", level.letter())
}

fn sentence(summary: Summary, all: usize) -> String {
    let Summary { passed, failed_must, failed_should, noted, skipped } = summary;
    format!(
        "{all} checks: {passed} pass; {failed_must} fail that the API demands (M), {failed_should} that it asks for (S); \
         {noted} notes, {skipped} skipped"
    )
}

fn named(check: &Check) -> Value {
    let clause = check.clause();
    json!({
        "clause": clause.number,
        "section": clause.section,
        "title": clause.title,
        "level": check.level.letter(),
        "name": check.name,
    })
}

fn as_json(target: &Target, reports: &[Report], summary: Summary) -> Value {
    let one = |report: &Report| {
        let mut value = named(&report.check);
        value["outcome"] = report.outcome.word().into();
        value["reason"] = report.outcome.why().into();
        value["seconds"] = report.took.as_secs_f64().into();
        value
    };
    json!({
        "schema_version": SCHEMA_VERSION,
        "address": target.address(),
        "instance": target.instance,
        "summary": {
            "checks": reports.len(),
            "pass": summary.passed,
            "fail_must": summary.failed_must,
            "fail_should": summary.failed_should,
            "note": summary.noted,
            "skipped": summary.skipped,
        },
        "checks": reports.iter().map(one).collect::<Vec<_>>(),
    })
}
