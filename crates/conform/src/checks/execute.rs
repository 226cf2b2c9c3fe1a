//! G: what an Execute answers, and what it remembers.
use crate::check::checks;
use crate::job::{Job, Prepared};
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Verdict, ensure, fail, same, same_bytes, works};
use lre_model::{Digest, DigestFunction};
use lre_proto::re::execution_stage::Value as Stage;

checks! {
    Must 48 "a result is remembered: the second Execute says cached_result, the first does not" cached;
    Must 48 "GetActionResult gives what Execute gave" in_the_action_cache;
    Must 49 "skip_cache_lookup runs again" runs_again;
    Must 49 "skip_cache_lookup overwrites what the action cache has" overwrites;
    Must 50 "do_not_cache is not remembered" not_remembered;
    Must 50 "do_not_cache runs each time" runs_each_time;
    Must 50 "do_not_cache does not share a run" runs_alone;
    Must 52 "the operation has one name, and Operation.error is never set" one_name;
    Should 53 "every message has a stage and the digest of the action" metadata;
    Should 53 "done stands in the last message, of stage COMPLETED" completed;
    May 56 "equal actions that can be cached run once" merged;
    May 65 "Execute inlines stdout on request" inlined;
    May 66 "the names of the output streams are told while it runs" stream_names;
    May 87 "the output stream that is told can be read, to its end" stream;
    Should 82 "the times of an execution are in order" times;
    Should 82 "the worker is named" worker;
    Must 83 "another salt is another action" salt;
    Must 84 "an action under BLAKE3 has a result under BLAKE3" blake3;
}

/// A job that says something else each time it runs.
pub async fn by_chance(probe: &Probe) -> Verdict<Job> {
    probe.executor().await?;
    Ok(Job::new(probe, Program::new().chance()))
}

async fn cached(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?.upload(probe).await?;
    let (first, second) = (job.run(probe).await?, job.run(probe).await?);
    same(
        "cached_result of the first and of the second",
        &(false, true),
        &(first.response.cached_result, second.response.cached_result),
    )?;
    same_bytes("stdout of the second", &first.stdout(probe).await?, &second.stdout(probe).await?)
}

async fn in_the_action_cache(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?.upload(probe).await?;
    let ran = job.run(probe).await?;
    let Some(cached) = job.cached(probe).await? else { return fail("the action cache does not have it") };
    let seen =
        probe.output("stdout", &cached.stdout_raw, cached.stdout_digest.as_ref(), DigestFunction::Sha256).await?;
    same_bytes("stdout in the action cache", &ran.stdout(probe).await?, &seen)
}

async fn runs_again(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?.upload(probe).await?;
    let first = job.run(probe).await?;
    let second = job.again().run(probe).await?;
    ensure!(!second.response.cached_result, "cached_result is set");
    ensure!(
        first.stdout(probe).await? != second.stdout(probe).await?,
        "it has not run again: stdout is that of the first run"
    );
    Ok(())
}

async fn overwrites(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?.upload(probe).await?;
    job.run(probe).await?;
    let second = job.again().run(probe).await?.stdout(probe).await?;
    let third = job.run(probe).await?;
    ensure!(third.response.cached_result, "the third Execute is not answered from the cache");
    same_bytes("stdout of the third, from the cache", &second, &third.stdout(probe).await?)
}

async fn uncached(probe: &Probe) -> Verdict<Prepared> {
    by_chance(probe).await?.action(|action| action.do_not_cache = true).upload(probe).await
}

async fn not_remembered(probe: &Probe) -> Verdict {
    let job = uncached(probe).await?;
    job.run(probe).await?;
    ensure!(job.cached(probe).await?.is_none(), "the action cache has it");
    Ok(())
}

async fn runs_each_time(probe: &Probe) -> Verdict {
    let job = uncached(probe).await?;
    let (first, second) = (job.run(probe).await?, job.run(probe).await?);
    ensure!(!second.response.cached_result, "cached_result is set");
    ensure!(first.stdout(probe).await? != second.stdout(probe).await?, "it ran once for two");
    Ok(())
}

async fn runs_alone(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new().sleep(500).chance()).action(|action| action.do_not_cache = true);
    let job = job.upload(probe).await?;
    let (first, second) = tokio::join!(job.run(probe), job.run(probe));
    ensure!(first?.stdout(probe).await? != second?.stdout(probe).await?, "two requests at the same time shared a run");
    Ok(())
}

async fn one_name(probe: &Probe) -> Verdict {
    let answer = by_chance(probe).await?.upload(probe).await?.execute(probe).await?;
    works("Execute", answer.response())?;
    let Some(first) = answer.messages.first() else { return fail("no message") };
    ensure!(!first.name.is_empty(), "the operation has no name");
    let other = answer.messages.iter().find(|told| told.name != first.name);
    ensure!(other.is_none(), "it is `{}` first and `{:?}` later", first.name, other.map(|told| &told.name));
    Ok(())
}

