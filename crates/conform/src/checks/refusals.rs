//! G and H: actions that cannot be executed, and how that is said.
use crate::check::checks;
use crate::job::{Job, Kept};
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Verdict, ensure, fail, said, same};
use lre_proto::re;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

checks! {
    Must 21 "Execute refuses a malformed digest" malformed;
    Must 51 "a missing Action is one MISSING violation" no_action;
    Must 51 "a missing Command is one MISSING violation" no_command;
    Must 51 "a missing input root is one MISSING violation" no_root;
    Must 51 "a missing sub-directory is one MISSING violation" no_directory;
    Must 51 "a missing input file is one MISSING violation" no_file;
    Must 51 "everything missing is named at once" all_at_once;
    Should 63 "an unknown platform property is refused at once" unknown_property;
    Should 64 "the platform of the Command is taken where the Action has none" platform_of_command;
    Should 64 "the platform of the Action goes before that of the Command" platform_of_action;
    Must 69 "a working directory that is not there is no success" no_working_directory;
    Must 80 "a Directory with a name twice is refused" twice;
    Must 80 "a Directory with a file and a directory of one name is refused" two_kinds;
    Must 80 "a Directory with `..` is refused" dot_dot;
    Must 80 "a Directory with a slash in a name is refused" slash;
    Must 80 "a Directory with an empty name is refused" no_name;
    Must 80 "an output outside of the input root is refused" output_outside;
    Must 80 "an absolute output path is refused" output_absolute;
    Must 80 "a working directory outside of the input root is refused" working_directory_outside;
    Should 80 "a Command without arguments is refused" no_arguments;
}

async fn malformed(probe: &Probe) -> Verdict {
    probe.told_execution()?;
    let request = re::ExecuteRequest {
        instance_name: probe.instance().to_owned(),
        action_digest: Some(re::Digest { hash: "../../x".to_owned(), size_bytes: 5 }),
        ..Default::default()
    };
    let answer = match probe.execution().execute(request).await {
        Ok(stream) => stream.into_inner().message().await,
        Err(status) => Err(status),
    };
    crate::verdict::refused("Execute", answer, &[Code::InvalidArgument]).map(drop)
}

/// Subjects of the MISSING violations.
fn missing(status: &Status) -> Vec<String> {
    let violations = status.get_details_precondition_failure().map(|failure| failure.violations).unwrap_or_default();
    violations
        .into_iter()
        .filter(|violation| violation.r#type == "MISSING")
        .map(|violation| violation.subject)
        .collect()
}

async fn lacking(probe: &Probe, kept: &[Kept]) -> Verdict {
    probe.executor().await?;
    let word = probe.word();
    let mut job = Job::new(probe, Program::new()).file("input", &word).file("below/other", &format!("{word}2"));
    // A Command that nobody else has uploaded.
    job.command.arguments.push(word);
    for one in kept {
        job = job.keep_back(one.clone());
    }
    let job = job.upload(probe).await?;
    let status = job.refused(probe).await?;
    same("the code for missing inputs", &Code::FailedPrecondition, &status.code())?;
    let expected: BTreeSet<String> = job.missing.iter().map(|digest| digest.subject()).collect();
    ensure!(expected.len() == kept.len(), "a mistake of this check: {expected:?}");
    let seen = missing(&status);
    same("subjects of MISSING", &expected, &seen.iter().cloned().collect())?;
    same("how many violations", &kept.len(), &seen.len())
}

async fn no_action(probe: &Probe) -> Verdict {
    lacking(probe, &[Kept::Action]).await
}

async fn no_command(probe: &Probe) -> Verdict {
    lacking(probe, &[Kept::Command]).await
}

async fn no_root(probe: &Probe) -> Verdict {
    lacking(probe, &[Kept::Directory("")]).await
}

async fn no_directory(probe: &Probe) -> Verdict {
    lacking(probe, &[Kept::Directory("below")]).await
}

async fn no_file(probe: &Probe) -> Verdict {
    lacking(probe, &[Kept::File("input")]).await
}

async fn all_at_once(probe: &Probe) -> Verdict {
    lacking(probe, &[Kept::File("input"), Kept::File("below/other"), Kept::Command]).await
}

fn with(platform: Option<re::Platform>, name: &str) -> re::Platform {
    let mut properties = platform.unwrap_or_default().properties;
    properties.push(re::platform::Property { name: name.to_owned(), value: "x".to_owned() });
    properties.sort_by(|a, b| a.name.cmp(&b.name));
    re::Platform { properties }
}

async fn unknown_property(probe: &Probe) -> Verdict {
    const SOON: Duration = Duration::from_secs(5);
    probe.executor().await?;
    let job = Job::new(probe, Program::new());
    let job = job.action(|action| action.platform = Some(with(action.platform.take(), "no-such-property")));
    let job = job.upload(probe).await?;
    let start = Instant::now();
    let status = job.refused(probe).await?;
    let codes = [Code::FailedPrecondition, Code::InvalidArgument];
    ensure!(codes.contains(&status.code()), "expected FailedPrecondition, got {}", said(&status));
    ensure!(start.elapsed() < SOON, "it was refused after {:?}", start.elapsed());
    Ok(())
}

async fn platform_of_command(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let mut job = Job::new(probe, Program::new());
    #[expect(deprecated, reason = "clients of API 2.1 ask like this")]
    {
        job.command.platform = job.action.platform.take();
    }
    job.run(probe).await?.succeeded().map(drop)
}

async fn platform_of_action(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new());
    let Some(platform) = job.action.platform.clone() else {
        return crate::verdict::skip("no --platform is given");
    };
    #[expect(deprecated, reason = "clients of API 2.1 ask like this")]
    let job = job.command(|command| command.platform = Some(with(Some(platform), "no-such-property")));
    job.run(probe).await?.succeeded().map(drop)
}

