//! F: ActionCache.
use crate::check::checks;
use crate::probe::Probe;
use crate::verdict::{Verdict, ensure, refused, same, same_bytes, works};
use lre_model::Digest;
use lre_proto::re;
use prost::Message;
use tonic::{Code, Status};

checks! {
    Must 43 "GetActionResult of an unknown action is NOT_FOUND" unknown;
    Must 46 "what was updated is what comes back" round_trip;
    Must 46 "a later update overwrites" overwritten;
    Should 46 "an update without a digest or a result is INVALID_ARGUMENT" malformed;
    May 46 "a failure that a client stores comes back" failure;
    Should 44 "a result whose output file is missing is not returned" missing_file;
    Should 44 "a result whose stdout is missing is not returned" missing_stdout;
    Should 44 "a result whose Tree is missing is not returned" missing_tree;
    Should 44 "a result with a missing file inside a Tree is not returned" missing_in_tree;
    May 45 "stdout is inlined on request" inlined_stdout;
    May 45 "an output file is inlined on request" inlined_file;
    Must 45 "an inlined result fits into a message" inlined_too_long;
    Should 47 "a stored result is never zero bytes" never_empty;
}

impl Probe {
    /// `UpdateActionResult`.
    pub async fn update(&self, action: Digest, result: &re::ActionResult) -> Result<re::ActionResult, Status> {
        let request = re::UpdateActionResultRequest {
            instance_name: self.instance().to_owned(),
            action_digest: Some(action.to_wire()),
            action_result: Some(result.clone()),
            digest_function: action.function().to_wire(),
            ..Default::default()
        };
        Ok(self.actions().update_action_result(request).await?.into_inner())
    }
}

/// An action that is there: some server looks whether it is.
async fn action(probe: &Probe) -> Verdict<Digest> {
    let command = re::Command { arguments: vec![probe.word()], ..Default::default() };
    let command = probe.put(command.encode_to_vec()).await?;
    let action = re::Action {
        command_digest: Some(command.to_wire()),
        input_root_digest: Some(probe.digest(b"").to_wire()),
        ..Default::default()
    };
    probe.put(action.encode_to_vec()).await
}

/// A result with one output file, and what is in it.
async fn with_file(probe: &Probe) -> Verdict<re::ActionResult> {
    let digest = probe.put(probe.noise(100)).await?;
    let file = re::OutputFile { path: "out/a".to_owned(), digest: Some(digest.to_wire()), ..Default::default() };
    Ok(re::ActionResult { output_files: vec![file], ..Default::default() })
}

async fn unknown(probe: &Probe) -> Verdict {
    let answer = probe.result_of(probe.digest(&probe.noise(50))).await;
    refused("GetActionResult of an unknown action", answer, &[Code::NotFound]).map(drop)
}

async fn round_trip(probe: &Probe) -> Verdict {
    probe.updates()?;
    let action = action(probe).await?;
    let stdout = probe.put(probe.noise(20)).await?;
    let result = re::ActionResult { stdout_digest: Some(stdout.to_wire()), ..with_file(probe).await? };
    works("UpdateActionResult", probe.update(action, &result).await)?;
    let mut seen = works("GetActionResult", probe.result_of(action).await)?;
    // Who made it may be added.
    seen.execution_metadata = None;
    same("the result", &result, &seen)
}

async fn overwritten(probe: &Probe) -> Verdict {
    probe.updates()?;
    let action = action(probe).await?;
    works("UpdateActionResult", probe.update(action, &with_file(probe).await?).await)?;
    let second = with_file(probe).await?;
    works("UpdateActionResult once more", probe.update(action, &second).await)?;
    let seen = works("GetActionResult", probe.result_of(action).await)?;
    same("the output files", &second.output_files, &seen.output_files)
}

async fn malformed(probe: &Probe) -> Verdict {
    probe.updates()?;
    let action = action(probe).await?;
    let instance_name = probe.instance().to_owned();
    let without_result = re::UpdateActionResultRequest {
        instance_name: instance_name.clone(),
        action_digest: Some(action.to_wire()),
        ..Default::default()
    };
    let without_digest = re::UpdateActionResultRequest {
        instance_name,
        action_result: Some(with_file(probe).await?),
        ..Default::default()
    };
    for (what, request) in [("a result", without_result), ("a digest", without_digest)] {
        let answer = probe.actions().update_action_result(request).await.map(tonic::Response::into_inner);
        refused(&format!("UpdateActionResult without {what}"), answer, &[Code::InvalidArgument])?;
    }
    Ok(())
}

async fn failure(probe: &Probe) -> Verdict {
    probe.updates()?;
    let action = action(probe).await?;
    let result = re::ActionResult { exit_code: 7, ..with_file(probe).await? };
    works("UpdateActionResult of a failure", probe.update(action, &result).await)?;
    let seen = works("GetActionResult", probe.result_of(action).await)?;
    same("the exit code", &7, &seen.exit_code)
}

