//! G: operations that go on, are waited for, and are cancelled.
use super::execute::by_chance;
use crate::check::checks;
use crate::job::{Job, Running};
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Verdict, as_status, ensure, fail, offered, refused, said, same, works};
use lre_proto::{longrunning, re};
use std::time::{Duration, Instant};
use tonic::Code;

checks! {
    Must 54 "WaitExecution of an unknown operation is NOT_FOUND" unknown;
    Must 54 "WaitExecution of a running operation answers at once, and to the end" running;
    Must 54 "WaitExecution of a finished operation gives its response, or NOT_FOUND" finished;
    Must 54 "who hung up finds the result with WaitExecution" hung_up;
    May 55 "GetOperation of a running operation gives it" get;
    May 55 "GetOperation of an unknown operation is NOT_FOUND" get_unknown;
    May 55 "CancelOperation ends the operation with CANCELLED" cancel;
    May 55 "ListOperations has the running operation" list;
    Should 7 "an Execute stream that is silent for seconds goes on" silent;
}

/// How long a program may sleep for a check that ends it earlier, in milliseconds.
const LONG: u64 = 10_000;

async fn wait(probe: &Probe, name: &str) -> Result<Running, tonic::Status> {
    let request = re::WaitExecutionRequest { name: name.to_owned() };
    Ok(Running::of(probe.execution().wait_execution(request).await?.into_inner(), probe))
}

/// An action that sleeps, and can not be shared.
async fn sleeper(probe: &Probe, milliseconds: u64) -> Verdict<Running> {
    probe.executor().await?;
    let program = Program::new().sleep(milliseconds).say("awake");
    let job = Job::new(probe, program).action(|action| action.do_not_cache = true).upload(probe).await?;
    works("Execute", job.start(probe).await)
}

async fn unknown(probe: &Probe) -> Verdict {
    probe.told_execution()?;
    let answer = match wait(probe, &format!("operations/{}", probe.upload())).await {
        Ok(mut running) => match running.next().await {
            Some(Err(status)) => Err(status),
            Some(Ok(told)) => Ok(format!("{told:?}")),
            None => Ok("the end of the stream".to_owned()),
        },
        Err(status) => Err(status),
    };
    refused("WaitExecution", answer, &[Code::NotFound]).map(drop)
}

async fn running(probe: &Probe) -> Verdict {
    const AT_ONCE: Duration = Duration::from_secs(3);
    let mut execute = sleeper(probe, 5000).await?;
    let name = execute.until_executing().await?.name;
    let start = Instant::now();
    let mut waiting = works("WaitExecution", wait(probe, &name).await)?;
    let first = waiting.first().await?;
    ensure!(start.elapsed() < AT_ONCE, "the first message came after {:?}", start.elapsed());
    same("the name", &name, &first.name)?;
    let response = works("the rest of the stream", waiting.all().await.response())?;
    same("the exit code", &Some(0), &response.result.map(|result| result.exit_code))
}

async fn finished(probe: &Probe) -> Verdict {
    let job = by_chance(probe).await?.upload(probe).await?;
    let answer = job.execute(probe).await?;
    let response = works("Execute", answer.response())?;
    let name = answer.messages.first().map(|told| told.name.clone()).unwrap_or_default();
    let waited = match wait(probe, &name).await {
        Ok(mut running) => running.all().await.response(),
        Err(status) => Err(status),
    };
    match waited {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) => fail(format!("WaitExecution: expected the response or NotFound, got {}", said(&status))),
        Ok(waited) => same("the result", &response.result, &waited.result),
    }
}

async fn hung_up(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new().sleep(1500).chance()).upload(probe).await?;
    let mut execute = works("Execute", job.start(probe).await)?;
    let name = execute.until_executing().await?.name;
    // As a connection that breaks: nothing is cancelled.
    execute.forget();
    let mut waiting = works("WaitExecution after a broken stream", wait(probe, &name).await)?;
    let response = works("WaitExecution after a broken stream", waiting.all().await.response())?;
    same("the exit code", &Some(0), &response.result.map(|result| result.exit_code))
}

async fn get(probe: &Probe) -> Verdict {
    let mut execute = sleeper(probe, LONG).await?;
    let name = execute.until_executing().await?.name;
    let request = longrunning::GetOperationRequest { name: name.clone() };
    let operation = works("GetOperation", offered("GetOperation", probe.operations().get_operation(request).await)?)?;
    let operation = operation.into_inner();
    same("name and done", &(name, false), &(operation.name, operation.done))
}

async fn get_unknown(probe: &Probe) -> Verdict {
    probe.told_execution()?;
    let request = longrunning::GetOperationRequest { name: format!("operations/{}", probe.upload()) };
    let answer = offered("GetOperation", probe.operations().get_operation(request).await)?;
    refused("GetOperation of an unknown operation", answer, &[Code::NotFound]).map(drop)
}

async fn cancel(probe: &Probe) -> Verdict {
    const SOON: Duration = Duration::from_secs(5);
    let mut execute = sleeper(probe, LONG).await?;
    let name = execute.until_executing().await?.name;
    let request = longrunning::CancelOperationRequest { name };
    works("CancelOperation", offered("CancelOperation", probe.operations().cancel_operation(request).await)?)?;
    let Ok(answer) = tokio::time::timeout(SOON, execute.all()).await else {
        return fail(format!("no end within {} s of CancelOperation", SOON.as_secs()));
    };
    let code = match answer.response() {
        Err(status) => status.code(),
        Ok(response) => response.status.as_ref().map_or(Code::Ok, |status| as_status(status).code()),
    };
    same("the end of a cancelled operation", &Code::Cancelled, &code)
}

async fn list(probe: &Probe) -> Verdict {
    let mut execute = sleeper(probe, LONG).await?;
    let name = execute.until_executing().await?.name;
    let request = longrunning::ListOperationsRequest { name: "operations".to_owned(), ..Default::default() };
    let answer =
        works("ListOperations", offered("ListOperations", probe.operations().list_operations(request).await)?)?;
    let names: Vec<String> = answer.into_inner().operations.into_iter().map(|operation| operation.name).collect();
    ensure!(names.contains(&name), "`{name}` is not among {} operations", names.len());
    Ok(())
}

async fn silent(probe: &Probe) -> Verdict {
    let mut execute = sleeper(probe, 6000).await?;
    works("Execute of six seconds", execute.all().await.response()).map(drop)
}
