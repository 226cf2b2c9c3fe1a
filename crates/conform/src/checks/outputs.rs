//! H: what comes back of an action.
use crate::check::checks;
use crate::job::{Job, Ran};
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Verdict, ensure, fail, same, same_bytes, skip};
use lre_model::DigestFunction;
use lre_proto::re;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Code;

checks! {
    Must 71 "outputs are relative to the working directory, and named as they were asked for" named;
    Must 71 "outputs that are not there are left out" left_out;
    Must 71 "output_paths go before the older fields" paths_first;
    Must 72 "output_paths: a file is a file, a directory a Tree" kinds;
    Must 72 "output_paths: a symlink is a symlink, and is not followed" symlink;
    Must 72 "output_paths: a dangling symlink is a symlink" dangling;
    Should 72 "output_files: a symlink stands in output_file_symlinks or output_symlinks" old_symlink;
    Must 73 "output_files: a directory is refused" directory_for_file;
    Must 73 "output_directories: a file is refused" file_for_directory;
    Must 74 "a Tree has every directory below its root" whole_tree;
    Should 74 "a Tree has equal directories once" equal_directories;
    Must 74 "a Tree that is said to be sorted is" sorted_tree;
    Must 74 "symlinks and empty directories stand in a Tree" tree_contents;
    May 75 "TREE_AND_DIRECTORY gives the root directory as well" root_directory;
    Must 76 "the executable bit of outputs comes back" executable;
    Should 76 "an unknown node property is refused where some are told" unknown_property;
    Should 76 "mtime of outputs comes back where it is told" mtime;
    Must 77 "stdout of 5 MiB comes back" large_stdout;
    Must 77 "stdout and stderr are kept apart" apart;
    Must 77 "an action that says nothing has no stdout" silence;
    Must 77 "stdout of any bytes comes back" binary;
    Must 78 "everything that a result names is there when it comes" all_there;
}

async fn job(probe: &Probe, program: Program) -> Verdict<Job> {
    probe.executor().await?;
    Ok(Job::new(probe, program))
}

async fn ran(probe: &Probe, program: Program, outputs: &[&str]) -> Verdict<Ran> {
    job(probe, program).await?.outputs(outputs).run(probe).await?.succeeded()
}

async fn named(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new()).await?.program("sub/program", &Program::new().file("x/out", "content", 0o644));
    let job = job.command(|command| command.working_directory = "sub".to_owned()).outputs(&["x/out"]);
    let ran = job.run(probe).await?.succeeded()?;
    same("its digest", &Some(probe.digest(b"content").to_wire()), &ran.file("x/out")?.digest)
}

async fn left_out(probe: &Probe) -> Verdict {
    let ran = ran(probe, Program::new().file("there", "1", 0o644), &["not-there", "there"]).await?;
    same("output files", &vec!["there"], &ran.result.output_files.iter().map(|file| file.path.as_str()).collect())
}

async fn paths_first(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().file("new", "1", 0o644).file("old", "2", 0o644)).await?.outputs(&["new"]);
    #[expect(deprecated, reason = "clients of API 2.0 ask like this")]
    let job = job.command(|command| command.output_files = vec!["old".to_owned()]);
    let ran = job.run(probe).await?.succeeded()?;
    same("output files", &vec!["new"], &ran.result.output_files.iter().map(|file| file.path.as_str()).collect())
}

async fn kinds(probe: &Probe) -> Verdict {
    let program = Program::new().file("file", "1", 0o644).directory("dir").file("dir/inner", "2", 0o644);
    let ran = ran(probe, program, &["dir", "file"]).await?;
    ran.file("file")?;
    let (_, tree) = ran.directory(probe, "dir").await?;
    let names = tree.root.map(|root| root.files.into_iter().map(|file| file.name).collect::<Vec<_>>());
    same("files of the directory", &Some(vec!["inner".to_owned()]), &names)
}

/// The target of an output symlink, wherever it stands.
fn target(ran: &Ran, path: &str) -> Verdict<String> {
    let result = &ran.result;
    #[expect(deprecated, reason = "clients of API 2.0 look there")]
    let all = [&result.output_symlinks, &result.output_file_symlinks, &result.output_directory_symlinks];
    let found = all.into_iter().flatten().find(|link| link.path == path);
    found.map_or_else(|| fail(format!("no output symlink `{path}` in {result:?}")), |link| Ok(link.target.clone()))
}