/// Stores a result that is not whole, or tries to, and expects not to get it.
async fn incomplete(probe: &Probe, result: re::ActionResult) -> Verdict {
    probe.updates()?;
    let action = action(probe).await?;
    if let Err(status) = probe.update(action, &result).await {
        let codes = [Code::FailedPrecondition, Code::InvalidArgument, Code::NotFound];
        return refused::<()>("UpdateActionResult of outputs that are not there", Err(status), &codes).map(drop);
    }
    refused("GetActionResult with an output that is not there", probe.result_of(action).await, &[Code::NotFound])
        .map(drop)
}

async fn missing_file(probe: &Probe) -> Verdict {
    let gone = probe.digest(&probe.noise(100)).to_wire();
    let file = re::OutputFile { path: "a".to_owned(), digest: Some(gone), ..Default::default() };
    incomplete(probe, re::ActionResult { output_files: vec![file], ..Default::default() }).await
}

async fn missing_stdout(probe: &Probe) -> Verdict {
    let gone = probe.digest(&probe.noise(100)).to_wire();
    incomplete(probe, re::ActionResult { stdout_digest: Some(gone), ..Default::default() }).await
}

async fn missing_tree(probe: &Probe) -> Verdict {
    let gone = probe.digest(&probe.noise(100)).to_wire();
    let directory = re::OutputDirectory { path: "a".to_owned(), tree_digest: Some(gone), ..Default::default() };
    incomplete(probe, re::ActionResult { output_directories: vec![directory], ..Default::default() }).await
}

async fn missing_in_tree(probe: &Probe) -> Verdict {
    let gone = probe.digest(&probe.noise(100)).to_wire();
    let file = re::FileNode { name: "a".to_owned(), digest: Some(gone), ..Default::default() };
    let root = re::Directory { files: vec![file], ..Default::default() };
    let tree = re::Tree { root: Some(root), children: Vec::new() };
    let tree = probe.put(tree.encode_to_vec()).await?.to_wire();
    let directory = re::OutputDirectory { path: "a".to_owned(), tree_digest: Some(tree), ..Default::default() };
    incomplete(probe, re::ActionResult { output_directories: vec![directory], ..Default::default() }).await
}

/// Stores a result and asks for it with inlining.
async fn inlined(probe: &Probe, result: &re::ActionResult) -> Verdict<re::ActionResult> {
    probe.updates()?;
    let action = action(probe).await?;
    works("UpdateActionResult", probe.update(action, result).await)?;
    let request = re::GetActionResultRequest {
        instance_name: probe.instance().to_owned(),
        action_digest: Some(action.to_wire()),
        inline_stdout: true,
        inline_stderr: true,
        inline_output_files: result.output_files.iter().map(|file| file.path.clone()).collect(),
        ..Default::default()
    };
    Ok(works("GetActionResult with inlining", probe.actions().get_action_result(request).await)?.into_inner())
}

async fn inlined_stdout(probe: &Probe) -> Verdict {
    let content = probe.noise(40);
    let digest = probe.put(content.clone()).await?;
    let result = re::ActionResult { stdout_digest: Some(digest.to_wire()), ..Default::default() };
    same_bytes("stdout_raw", &content, &inlined(probe, &result).await?.stdout_raw)
}

async fn inlined_file(probe: &Probe) -> Verdict {
    let content = probe.noise(40);
    let digest = probe.put(content.clone()).await?.to_wire();
    let file = re::OutputFile { path: "a".to_owned(), digest: Some(digest), ..Default::default() };
    let result = re::ActionResult { output_files: vec![file], ..Default::default() };
    let seen = inlined(probe, &result).await?;
    let contents = seen.output_files.first().map(|file| file.contents.clone());
    same_bytes("contents", &content, &contents.unwrap_or_default())
}

async fn inlined_too_long(probe: &Probe) -> Verdict {
    let mut result = re::ActionResult::default();
    for path in ["a", "b", "c"] {
        let digest = probe.stream_in(crate::stream::Form::Plain, &probe.noise(2 << 20)).await?.to_wire();
        result.output_files.push(re::OutputFile { path: path.to_owned(), digest: Some(digest), ..Default::default() });
    }
    // A longer message than 4 MiB fails here.
    let seen = inlined(probe, &result).await?;
    same("how many output files", &3, &seen.output_files.len())
}

async fn never_empty(probe: &Probe) -> Verdict {
    probe.updates()?;
    let action = action(probe).await?;
    works("UpdateActionResult of an empty result", probe.update(action, &re::ActionResult::default()).await)?;
    let seen = works("GetActionResult of an empty result", probe.result_of(action).await)?;
    ensure!(seen != re::ActionResult::default(), "it is zero bytes long: some clients take that for a broken entry");
    Ok(())
}
