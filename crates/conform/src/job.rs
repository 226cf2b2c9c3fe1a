//! Actions, from a program of ours to its result.
use crate::probe::Probe;
use crate::program::Program;
use crate::verdict::{Stop, Verdict, ensure, fail, said, skip, works};
use bytes::Bytes;
use futures::StreamExt;
use lre_model::{Digest, DigestFunction};
use lre_proto::longrunning::{self, operation};
use lre_proto::re::{self, execution_stage::Value as Stage};
use lre_proto::{protobuf, rpc};
use prost::Message;
use std::collections::BTreeMap;
use tonic::{Code, Status, Streaming};

/// Files of an input root, by path.
#[derive(Clone, Debug)]
enum Input {
    File { content: Vec<u8>, executable: bool },
    Symlink(String),
    Directory,
}

/// An action that is being written.
#[derive(Clone, Debug)]
pub struct Job {
    function: DigestFunction,
    inputs: BTreeMap<String, Input>,
    /// As it will be sent.
    pub command: re::Command,
    /// As it will be sent, but for the digests.
    pub action: re::Action,
    /// Blobs that are not uploaded.
    kept_back: Vec<Kept>,
}

/// What can be kept back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The Action itself.
    Action,
    /// The Command.
    Command,
    /// The directory of this path; the root is "".
    Directory(&'static str),
    /// The file of this path.
    File(&'static str),
}

/// An action that is there.
pub struct Prepared {
    /// Its request.
    pub request: re::ExecuteRequest,
    /// Its digest.
    pub action: Digest,
    /// What was kept back.
    pub missing: Vec<Digest>,
    function: DigestFunction,
}

/// One message of an operation.
#[derive(Clone, Debug)]
pub struct Told {
    /// The operation.
    pub name: String,
    /// Its last message.
    pub done: bool,
    /// What it says of itself, where it says so in the form of the API.
    pub metadata: Option<re::ExecuteOperationMetadata>,
    /// How it ended.
    pub end: Option<Result<re::ExecuteResponse, Stop>>,
}

/// All messages of an operation, or of what was sent of them.
pub struct Answer {
    /// In order.
    pub messages: Vec<Told>,
    /// With what the call ended.
    pub end: Result<(), Status>,
}

/// An action that ran, its result and how it was told.
pub struct Ran {
    /// The whole response.
    pub response: re::ExecuteResponse,
    /// Its result.
    pub result: re::ActionResult,
    function: DigestFunction,
}

impl Job {
    /// Runs `program` as `./program` in an input root with nothing else.
    pub fn new(probe: &Probe, program: Program) -> Self {
        let properties = probe.target().platform.iter();
        let property =
            |(name, value): &(String, String)| re::platform::Property { name: name.clone(), value: value.clone() };
        let platform = re::Platform { properties: properties.map(property).collect() };
        let command = re::Command { arguments: vec!["./program".to_owned()], ..Default::default() };
        let action = re::Action {
            salt: probe.word().into_bytes(),
            platform: (!platform.properties.is_empty()).then_some(platform),
            timeout: Some(protobuf::Duration { seconds: 30, nanos: 0 }),
            ..Default::default()
        };
        let function = DigestFunction::Sha256;
        let job = Self { function, inputs: BTreeMap::new(), command, action, kept_back: Vec::new() };
        job.program("program", &program)
    }

    /// The same with another digest function.
    pub fn with_function(mut self, function: DigestFunction) -> Self {
        self.function = function;
        self
    }

    /// Adds a program.
    pub fn program(self, path: &str, program: &Program) -> Self {
        self.input(path, Input::File { content: program.elf(), executable: true })
    }

    /// Adds a file.
    pub fn file(self, path: &str, content: &str) -> Self {
        self.input(path, Input::File { content: content.as_bytes().to_vec(), executable: false })
    }

    /// Adds a symlink.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.input(path, Input::Symlink(target.to_owned()))
    }

    /// Adds an empty directory.
    pub fn directory(self, path: &str) -> Self {
        self.input(path, Input::Directory)
    }

    fn input(mut self, path: &str, input: Input) -> Self {
        self.inputs.insert(path.to_owned(), input);
        self
    }

    /// Changes the Command.
    pub fn command(mut self, change: impl FnOnce(&mut re::Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Changes the Action.
    pub fn action(mut self, change: impl FnOnce(&mut re::Action)) -> Self {
        change(&mut self.action);
        self
    }

    /// Outputs in the way of API 2.1.
    pub fn outputs(self, paths: &[&str]) -> Self {
        self.command(|command| command.output_paths = paths.iter().map(|path| (*path).to_owned()).collect())
    }

    /// Kills it after so many seconds.
    pub fn timeout(self, seconds: i64) -> Self {
        self.action(|action| action.timeout = Some(protobuf::Duration { seconds, nanos: 0 }))
    }

    /// Does not upload this.
    pub fn keep_back(mut self, kept: Kept) -> Self {
        self.kept_back.push(kept);
        self
    }

    /// Uploads everything.
    pub async fn upload(self, probe: &Probe) -> Verdict<Prepared> {
        let mut blobs = Vec::new();
        let root = self.tree("", &mut blobs);
        self.upload_with(probe, root, blobs).await
    }

    /// The same with a root directory of the caller's making, which need not be one.
    pub async fn upload_as(self, probe: &Probe, root: &re::Directory) -> Verdict<Prepared> {
        let mut blobs = Vec::new();
        self.tree("", &mut blobs);
        let bytes = root.encode_to_vec();
        let digest = Digest::of(self.function, &bytes);
        blobs.push((Kept::Directory("by hand"), digest, bytes.into()));
        self.upload_with(probe, digest, blobs).await
    }

    async fn upload_with(
        self,
        probe: &Probe,
        root: Digest,
        mut blobs: Vec<(Kept, Digest, Bytes)>,
    ) -> Verdict<Prepared> {
        let mut put = |kept: Kept, bytes: Vec<u8>| {
            let digest = Digest::of(self.function, &bytes);
            blobs.push((kept, digest, bytes.into()));
            digest
        };
        let command = put(Kept::Command, self.command.encode_to_vec());
        let action = re::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(root.to_wire()),
            ..self.action.clone()
        };
        let action = put(Kept::Action, action.encode_to_vec());
        let (kept, sent): (Vec<_>, Vec<_>) = blobs.into_iter().partition(|(kept, ..)| self.kept_back.contains(kept));
        probe.store(&sent.into_iter().map(|(_, digest, bytes)| (digest, bytes)).collect::<Vec<_>>()).await?;
        let request = re::ExecuteRequest {
            instance_name: probe.instance().to_owned(),
            action_digest: Some(action.to_wire()),
            digest_function: self.function.to_wire(),
            ..Default::default()
        };
        let missing = kept.into_iter().map(|(_, digest, _)| digest).collect();
        Ok(Prepared { request, action, missing, function: self.function })
    }

    /// The directory of all inputs below `path`, which ends with a slash or is empty.
    fn tree(&self, path: &str, blobs: &mut Vec<(Kept, Digest, Bytes)>) -> Digest {
        let mut directory = re::Directory::default();
        let mut below: Vec<&str> = Vec::new();
        for (full, input) in &self.inputs {
            let Some(rest) = full.strip_prefix(path) else { continue };
            if let Some((name, _)) = rest.split_once('/') {
                below.push(name);
                continue;
            }
            match input {
                Input::Directory => below.push(rest),
                Input::Symlink(target) => directory.symlinks.push(re::SymlinkNode {
                    name: rest.to_owned(),
                    target: target.clone(),
                    ..Default::default()
                }),
                Input::File { content, executable } => {
                    let digest = Digest::of(self.function, content);
                    blobs.push((self.kept(full, Kept::File), digest, content.clone().into()));
                    directory.files.push(re::FileNode {
                        name: rest.to_owned(),
                        digest: Some(digest.to_wire()),
                        is_executable: *executable,
                        ..Default::default()
                    });
                }
            }
        }
        // The map is ordered by paths, and `a/b` may stand before `a-b` or after it: names are ordered by themselves.
        directory.files.sort_by(|a, b| a.name.cmp(&b.name));
        directory.symlinks.sort_by(|a, b| a.name.cmp(&b.name));
        below.sort_unstable();
        below.dedup();
        for name in below {
            let digest = self.tree(&format!("{path}{name}/"), blobs);
            directory.directories.push(re::DirectoryNode { name: name.to_owned(), digest: Some(digest.to_wire()) });
        }
        let bytes = directory.encode_to_vec();
        let digest = Digest::of(self.function, &bytes);
        blobs.push((self.kept(path.trim_end_matches('/'), Kept::Directory), digest, bytes.into()));
        digest
    }

    /// The wish to keep back what is at `path`, or another that nobody has.
    fn kept(&self, path: &str, kind: fn(&'static str) -> Kept) -> Kept {
        let wish = |kept: &&Kept| matches!(kept, Kept::File(p) | Kept::Directory(p) if *p == path);
        let found = self.kept_back.iter().find(|kept| wish(kept) && **kept == kind(path_of(kept)));
        found.cloned().unwrap_or(kind("none of these"))
    }

    /// Uploads, executes, and expects a result.
    pub async fn run(self, probe: &Probe) -> Verdict<Ran> {
        self.upload(probe).await?.run(probe).await
    }
}

fn path_of(kept: &Kept) -> &'static str {
    match kept {
        Kept::File(path) | Kept::Directory(path) => path,
        Kept::Action | Kept::Command => "",
    }
}

impl Prepared {
    /// The same, run again even where the result is known.
    pub fn again(&self) -> Self {
        Self {
            request: re::ExecuteRequest { skip_cache_lookup: true, ..self.request.clone() },
            action: self.action,
            missing: self.missing.clone(),
            function: self.function,
        }
    }

    /// Starts it.
    pub async fn start(&self, probe: &Probe) -> Result<Running, Status> {
        let stream = probe.execution().execute(self.request.clone()).await?.into_inner();
        Ok(Running { stream, probe_operations: probe.operations(), name: String::new() })
    }

    /// All that is said about it.
    pub async fn execute(&self, probe: &Probe) -> Verdict<Answer> {
        match self.start(probe).await {
            Ok(mut running) => Ok(running.all().await),
            Err(status) => Ok(Answer { messages: Vec::new(), end: Err(status) }),
        }
    }

    /// Executes, and expects a result.
    pub async fn run(&self, probe: &Probe) -> Verdict<Ran> {
        let answer = self.execute(probe).await?;
        let response = works("Execute", answer.response())?;
        if let Some(status) = response.status.as_ref().filter(|status| status.code != 0) {
            return fail(format!("Execute: expected a result, got {}", said(&crate::verdict::as_status(status))));
        }
        let Some(result) = response.result.clone() else { return fail("Execute: a response without a result") };
        Ok(Ran { response, result, function: self.function })
    }

    /// Executes, and expects that it is refused: the status, wherever it stands.
    pub async fn refused(&self, probe: &Probe) -> Verdict<Status> {
        let answer = self.execute(probe).await?;
        match answer.response() {
            Err(status) => Ok(status),
            Ok(response) => match response.status.as_ref().filter(|status| status.code != 0) {
                Some(status) => Ok(crate::verdict::as_status(status)),
                None => {
                    fail(format!("Execute: expected to be refused, got {}", crate::verdict::short(&response.result)))
                }
            },
        }
    }

    /// What the action cache has for it.
    pub async fn cached(&self, probe: &Probe) -> Verdict<Option<re::ActionResult>> {
        match probe.result_of(self.action).await {
            Ok(result) => Ok(Some(result)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => fail(format!("GetActionResult: expected a result or NotFound, got {}", said(&status))),
        }
    }
}

/// An operation that goes on. Who drops it has cancelled it as well as the server lets one.
pub struct Running {
    stream: Streaming<longrunning::Operation>,
    probe_operations: lre_proto::longrunning::operations_client::OperationsClient<crate::probe::Wire>,
    name: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let (mut operations, name) = (self.probe_operations.clone(), std::mem::take(&mut self.name));
        if name.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Whether it works is no question of this check.
            runtime
                .spawn(async move { operations.cancel_operation(longrunning::CancelOperationRequest { name }).await });
        }
    }
}

