//! An action, from what is wanted to what is sent.
use crate::client::ClientError;
use crate::client::inputs::{Content, Inputs, Merkle};
use bytes::Bytes;
use lre_model::{ActionDigest, Digest, DigestFunction, InputRoot, Platform, RelPath};
use lre_proto::{protobuf, re};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// An action as its caller thinks of it.
#[derive(Clone, Debug, Default)]
pub struct ActionSpec {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// All of the environment; the server adds the names of its determinism policy.
    pub environment: BTreeMap<String, String>,
    /// What the command sees.
    pub inputs: Inputs,
    /// What it leaves, relative to the working directory.
    pub outputs: Vec<String>,
    /// Output directories are left in the server's store as `Directory` messages, as inputs are, and not as one
    /// `Tree` each.
    pub output_directories_as_inputs: bool,
    /// Where it may run: the toolchain above all.
    pub platform: Platform,
    /// How long it may run; `None`: the server's default.
    pub timeout: Option<Duration>,
    /// Where it starts, relative to the input root; it must exist there.
    pub working_directory: String,
    /// The result is not remembered.
    pub do_not_cache: bool,
    /// How everything is named.
    pub function: DigestFunction,
}

/// An action that is hashed and ready to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The action.
    pub action: ActionDigest,
    /// Its command.
    pub command: Digest,
    /// What it sees.
    pub input_root: InputRoot,
    /// Files in the input root.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Everything that the server must have.
    pub(crate) blobs: HashMap<Digest, Content>,
}

impl ActionSpec {
    /// Hashes everything. Reads the input files: call it where blocking is allowed.
    ///
    /// # Errors
    /// Inputs that cannot be read or that cannot be.
    pub fn prepare(&self) -> Result<Prepared, ClientError> {
        let mut merkle = self.inputs_with_working_directory()?.merkle(self.function)?;
        let command = self.command()?.encode_to_vec();
        let command = take(&mut merkle, self.function, command);
        let duration = |timeout: Duration| protobuf::Duration {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanos: timeout.subsec_nanos().cast_signed(),
        };
        let action = re::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(merkle.root.0.to_wire()),
            timeout: self.timeout.map(duration),
            do_not_cache: self.do_not_cache,
            platform: Some(self.platform.to_wire()),
            ..Default::default()
        };
        let action = ActionDigest(take(&mut merkle, self.function, action.encode_to_vec()));
        let Merkle { root: input_root, blobs, files, bytes, .. } = merkle;
        Ok(Prepared { action, command, input_root, files, bytes, blobs })
    }

    /// REAPI: the working directory must exist in the input root.
    fn inputs_with_working_directory(&self) -> Result<Inputs, ClientError> {
        let mut inputs = self.inputs.clone();
        inputs.add_directory(&self.working_directory)?;
        Ok(inputs)
    }

    #[expect(deprecated, reason = "servers older than API 2.2 look for the platform in the command")]
    fn command(&self) -> Result<re::Command, ClientError> {
        let variable = |(name, value): (&String, &String)| re::command::EnvironmentVariable {
            name: name.clone(),
            value: value.clone(),
        };
        for output in &self.outputs {
            let base = RelPath::parse(&self.working_directory);
            let path = base.and_then(|base| base.join(output));
            path.map_err(|e| ClientError::BadInput(format!("output {e}")))?;
        }
        // REAPI: "the paths MUST be sorted and deduplicated".
        let outputs: BTreeSet<_> = self.outputs.iter().cloned().collect();
        let format = match self.output_directories_as_inputs {
            true => re::command::OutputDirectoryFormat::DirectoryOnly,
            false => re::command::OutputDirectoryFormat::TreeOnly,
        };
        Ok(re::Command {
            output_directory_format: format.into(),
            arguments: self.arguments.clone(),
            environment_variables: self.environment.iter().map(variable).collect(),
            output_paths: outputs.into_iter().collect(),
            platform: Some(self.platform.to_wire()),
            working_directory: self.working_directory.clone(),
            ..Default::default()
        })
    }
}

fn take(merkle: &mut Merkle, function: DigestFunction, message: Vec<u8>) -> Digest {
    let bytes = Bytes::from(message);
    let digest = Digest::of(function, &bytes);
    merkle.blobs.insert(digest, Content::Bytes(bytes));
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::inputs::Entry;
    use lre_model::{Action, Command};

    fn spec() -> ActionSpec {
        ActionSpec {
            arguments: vec!["cc".into(), "-c".into()],
            outputs: vec!["b".into(), "a".into()],
            ..Default::default()
        }
    }

    fn blob(prepared: &Prepared, digest: Digest) -> Bytes {
        match &prepared.blobs[&digest] {
            Content::Bytes(bytes) => bytes.clone(),
            Content::File(path) => panic!("{} is a file", path.display()),
        }
    }

    #[test]
    fn the_server_reads_what_was_meant() {
        let mut spec = spec();
        spec.platform = Platform::new([("ISA", "x86-64")]);
        spec.timeout = Some(Duration::from_millis(1500));
        spec.working_directory = "work/dir".into();
        let prepared = spec.prepare().unwrap();
        let action = Action::decode(prepared.action, &blob(&prepared, prepared.action.0)).unwrap();
        assert_eq!(action.timeout, spec.timeout);
        assert_eq!((action.input_root, action.command), (prepared.input_root, prepared.command));
        assert_eq!(action.platform, Some(spec.platform.clone()));
        let command = Command::decode(&blob(&prepared, prepared.command)).unwrap();
        assert_eq!(command.arguments, spec.arguments);
        let outputs: Vec<_> = command.outputs.all().map(|o| o.path.to_string()).collect();
        assert_eq!(outputs, ["work/dir/a", "work/dir/b"]);
        assert_eq!(prepared.blobs.len(), 2 + 3, "action, command, three directories");
    }

    #[test]
    fn equal_actions_have_equal_digests_and_others_have_not() {
        let same = spec().prepare().unwrap().action;
        assert_eq!(spec().prepare().unwrap().action, same);
        let changes: [fn(&mut ActionSpec); 5] = [
            |s| s.arguments.push("x".into()),
            |s| s.platform = Platform::new([("a", "b")]),
            |s| s.do_not_cache = true,
            |s| s.timeout = Some(Duration::from_secs(1)),
            |s| {
                s.inputs.add("f", Entry::Symlink("g".into())).unwrap();
            },
        ];
        for change in changes {
            let mut other = spec();
            change(&mut other);
            assert_ne!(other.prepare().unwrap().action, same);
        }
    }

    #[test]
    fn outputs_outside_are_refused_before_anything_is_sent() {
        for bad in ["/abs", "../up"] {
            let spec = ActionSpec { outputs: vec![bad.into()], ..spec() };
            assert!(matches!(spec.prepare(), Err(ClientError::BadInput(_))), "{bad}");
        }
    }
}