async fn no_working_directory(probe: &Probe) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new()).command(|command| {
        command.working_directory = "not/there".to_owned();
        command.arguments = vec!["../../program".to_owned()];
    });
    let Ok(response) = job.upload(probe).await?.execute(probe).await?.response() else { return Ok(()) };
    let failed = response.status.as_ref().is_some_and(|status| status.code != 0);
    ensure!(failed || response.result.is_some_and(|result| result.exit_code != 0), "it ran");
    Ok(())
}

/// A root with these files besides the program.
async fn root(probe: &Probe, change: impl FnOnce(&mut re::Directory, re::FileNode)) -> Verdict {
    probe.executor().await?;
    let program = Program::new();
    let digest = probe.put(program.elf()).await?.to_wire();
    let node = |name: &str| re::FileNode {
        name: name.to_owned(),
        digest: Some(digest.clone()),
        is_executable: true,
        ..Default::default()
    };
    let mut directory = re::Directory { files: vec![node("program")], ..Default::default() };
    change(&mut directory, node("x"));
    let job = Job::new(probe, program).upload_as(probe, &directory).await?;
    malformed_input(&job.refused(probe).await?)
}

fn malformed_input(status: &Status) -> Verdict {
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition => Ok(()),
        _ => fail(format!("expected InvalidArgument, got {}", said(status))),
    }
}

async fn twice(probe: &Probe) -> Verdict {
    root(probe, |root, node| root.files.extend([node.clone(), node])).await
}

async fn two_kinds(probe: &Probe) -> Verdict {
    let empty = probe.digest(b"").to_wire();
    root(probe, |root, node| {
        root.files.push(node);
        root.directories.push(re::DirectoryNode { name: "x".to_owned(), digest: Some(empty) });
    })
    .await
}

async fn named(probe: &Probe, name: &str) -> Verdict {
    root(probe, |root, node| root.files.insert(0, re::FileNode { name: name.to_owned(), ..node })).await
}

async fn dot_dot(probe: &Probe) -> Verdict {
    named(probe, "..").await
}

async fn slash(probe: &Probe) -> Verdict {
    named(probe, "a/b").await
}

async fn no_name(probe: &Probe) -> Verdict {
    named(probe, "").await
}

async fn refused_command(probe: &Probe, change: impl FnOnce(&mut re::Command)) -> Verdict {
    probe.executor().await?;
    let job = Job::new(probe, Program::new()).command(change);
    malformed_input(&job.upload(probe).await?.refused(probe).await?)
}

async fn output_outside(probe: &Probe) -> Verdict {
    refused_command(probe, |command| command.output_paths = vec!["../outside".to_owned()]).await
}

async fn output_absolute(probe: &Probe) -> Verdict {
    refused_command(probe, |command| command.output_paths = vec!["/etc/absolute".to_owned()]).await
}

async fn working_directory_outside(probe: &Probe) -> Verdict {
    refused_command(probe, |command| command.working_directory = "../..".to_owned()).await
}

async fn no_arguments(probe: &Probe) -> Verdict {
    refused_command(probe, |command| command.arguments.clear()).await
}