impl Running {
    /// Takes over what `WaitExecution` gives.
    pub fn of(stream: Streaming<longrunning::Operation>, probe: &Probe) -> Self {
        Self { stream, probe_operations: probe.operations(), name: String::new() }
    }

    /// Hangs up as a broken connection does.
    pub fn forget(mut self) {
        self.name = String::new();
    }

    /// The next message.
    pub async fn next(&mut self) -> Option<Result<Told, Status>> {
        let message = self.stream.next().await?;
        Some(message.map(|operation| {
            let told = told(operation);
            // One that is over needs no cancelling.
            self.name = if told.done { String::new() } else { told.name.clone() };
            told
        }))
    }

    /// The next message, which has to come.
    pub async fn first(&mut self) -> Verdict<Told> {
        match self.next().await {
            Some(Ok(told)) => Ok(told),
            Some(Err(status)) => fail(format!("expected a message, got {}", said(&status))),
            None => fail("the stream ended without a message"),
        }
    }

    /// Reads until it is executed, or over.
    pub async fn until_executing(&mut self) -> Verdict<Told> {
        loop {
            let told = self.first().await?;
            let executing = told.metadata.as_ref().is_some_and(|metadata| metadata.stage() == Stage::Executing);
            if executing || told.done {
                return Ok(told);
            }
        }
    }