async fn metadata(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?.upload(probe).await?;
    let answer = job.execute(probe).await?;
    works("Execute", answer.response())?;
    for (i, told) in answer.messages.iter().enumerate() {
        let Some(metadata) = &told.metadata else {
            return fail(format!("message {i} has no ExecuteOperationMetadata"));
        };
        ensure!(metadata.stage() != Stage::Unknown, "the stage of message {i} is UNKNOWN");
        same("action_digest", &Some(job.action.to_wire()), &metadata.action_digest)?;
    }
    Ok(())
}

async fn completed(probe: &Probe) -> Verdict {
    let answer = by_chance(probe).await?.upload(probe).await?.execute(probe).await?;
    works("the end of the stream", answer.end)?;
    let done: Vec<bool> = answer.messages.iter().map(|told| told.done).collect();
    let right = done.last() == Some(&true) && done.iter().filter(|done| **done).count() == 1;
    ensure!(right, "`done` in the messages: {done:?}");
    for told in &answer.messages {
        let stage = told.metadata.as_ref().map(|metadata| metadata.stage() == Stage::Completed);
        ensure!(stage.is_none_or(|completed| completed == told.done), "stage and `done` differ: {told:?}");
    }
    Ok(())
}

async fn merged(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new().sleep(700).chance()).upload(probe).await?;
    let (first, second) = tokio::join!(job.run(probe), job.run(probe));
    same_bytes("stdout of two requests at the same time", &first?.stdout(probe).await?, &second?.stdout(probe).await?)
}

async fn inlined(probe: &Probe) -> Verdict {
    let mut job = by_chance(probe).await?.upload(probe).await?;
    job.request.inline_stdout = true;
    let ran = job.run(probe).await?;
    same("the length of stdout_raw", &16, &ran.result.stdout_raw.len())
}

async fn stream_names(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new().say("first").sleep(500).say("second")).upload(probe).await?;
    let answer = job.execute(probe).await?;
    works("Execute", answer.response())?;
    let told = answer.messages.iter().filter_map(|told| told.metadata.as_ref());
    let named = told.into_iter().any(|metadata| !metadata.stdout_stream_name.is_empty());
    ensure!(named, "no stdout_stream_name: nobody can follow the output");
    Ok(())
}

async fn stream(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new().say("first ").sleep(500).say("second")).upload(probe).await?;
    let mut running = works("Execute", job.start(probe).await)?;
    loop {
        let told = running.first().await?;
        let name = told.metadata.map(|metadata| metadata.stdout_stream_name).unwrap_or_default();
        if !name.is_empty() {
            let read = works("ByteStream.Read of the output stream", probe.read_part(&name, 0, 0).await)?;
            return same("the output", &"first second".to_owned(), &String::from_utf8_lossy(&read).into_owned());
        }
        if told.done {
            return crate::verdict::skip("no stdout_stream_name is told");
        }
    }
}

async fn times(probe: &Probe) -> Verdict {
    let ran = by_chance(probe).await?.run(probe).await?;
    let Some(m) = ran.result.execution_metadata else { return fail("no execution_metadata") };
    let times = [
        ("queued", m.queued_timestamp),
        ("worker_start", m.worker_start_timestamp),
        ("input_fetch_start", m.input_fetch_start_timestamp),
        ("input_fetch_completed", m.input_fetch_completed_timestamp),
        ("execution_start", m.execution_start_timestamp),
        ("execution_completed", m.execution_completed_timestamp),
        ("output_upload_start", m.output_upload_start_timestamp),
        ("output_upload_completed", m.output_upload_completed_timestamp),
        ("worker_completed", m.worker_completed_timestamp),
    ];
    let mut before = (times[0].0, (0, 0));
    for (name, time) in times {
        let Some(time) = time else { return fail(format!("no {name}_timestamp")) };
        let time = (time.seconds, time.nanos);
        ensure!(before.1 <= time, "{name} is before {}", before.0);
        before = (name, time);
    }
    Ok(())
}

async fn worker(probe: &Probe) -> Verdict {
    let ran = by_chance(probe).await?.run(probe).await?;
    let named = ran.result.execution_metadata.is_some_and(|metadata| !metadata.worker.is_empty());
    ensure!(named, "no worker in execution_metadata");
    Ok(())
}

async fn salt(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?;
    let other = job.clone().action(|action| action.salt.push(b'x'));
    let (first, second) = (job.run(probe).await?, other.run(probe).await?);
    ensure!(!second.response.cached_result, "the second is answered with the result of another salt");
    ensure!(first.stdout(probe).await? != second.stdout(probe).await?, "one run for two salts");
    Ok(())
}

async fn blake3(probe: &Probe) -> Verdict {
    let function = probe.blake3()?;
    probe.executor().await?;
    let program = Program::new().file("out", "content", 0o644).say("said");
    let job = Job::new(probe, program).with_function(function).outputs(&["out"]).upload(probe).await?;
    let ran = job.run(probe).await?.succeeded()?;
    let expected = Digest::of(function, b"content").to_wire();
    same("the digest of the output", &Some(expected), &ran.file("out")?.digest)?;
    same("stdout", &"said".to_owned(), &ran.said(probe).await?)?;
    ensure!(job.cached(probe).await?.is_some(), "the action cache does not have it under BLAKE3");
    Ok(())
}
