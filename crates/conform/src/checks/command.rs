//! H: what a command sees.
use crate::check::checks;
use crate::job::Job;
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Verdict, ensure, same};
use lre_proto::re;
use tonic::Code;

checks! {
    Must 67 "a static program of ours runs, and its output comes back" canary;
    Must 67 "argv[0] is relative to the working directory" relative;
    May 67 "a bare argv[0] is looked up in the Command's PATH" looked_up;
    Must 67 "arguments arrive as they were sent" arguments;
    Must 68 "variables arrive as they were sent" environment;
    Should 68 "no other variables than a few arrive" nothing_else;
    Must 69 "the command starts in its working directory" working_directory;
    Must 70 "parents of output_files are there" parents_of_files;
    Must 70 "parents of output_directories are there" parents_of_directories;
    Must 70 "parents of output_paths are there, and the outputs are not" parents_of_paths;
    Should 13 "an absolute symlink as input is handled as it is told" absolute_symlink;
    Must 79 "files that are executable are, and others are not" executable_bit;
    Must 79 "symlinks of the input root arrive as they are" symlinks;
    Must 79 "empty directories of the input root are there" empty_directories;
    Must 79 "directories of the input root can be written to" writable;
    Must 79 "an action cannot change what the next one reads" untouched;
    Should 81 "stdin is empty" stdin;
    Should 81 "the working directory is fresh" fresh;
    Should 81 "/tmp is fresh" fresh_tmp;
    Should 81 "the host's users are not read" host;
}

async fn canary(probe: &Probe) -> Verdict {
    probe.canary().await
}

async fn job(probe: &Probe, program: Program) -> Verdict<Job> {
    probe.executor().await?;
    Ok(Job::new(probe, program))
}

/// Runs it and gives what it says.
async fn says(probe: &Probe, job: Job) -> Verdict<String> {
    job.run(probe).await?.succeeded()?.said(probe).await
}

async fn relative(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().exit(1)).await?.program("sub/program", &Program::new().say("the inner one"));
    let job = job.command(|command| command.working_directory = "sub".to_owned());
    same("stdout", &"the inner one".to_owned(), &says(probe, job).await?)
}

fn variable(name: &str, value: &str) -> re::command::EnvironmentVariable {
    re::command::EnvironmentVariable { name: name.to_owned(), value: value.to_owned() }
}

async fn looked_up(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new()).await?.program("tools/found-in-path", &Program::new().say("found"));
    let job = job.command(|command| {
        command.arguments = vec!["found-in-path".to_owned()];
        command.environment_variables = vec![variable("PATH", "tools")];
    });
    same("stdout", &"found".to_owned(), &says(probe, job).await?)
}

async fn arguments(probe: &Probe) -> Verdict {
    let sent = ["./program", "two words", "", "-x=*", "ü"];
    let job = job(probe, Program::new().arguments()).await?;
    let job = job.command(|command| command.arguments = sent.map(str::to_owned).to_vec());
    same("the arguments", &format!("{}\n", sent.join("\n")), &says(probe, job).await?)
}

async fn environment(probe: &Probe) -> Verdict {
    let sent = [variable("CONFORM_A", "1"), variable("CONFORM_B", "a=b c"), variable("CONFORM_EMPTY", "")];
    let job = job(probe, Program::new().environment()).await?;
    let said = says(probe, job.command(|command| command.environment_variables = sent.to_vec())).await?;
    for re::command::EnvironmentVariable { name, value } in sent {
        let line = format!("{name}={value}");
        ensure!(said.lines().any(|seen| seen == line), "`{line}` is not among {said:?}");
    }
    Ok(())
}

async fn nothing_else(probe: &Probe) -> Verdict {
    /// A documented default, such as PATH, HOME, TMPDIR and what makes a command deterministic; not the host's environment.
    const FEW: usize = 8;
    let said = says(probe, job(probe, Program::new().environment()).await?).await?;
    let names: Vec<_> = said.lines().filter_map(|line| line.split('=').next()).collect();
    ensure!(names.len() <= FEW, "{} variables that nobody sent: {}", names.len(), names.join(" "));
    Ok(())
}

async fn working_directory(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new()).await?.program("a/b/here", &Program::new().working_directory());
    let job = job.command(|command| {
        command.working_directory = "a/b".to_owned();
        command.arguments = vec!["./here".to_owned()];
    });
    let said = says(probe, job).await?;
    ensure!(said.trim_end_matches('\0').ends_with("/a/b"), "it stands in {said:?}");
    Ok(())
}

async fn parents_of_files(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().file("x/y/file", "there", 0o644)).await?;
    #[expect(deprecated, reason = "clients of API 2.0 ask like this")]
    let job = job.command(|command| command.output_files = vec!["x/y/file".to_owned()]);
    job.run(probe).await?.succeeded()?.file("x/y/file").map(drop)
}