    /// All messages to come.
    pub async fn all(&mut self) -> Answer {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Some(Ok(told)) => messages.push(told),
                Some(Err(status)) => return Answer { messages, end: Err(status) },
                None => return Answer { messages, end: Ok(()) },
            }
        }
    }
}

fn told(operation: longrunning::Operation) -> Told {
    let metadata = operation.metadata.and_then(|any| unpack(&any, "ExecuteOperationMetadata"));
    let end = operation.result.map(|result| match result {
        operation::Result::Response(any) => unpack(&any, "ExecuteResponse")
            .ok_or_else(|| Stop::Fail(format!("the response is `{}` and not an ExecuteResponse", any.type_url))),
        operation::Result::Error(rpc::Status { code, message, .. }) => {
            Err(Stop::Fail(format!("Operation.error is set: {code} {message}")))
        }
    });
    Told { name: operation.name, done: operation.done, metadata, end }
}

/// What is in an `Any`, where it is a message of the API with this name.
fn unpack<M: Message + Default>(any: &protobuf::Any, name: &str) -> Option<M> {
    let right = any.type_url.ends_with(&format!("/build.bazel.remote.execution.v2.{name}"));
    right.then(|| M::decode(&any.value[..]).ok()).flatten()
}

impl Answer {
    /// The response at its end, or with what the call was refused.
    pub fn response(&self) -> Result<re::ExecuteResponse, Status> {
        let end = self.messages.iter().find_map(|told| told.end.as_ref());
        match (end, &self.end) {
            (Some(Ok(response)), _) => Ok(response.clone()),
            (Some(Err(Stop::Fail(why) | Stop::Skip(why))), _) => Err(Status::unknown(why.clone())),
            (None, Err(status)) => Err(status.clone()),
            (None, Ok(())) => Err(Status::unknown("the stream ended without `done`")),
        }
    }
}

