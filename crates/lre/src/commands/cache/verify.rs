//! `lre cache verify`: reads everything, and repairs by forgetting.
use super::owner::{Owner, next};
use super::some;
use crate::commands::{Context, Done};
use crate::exit::{Exit, Problem};
use crate::ui;
use lre_proto::admin::{self, Part, Progress, Verified, VerifyEvent};
use serde_json::{Value, json};
use std::fmt::Write;

pub(super) async fn run(json: bool, context: &Context) -> Done {
    let mut owner = Owner::of(context).await?;
    let mut telling = owner.verify().await?;
    let progress = ui::Progress::default();
    let (paint, mut problems, mut done) = (ui::stdout_paint(), Vec::new(), None);
    while let Some(told) = next(&mut telling).await? {
        match told.event {
            Some(VerifyEvent::Progress(p)) => progress.show(&line(&p)),
            Some(VerifyEvent::Problem(problem)) => {
                if !json {
                    progress.clear();
                    say!("{}", told_of(&problem, paint));
                }
                problems.push(problem);
            }
            Some(VerifyEvent::Done(verified)) => done = Some(verified),
            None => {}
        }
    }
    progress.clear();
    let Some(verified) = done else { return Err(Problem::error("the server ended before it was done")) };
    let restart = owner.is_server() && problems.iter().any(is_laid_out);
    match json {
        true => say!("{:#}", as_json(&verified, &problems, restart)),
        false => ui::out(format_args!("{}", as_text(&verified, restart, paint))),
    }
    if verified.interrupted {
        return Err(Problem::error("interrupted: the server is going away").hint("lre cache verify"));
    }
    Ok((verified.problems > 0).then_some(Exit::Finding))
}

/// A toolchain that the server has laid out, and shows to actions until it ends.
fn is_laid_out(problem: &admin::Problem) -> bool {
    problem.kind == "tree" && problem.subject.starts_with("toolchains/")
}

fn line(progress: &Progress) -> String {
    let of = if progress.of_bytes == 0 { String::new() } else { format!(" of {}", ui::bytes(progress.of_bytes)) };
    format!("{}: {}{of}", progress.stage, ui::bytes(progress.bytes))
}

/// What a kind is, for people.
fn kind(name: &str) -> (&str, &str) {
    match name {
        "file-blob" => ("file", "files"),
        "packed-blob" => ("blob in the log", "blobs in the log"),
        "result" => ("action result", "action results"),
        "name" => ("name", "names"),
        "copy" => ("executable copy", "executable copies"),
        "foreign" => ("foreign file", "foreign files"),
        "tree" => ("link in a tree", "links in trees"),
        "log" => ("log", "logs"),
        other => (other, other),
    }
}

fn told_of(problem: &admin::Problem, paint: ui::Paint) -> String {
    let admin::Problem { kind: name, subject, problem, done } = problem;
    format!("{}  {} {subject}: {problem}; {done}", paint.bad("FAIL"), kind(name).0)
}

fn bytes(verified: &Verified) -> u64 {
    verified.checked.iter().map(|part| part.bytes).sum()
}

/// Bytes in a second.
fn rate(verified: &Verified) -> u64 {
    bytes(verified).saturating_mul(1000) / verified.millis.max(1)
}

fn as_json(verified: &Verified, problems: &[admin::Problem], restart: bool) -> Value {
    let part = |p: &Part| (p.name.clone(), json!({ "count": p.count, "bytes": p.bytes }));
    let problem =
        |p: &admin::Problem| json!({ "kind": p.kind, "subject": p.subject, "problem": p.problem, "done": p.done });
    json!({
        "schema_version": 1,
        "checked": Value::Object(verified.checked.iter().map(part).collect()),
        "bytes": bytes(verified),
        "millis": verified.millis,
        "bytes_per_second": rate(verified),
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
        "restart_server": restart,
        "interrupted": verified.interrupted,
    })
}

fn as_text(verified: &Verified, restart: bool, paint: ui::Paint) -> String {
    let mut text = String::new();
    let checked = verified.checked.iter().filter(|part| part.count > 0);
    let checked: Vec<_> = checked.map(|p| some(p.count, kind(&p.name).0, kind(&p.name).1)).collect();
    let what = if checked.is_empty() { "nothing, the store is empty".to_owned() } else { checked.join(", ") };
    let span = ui::span(std::time::Duration::from_millis(verified.millis));
    let _ = writeln!(text, "read {what}: {} in {span} ({}/s)", ui::bytes(bytes(verified)), ui::bytes(rate(verified)));
    let _ = match verified.problems {
        0 if verified.interrupted => Ok(()),
        0 => writeln!(text, "{}    nothing is damaged", paint.good("ok")),
        n => writeln!(
            text,
            "{}; the next build uploads or builds again what is gone",
            paint.odd(&format!("{}, repaired", some(n, "problem", "problems")))
        ),
    };
    if restart {
        let _ =
            writeln!(text, "the server shows a toolchain that was damaged until it is restarted: lre down && lre up");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_line_by_line() {
        let paint = ui::Paint::decide(Some("1"), None, false);
        let problem = admin::Problem {
            kind: "packed-blob".to_owned(),
            subject: "ab/3".to_owned(),
            problem: "its checksum is wrong".to_owned(),
            done: "forgotten".to_owned(),
        };
        assert_eq!(told_of(&problem, paint), "FAIL  blob in the log ab/3: its checksum is wrong; forgotten");
        let part = |name: &str, count, bytes| Part { name: name.to_owned(), count, bytes };
        let verified = Verified {
            checked: vec![part("file-blob", 2, 2_000_000), part("copy", 0, 0), part("packed-blob", 1, 500_000)],
            problems: 1,
            millis: 500,
            interrupted: false,
        };
        let expected = "read 2 files, 1 blob in the log: 2.5 MB in 0.50s (5.0 MB/s)\n1 problem, repaired; the next build \
                        uploads or builds again what is gone\n";
        assert_eq!(as_text(&verified, false, paint), expected);
        assert_eq!(as_json(&verified, &[problem], false)["problems"][0]["kind"], "packed-blob");
        let clean = Verified { problems: 0, ..verified };
        assert!(as_text(&clean, false, paint).ends_with("ok    nothing is damaged\n"));
        assert!(as_text(&clean, true, paint).contains("lre down && lre up"));
    }
}