async fn parents_of_directories(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().directory("x/y/dir").file("x/y/dir/a", "there", 0o644)).await?;
    #[expect(deprecated, reason = "clients of API 2.0 ask like this")]
    let job = job.command(|command| command.output_directories = vec!["x/y/dir".to_owned()]);
    let (_, tree) = job.run(probe).await?.succeeded()?.directory(probe, "x/y/dir").await?;
    same("files of the output directory", &Some(1), &tree.root.map(|root| root.files.len()))
}

async fn parents_of_paths(probe: &Probe) -> Verdict {
    let program = Program::new().may("x/y", 0).may("x/y/out", 0).file("x/y/out", "there", 0o644);
    let ran = job(probe, program).await?.outputs(&["x/y/out"]).run(probe).await?.succeeded()?;
    same("whether the parent and the output are there at first", &"yn".to_owned(), &ran.said(probe).await?)?;
    ran.file("x/y/out").map(drop)
}

async fn absolute_symlink(probe: &Probe) -> Verdict {
    use re::symlink_absolute_path_strategy::Value as Strategy;
    let told = probe.cache()?.symlink_absolute_path_strategy();
    let job = job(probe, Program::new().readlink("link")).await?.symlink("link", "/some/where");
    let job = job.upload(probe).await?;
    match told {
        Strategy::Allowed => same("the target", &"/some/where".to_owned(), &job.run(probe).await?.said(probe).await?),
        Strategy::Disallowed => same(
            "DISALLOWED is told, and an absolute symlink is",
            &Code::InvalidArgument,
            &job.refused(probe).await?.code(),
        ),
        Strategy::Unknown => crate::verdict::skip("no strategy is told"),
    }
}

async fn executable_bit(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().may("program", 1).may("text", 1)).await?.file("text", &probe.word());
    same("what may be executed: the program, the text", &"yn".to_owned(), &says(probe, job).await?)
}

async fn symlinks(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().readlink("link").say(" ").readlink("dangling")).await?;
    let job = job.symlink("link", "program").symlink("dangling", "not/../there");
    same("the targets", &"program not/../there".to_owned(), &says(probe, job).await?)
}

async fn empty_directories(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().may("empty", 0).may("a/b/c", 0)).await?.directory("empty").directory("a/b/c");
    same("whether they are there", &"yy".to_owned(), &says(probe, job).await?)
}

async fn writable(probe: &Probe) -> Verdict {
    let program = Program::new().file("made", "1", 0o644).file("sub/made", "2", 0o644).cat("made").cat("sub/made");
    let job = job(probe, program).await?.file("sub/there", &probe.word());
    same("what was written there", &"12".to_owned(), &says(probe, job).await?)
}

async fn untouched(probe: &Probe) -> Verdict {
    let word = probe.word();
    let digest = probe.put(word.clone().into_bytes()).await?;
    let spoil = Program::new().chmod("input", 0o666).file("input", "spoilt", 0o644).say("tried");
    job(probe, spoil).await?.file("input", &word).run(probe).await?;
    let read = crate::verdict::works("ByteStream.Read", probe.read(crate::stream::Form::Plain, digest).await)?;
    ensure!(read == word.as_bytes(), "the blob in the CAS has been changed by an action");
    let second = job(probe, Program::new().cat("input")).await?.file("input", &word);
    same("what the next action reads", &word, &says(probe, second).await?)
}

async fn stdin(probe: &Probe) -> Verdict {
    same("what comes from stdin", &String::new(), &says(probe, job(probe, Program::new().echo()).await?).await?)
}

/// One action leaves a file, and the next looks for it; several times, since a server has several places.
async fn leftovers(probe: &Probe, path: &str) -> Verdict {
    const PLACES: usize = 6;
    for _ in 0..PLACES {
        job(probe, Program::new().file(path, "left", 0o644)).await?.run(probe).await?;
    }
    for _ in 0..PLACES {
        let said = says(probe, job(probe, Program::new().may(path, 0)).await?).await?;
        same(&format!("whether `{path}` of another action is there"), &"n".to_owned(), &said)?;
    }
    Ok(())
}

async fn fresh(probe: &Probe) -> Verdict {
    leftovers(probe, &format!("left-{}", probe.word())).await
}

async fn fresh_tmp(probe: &Probe) -> Verdict {
    leftovers(probe, &format!("/tmp/left-{}", probe.word())).await
}

async fn host(probe: &Probe) -> Verdict {
    let said = says(probe, job(probe, Program::new().may("/etc/shadow", 4).may("/root", 4)).await?).await?;
    ensure!(said == "nn", "whether /etc/shadow and /root can be read: {said}");
    Ok(())
}
