//! G: failures, signals, timeouts, and what is left behind.
use crate::check::checks;
use crate::job::Job;
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Verdict, ensure, fail, said, same};
use std::time::{Duration, Instant};
use tonic::Code;

checks! {
    Must 57 "a negative timeout is refused" negative_timeout;
    May 57 "a timeout of a century is refused" endless_timeout;
    Must 58 "a command that takes too long is DEADLINE_EXCEEDED" timed_out;
    Should 58 "its output so far stands in the response" partial_output;
    Must 58 "a timeout is not remembered" timeout_not_cached;
    Should 59 "a process that is left behind and holds stdout does not hold the action" left_behind;
    Must 60 "a failure is an answer: status OK, its exit code, its output" failure;
    Must 60 "a failure comes with its output files" failure_with_outputs;
    Must 60 "a failure is not remembered" failure_not_cached;
    Should 60 "SIGTERM is exit code 143" sigterm;
    Should 60 "SIGSEGV is exit code 139" sigsegv;
    Must 60 "a death by signal is not success" by_signal;
    Should 61 "a program that is not there is a clear answer, and not NOT_FOUND" no_program;
    Must 60 "a program that is not there is no success, and not remembered" no_program_cached;
}

async fn job(probe: &Probe, program: Program) -> Verdict<Job> {
    probe.executor().await?;
    Ok(Job::new(probe, program))
}

async fn negative_timeout(probe: &Probe) -> Verdict {
    let status = job(probe, Program::new()).await?.timeout(-5).upload(probe).await?.refused(probe).await?;
    ensure!(matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition), "got {}", said(&status));
    Ok(())
}

async fn endless_timeout(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new()).await?.timeout(100 * 365 * 24 * 3600);
    job.upload(probe).await?.refused(probe).await.map(drop)
}

fn slow() -> Program {
    Program::new().say("so far").file("out", "half", 0o644).sleep(20_000)
}

async fn timed_out(probe: &Probe) -> Verdict {
    let start = Instant::now();
    let job = job(probe, slow()).await?.timeout(1).upload(probe).await?;
    let status = job.refused(probe).await?;
    same("the end of a command that takes too long", &Code::DeadlineExceeded, &status.code())?;
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(15), "a timeout of 1 s ended after {took:?}");
    Ok(())
}

async fn partial_output(probe: &Probe) -> Verdict {
    let answer = job(probe, slow()).await?.timeout(1).upload(probe).await?.execute(probe).await?;
    let response = match answer.response() {
        Ok(response) => response,
        Err(status) => {
            return fail(format!("the call itself ended with {}: there is no place for a result", said(&status)));
        }
    };
    let result = response.result.unwrap_or_default();
    let function = lre_model::DigestFunction::Sha256;
    let said = probe.output("stdout", &result.stdout_raw, result.stdout_digest.as_ref(), function).await?;
    same("stdout so far", &"so far".to_owned(), &String::from_utf8_lossy(&said).into_owned())
}

async fn timeout_not_cached(probe: &Probe) -> Verdict {
    let job = job(probe, slow()).await?.timeout(1).upload(probe).await?;
    job.refused(probe).await?;
    ensure!(job.cached(probe).await?.is_none(), "the action cache has it");
    Ok(())
}

async fn left_behind(probe: &Probe) -> Verdict {
    const SOON: Duration = Duration::from_secs(8);
    let start = Instant::now();
    let ran = job(probe, Program::new().leave_behind(15_000).say("done")).await?.run(probe).await?.succeeded()?;
    ensure!(start.elapsed() < SOON, "the action ended after {:?}, when the process did", start.elapsed());
    same("stdout", &"done".to_owned(), &ran.said(probe).await?)
}

async fn failure(probe: &Probe) -> Verdict {
    let ran = job(probe, Program::new().say("out").complain("err").exit(3)).await?.run(probe).await?;
    same("the exit code", &3, &ran.result.exit_code)?;
    same("stdout", &"out".to_owned(), &ran.said(probe).await?)?;
    same("stderr", &"err".to_owned(), &ran.stderr(probe).await?)
}

async fn failure_with_outputs(probe: &Probe) -> Verdict {
    let program = Program::new().file("log", "why", 0o644).exit(4);
    let ran = job(probe, program).await?.outputs(&["log"]).run(probe).await?;
    same("the exit code", &4, &ran.result.exit_code)?;
    ran.file("log").map(drop)
}

async fn failure_not_cached(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().chance().exit(5)).await?.upload(probe).await?;
    let first = job.run(probe).await?;
    ensure!(job.cached(probe).await?.is_none(), "the action cache has it");
    let second = job.run(probe).await?;
    ensure!(!second.response.cached_result, "cached_result is set");
    ensure!(first.stdout(probe).await? != second.stdout(probe).await?, "the second Execute has not run");
    Ok(())
}

async fn signal(probe: &Probe, signal: u64) -> Verdict<i32> {
    Ok(job(probe, Program::new().signal(signal).sleep(500)).await?.run(probe).await?.result.exit_code)
}

async fn sigterm(probe: &Probe) -> Verdict {
    same("the exit code", &143, &signal(probe, 15).await?)
}

async fn sigsegv(probe: &Probe) -> Verdict {
    same("the exit code", &139, &signal(probe, 11).await?)
}

async fn by_signal(probe: &Probe) -> Verdict {
    ensure!(signal(probe, 15).await? != 0, "exit code 0 for a program that killed itself");
    Ok(())
}

async fn absent(probe: &Probe) -> Verdict<Job> {
    Ok(job(probe, Program::new()).await?.command(|command| command.arguments = vec!["./no-such-program".to_owned()]))
}

async fn no_program(probe: &Probe) -> Verdict {
    let answer = absent(probe).await?.upload(probe).await?.execute(probe).await?;
    let status = match answer.response() {
        Err(status) => status,
        Ok(response) => match response.status.as_ref().filter(|status| status.code != 0) {
            Some(status) => crate::verdict::as_status(status),
            None => {
                let code = response.result.map(|result| result.exit_code);
                ensure!(matches!(code, Some(126 | 127)), "expected exit code 127, got {code:?}");
                return Ok(());
            }
        },
    };
    ensure!(status.code() != Code::NotFound, "NotFound, which WaitExecution says of lost operations");
    Ok(())
}

async fn no_program_cached(probe: &Probe) -> Verdict {
    let job = absent(probe).await?.upload(probe).await?;
    if let Ok(response) = job.execute(probe).await?.response() {
        let failed = response.status.as_ref().is_some_and(|status| status.code != 0);
        ensure!(failed || response.result.is_some_and(|result| result.exit_code != 0), "it is a success");
    }
    ensure!(job.cached(probe).await?.is_none(), "the action cache has it");
    Ok(())
}