async fn symlink(probe: &Probe) -> Verdict {
    let program = Program::new().file("file", "1", 0o644).symlink("link", "file");
    let ran = ran(probe, program, &["link"]).await?;
    same("the target", &"file".to_owned(), &target(&ran, "link")?)?;
    ensure!(ran.result.output_files.is_empty(), "it was followed: {:?}", ran.result.output_files);
    same("output_symlinks", &1, &ran.result.output_symlinks.len())
}

async fn dangling(probe: &Probe) -> Verdict {
    let ran = ran(probe, Program::new().symlink("link", "no/where"), &["link"]).await?;
    same("the target", &"no/where".to_owned(), &target(&ran, "link")?)
}

async fn old_symlink(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().file("file", "1", 0o644).symlink("link", "file")).await?;
    #[expect(deprecated, reason = "clients of API 2.0 ask like this")]
    let job = job.command(|command| command.output_files = vec!["link".to_owned()]);
    let ran = job.run(probe).await?.succeeded()?;
    same("the target", &"file".to_owned(), &target(&ran, "link")?)
}

async fn directory_for_file(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().directory("out")).await?;
    #[expect(deprecated, reason = "clients of API 2.0 ask like this")]
    let job = job.command(|command| command.output_files = vec!["out".to_owned()]);
    let status = job.upload(probe).await?.refused(probe).await?;
    same("a directory for a file", &Code::FailedPrecondition, &status.code())
}

async fn file_for_directory(probe: &Probe) -> Verdict {
    let job = job(probe, Program::new().file("out", "1", 0o644)).await?;
    #[expect(deprecated, reason = "clients of API 2.0 ask like this")]
    let job = job.command(|command| command.output_directories = vec!["out".to_owned()]);
    let status = job.upload(probe).await?.refused(probe).await?;
    same("a file for a directory", &Code::FailedPrecondition, &status.code())
}

/// `out` with two equal directories, an empty one and a symlink, three deep.
async fn tree(probe: &Probe) -> Verdict<(re::OutputDirectory, re::Tree)> {
    let program = Program::new()
        .directory("out")
        .directory("out/a")
        .directory("out/a/deep")
        .file("out/a/deep/file", "same", 0o644)
        .directory("out/b")
        .directory("out/b/deep")
        .file("out/b/deep/file", "same", 0o644)
        .directory("out/empty")
        .symlink("out/link", "a/deep/file")
        .file("out/top", "top", 0o644);
    ran(probe, program, &["out"]).await?.directory(probe, "out").await
}

/// Directories of a Tree by digest, its root among them.
fn by_digest(probe: &Probe, tree: &re::Tree) -> BTreeMap<String, re::Directory> {
    let all = tree.root.iter().chain(&tree.children);
    all.map(|directory| (probe.digest(&directory.encode_to_vec()).hash_text(), directory.clone())).collect()
}

fn children(directory: &re::Directory) -> impl Iterator<Item = String> {
    directory.directories.iter().filter_map(|node| Some(node.digest.as_ref()?.hash.clone()))
}

async fn whole_tree(probe: &Probe) -> Verdict {
    let (_, tree) = tree(probe).await?;
    let all = by_digest(probe, &tree);
    for directory in all.values() {
        let lost = children(directory).find(|child| !all.contains_key(child));
        ensure!(lost.is_none(), "a directory that is named is not there: {lost:?}");
    }
    // out, a = b, deep, empty
    same("how many directories", &4, &all.len())
}

async fn equal_directories(probe: &Probe) -> Verdict {
    let (_, tree) = tree(probe).await?;
    same("children", &by_digest(probe, &tree).len().saturating_sub(1), &tree.children.len())
}

async fn sorted_tree(probe: &Probe) -> Verdict {
    let (directory, tree) = tree(probe).await?;
    if !directory.is_topologically_sorted {
        return Ok(());
    }
    let Some(root) = &tree.root else { return fail("a Tree without a root") };
    let mut named: BTreeSet<String> = children(root).collect();
    for child in &tree.children {
        let digest = probe.digest(&child.encode_to_vec()).hash_text();
        ensure!(named.contains(&digest), "a child stands before its parents");
        named.extend(children(child));
    }
    Ok(())
}

async fn tree_contents(probe: &Probe) -> Verdict {
    let (_, tree) = tree(probe).await?;
    let root = tree.root.unwrap_or_default();
    let names: Vec<_> = root.directories.iter().map(|node| node.name.as_str()).collect();
    same("directories", &vec!["a", "b", "empty"], &names)?;
    let links: Vec<_> = root.symlinks.iter().map(|node| (node.name.as_str(), node.target.as_str())).collect();
    same("symlinks", &vec![("link", "a/deep/file")], &links)?;
    same("files", &vec!["top"], &root.files.iter().map(|node| node.name.as_str()).collect())
}