impl Ran {
    /// What it said.
    pub async fn stdout(&self, probe: &Probe) -> Verdict<Vec<u8>> {
        let result = &self.result;
        probe.output("stdout", &result.stdout_raw, result.stdout_digest.as_ref(), self.function).await
    }

    /// The same as text.
    pub async fn said(&self, probe: &Probe) -> Verdict<String> {
        Ok(String::from_utf8_lossy(&self.stdout(probe).await?).into_owned())
    }

    /// What it said on stderr.
    pub async fn stderr(&self, probe: &Probe) -> Verdict<String> {
        let result = &self.result;
        let bytes = probe.output("stderr", &result.stderr_raw, result.stderr_digest.as_ref(), self.function).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// It ended with exit code 0.
    pub fn succeeded(self) -> Verdict<Self> {
        ensure!(self.result.exit_code == 0, "exit code: expected 0, got {} ({:?})", self.result.exit_code, self.result);
        Ok(self)
    }

    /// The output file of this path.
    pub fn file(&self, path: &str) -> Verdict<&re::OutputFile> {
        let found = self.result.output_files.iter().find(|file| file.path == path);
        found.map_or_else(|| fail(format!("no output file `{path}` in {}", crate::verdict::short(&self.result))), Ok)
    }

    /// The output directory of this path, and its Tree.
    pub async fn directory(&self, probe: &Probe, path: &str) -> Verdict<(re::OutputDirectory, re::Tree)> {
        let found = self.result.output_directories.iter().find(|directory| directory.path == path);
        let Some(directory) = found else {
            return fail(format!("no output directory `{path}` in {}", crate::verdict::short(&self.result)));
        };
        if directory.tree_digest.is_none() {
            return skip("there is no Tree");
        }
        let bytes =
            probe.content("the Tree of an output directory", directory.tree_digest.as_ref(), self.function).await?;
        let Ok(tree) = re::Tree::decode(&bytes[..]) else { return fail("tree_digest names something that is no Tree") };
        Ok((directory.clone(), tree))
    }
}

impl Probe {
    /// `GetActionResult`.
    pub async fn result_of(&self, action: Digest) -> Result<re::ActionResult, Status> {
        let request = re::GetActionResultRequest {
            instance_name: self.instance().to_owned(),
            action_digest: Some(action.to_wire()),
            digest_function: action.function().to_wire(),
            ..Default::default()
        };
        Ok(self.actions().get_action_result(request).await?.into_inner())
    }
}