async fn root_directory(probe: &Probe) -> Verdict {
    let program = Program::new().directory("out").file("out/a", "1", 0o644);
    let both = re::command::OutputDirectoryFormat::TreeAndDirectory as i32;
    let job = job(probe, program).await?.outputs(&["out"]).command(|command| command.output_directory_format = both);
    let ran = job.run(probe).await?.succeeded()?;
    let (directory, tree) = ran.directory(probe, "out").await?;
    let Some(digest) = directory.root_directory_digest else { return fail("no root_directory_digest") };
    let bytes = probe.content("the root directory", Some(&digest), DigestFunction::Sha256).await?;
    same("the root directory", &tree.root, &re::Directory::decode(&bytes[..]).ok())
}

async fn executable(probe: &Probe) -> Verdict {
    let program = Program::new().file("text", "1", 0o644).file("run", "2", 0o755);
    let ran = ran(probe, program, &["run", "text"]).await?;
    let seen = (ran.file("run")?.is_executable, ran.file("text")?.is_executable);
    same("is_executable of a program and of a text", &(true, false), &seen)
}

async fn unknown_property(probe: &Probe) -> Verdict {
    if probe.told_execution()?.supported_node_properties.is_empty() {
        return skip("no node properties are told");
    }
    let job = job(probe, Program::new().file("out", "1", 0o644)).await?.outputs(&["out"]);
    let job = job.command(|command| command.output_node_properties = vec!["no-such-property".to_owned()]);
    let status = job.upload(probe).await?.refused(probe).await?;
    same("an unknown node property", &Code::InvalidArgument, &status.code())
}

async fn mtime(probe: &Probe) -> Verdict {
    let told = &probe.told_execution()?.supported_node_properties;
    let Some(name) = told.iter().find(|name| name.eq_ignore_ascii_case("mtime")).cloned() else {
        return skip("mtime is not told");
    };
    let job = job(probe, Program::new().file("out", "1", 0o644)).await?.outputs(&["out"]);
    let job = job.command(|command| command.output_node_properties = vec![name]);
    let ran = job.run(probe).await?.succeeded()?;
    let properties = ran.file("out")?.node_properties.clone();
    ensure!(properties.is_some_and(|properties| properties.mtime.is_some()), "no mtime");
    Ok(())
}

async fn large_stdout(probe: &Probe) -> Verdict {
    const TIMES: u32 = 1280;
    let line = [b'x'; 4096];
    let stdout = ran(probe, Program::new().say_often(TIMES, &line), &[]).await?.stdout(probe).await?;
    same("how many bytes", &(TIMES as usize * line.len()), &stdout.len())
}

async fn apart(probe: &Probe) -> Verdict {
    let ran = ran(probe, Program::new().say("out1").complain("err").say("out2"), &[]).await?;
    same("stdout", &"out1out2".to_owned(), &ran.said(probe).await?)?;
    same("stderr", &"err".to_owned(), &ran.stderr(probe).await?)
}

async fn silence(probe: &Probe) -> Verdict {
    let ran = ran(probe, Program::new(), &[]).await?;
    same("stdout", &String::new(), &ran.said(probe).await?)?;
    let digest = ran.result.stdout_digest;
    ensure!(digest.as_ref().is_none_or(|digest| *digest == probe.digest(b"").to_wire()), "stdout_digest is {digest:?}");
    Ok(())
}

async fn binary(probe: &Probe) -> Verdict {
    let bytes: Vec<u8> = (0..=255).collect();
    let stdout = ran(probe, Program::new().say_often(1, &bytes), &[]).await?.stdout(probe).await?;
    same_bytes("stdout", &bytes, &stdout)
}

async fn all_there(probe: &Probe) -> Verdict {
    let program = Program::new().say_often(64, &[b'y'; 4096]).file("file", &probe.word(), 0o644).directory("dir").file(
        "dir/inner",
        &probe.word(),
        0o644,
    );
    let ran = ran(probe, program, &["dir", "file"]).await?;
    let (_, tree) = ran.directory(probe, "dir").await?;
    let inner = tree.root.into_iter().flat_map(|root| root.files).filter_map(|file| file.digest);
    let named = [ran.file("file")?.digest.clone(), ran.result.stdout_digest.clone()];
    for digest in inner.chain(named.into_iter().flatten()) {
        probe.content("what a result names", Some(&digest), DigestFunction::Sha256).await?;
    }
    Ok(())
}
