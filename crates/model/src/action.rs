//! What is to be executed, decoded and validated.
use crate::{BadDigest, BadPath, Digest, Platform, RelPath};
use lre_proto::re;
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

/// What the action cache is keyed by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ActionDigest(pub Digest);

/// The root of the Merkle tree that the command sees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InputRoot(pub Digest);

impl fmt::Display for ActionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something about an action that can never work. The client's author must act; sending the same
/// again gives the same answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field path, as in `google.rpc.BadRequest`: `command.output_paths[3]`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Invalid {
    /// A new one.
    pub fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

/// A decoded action (REAPI, `Action`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its own name.
    pub digest: ActionDigest,
    /// What to run.
    pub command: Digest,
    /// What it sees.
    pub input_root: InputRoot,
    /// How long the command may run; `None`: the server's default.
    pub timeout: Option<Duration>,
    /// The result is not remembered and the execution is not shared with others.
    pub do_not_cache: bool,
    /// Where it may run. REAPI 2.2: of the action, where set, else of the command.
    pub platform: Option<Platform>,
}

impl Action {
    /// Decodes the blob of an action.
    ///
    /// # Errors
    /// A message that is not an action, or digests that are none.
    pub fn decode(digest: ActionDigest, blob: &[u8]) -> Result<Self, Invalid> {
        let function = digest.0.function();
        let wire = re::Action::decode(blob).map_err(|e| Invalid::new("action", e))?;
        let bad = |field: &str, e: BadDigest| Invalid::new(field, e);
        let timeout = wire.timeout.map(timeout).transpose()?;
        Ok(Self {
            digest,
            command: Digest::from_wire(function, wire.command_digest.as_ref())
                .map_err(|e| bad("action.command_digest", e))?,
            input_root: InputRoot(
                Digest::from_wire(function, wire.input_root_digest.as_ref())
                    .map_err(|e| bad("action.input_root_digest", e))?,
            ),
            timeout,
            do_not_cache: wire.do_not_cache,
            platform: wire.platform.as_ref().map(Platform::from_wire),
        })
    }
}

/// Zero means "no timeout given" to clients that always fill the field.
fn timeout(wire: lre_proto::protobuf::Duration) -> Result<Duration, Invalid> {
    let bad = || Invalid::new("action.timeout", "a timeout is not negative");
    let seconds = u64::try_from(wire.seconds).map_err(|_| bad())?;
    let nanos = u32::try_from(wire.nanos).map_err(|_| bad())?;
    Ok(Duration::new(seconds, nanos.min(999_999_999)))
}

/// One output that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPath {
    /// As the client wrote it; the result repeats it (REAPI: relative to the working directory).
    pub requested: String,
    /// The same, from the input root.
    pub path: RelPath,
}

/// Which outputs were asked for, in which of the two ways of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// REAPI 2.1 and later: whatever is found at the path.
    Paths(Vec<OutputPath>),
    /// REAPI 2.0: each path has its type.
    Typed {
        /// Must be files, or symlinks to files.
        files: Vec<OutputPath>,
        /// Must be directories, or symlinks to directories.
        directories: Vec<OutputPath>,
    },
}

impl Outputs {
    /// All paths, whatever their type.
    pub fn all(&self) -> impl Iterator<Item = &OutputPath> {
        let (first, second): (&[_], &[_]) = match self {
            Self::Paths(paths) => (paths, &[]),
            Self::Typed { files, directories } => (files, directories),
        };
        first.iter().chain(second)
    }
}

/// How output directories are described (REAPI 2.3, `OutputDirectoryFormat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DirectoryFormat {
    /// One `Tree` message.
    #[default]
    Tree,
    /// One blob for each `Directory`.
    Directory,
    /// Both.
    Both,
}

/// A property of output nodes that the client wants to know (`Command.output_node_properties`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// The modification time.
    Mtime,
    /// The permission bits.
    UnixMode,
}

impl Property {
    /// All that can be asked for.
    pub const ALL: [Self; 2] = [Self::Mtime, Self::UnixMode];

    /// What the API calls it: the name of the field of `NodeProperties`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mtime => "mtime",
            Self::UnixMode => "unix_mode",
        }
    }
}

/// A decoded command (REAPI, `Command`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; at least one.
    pub arguments: Vec<String>,
    /// Exactly what was sent.
    pub environment: BTreeMap<String, String>,
    /// Where it starts, from the input root.
    pub working_directory: RelPath,
    /// What it leaves.
    pub outputs: Outputs,
    /// The platform of the command; see [`Action::platform`].
    pub platform: Platform,
    /// How output directories are described.
    pub directory_format: DirectoryFormat,
    /// What else is to be told of outputs.
    pub output_properties: Vec<Property>,
}

impl Command {
    /// Decodes the blob of a command.
    ///
    /// # Errors
    /// A command without arguments, NUL in an argument, a malformed variable, paths that leave the
    /// input root, an unknown node property.
    pub fn decode(blob: &[u8]) -> Result<Self, Invalid> {
        let wire = re::Command::decode(blob).map_err(|e| Invalid::new("command", e))?;
        if wire.arguments.first().is_none_or(String::is_empty) {
            return Err(Invalid::new("command.arguments", "a command needs a program to run"));
        }
        if let Some(i) = wire.arguments.iter().position(|a| a.contains('\0')) {
            return Err(Invalid::new(format!("command.arguments[{i}]"), "NUL in an argument"));
        }
        let working_directory =
            RelPath::parse(&wire.working_directory).map_err(|e| Invalid::new("command.working_directory", e))?;
        Ok(Self {
            outputs: outputs(&wire, &working_directory)?,
            environment: environment(&wire)?,
            directory_format: directory_format(wire.output_directory_format),
            output_properties: properties(&wire.output_node_properties)?,
            platform: wire.platform.as_ref().map(Platform::from_wire).unwrap_or_default(),
            arguments: wire.arguments,
            working_directory,
        })
    }
}

fn outputs(wire: &re::Command, working_directory: &RelPath) -> Result<Outputs, Invalid> {
    let parse = |field: &str, paths: &[String]| -> Result<Vec<OutputPath>, Invalid> {
        let mut seen = HashSet::new();
        let one = |(i, requested): (usize, &String)| {
            let bad = |e: BadPath| Invalid::new(format!("command.{field}[{i}]"), e);
            let path = working_directory.join(requested).map_err(bad)?;
            Ok(OutputPath { requested: requested.clone(), path })
        };
        // Clients must not name one twice; where one does, it is told once.
        paths.iter().enumerate().filter(|(_, requested)| seen.insert(*requested)).map(one).collect()
    };
    // REAPI 2.1: where `output_paths` is used, the two older fields are ignored.
    if !wire.output_paths.is_empty() {
        return Ok(Outputs::Paths(parse("output_paths", &wire.output_paths)?));
    }
    let files = parse("output_files", &wire.output_files)?;
    let directories = parse("output_directories", &wire.output_directories)?;
    contradiction(&files, &directories).map_or(Ok(Outputs::Typed { files, directories }), Err)
}

/// REAPI, `Command.output_files`: "An output file cannot be duplicated, be a parent of another output file, or have the
/// same path as any of the listed output directories." Nothing could be both.
fn contradiction(files: &[OutputPath], directories: &[OutputPath]) -> Option<Invalid> {
    let of_files: HashSet<_> = files.iter().map(|file| file.path.segments()).collect();
    let root: &[String] = &[];
    let refuse = |requested: &str, problem: String| {
        Some(Invalid::new("command.output_files", format!("`{requested}` {problem}")))
    };
    if of_files.contains(root) {
        return refuse("", "is the input root, which is not a file".to_owned());
    }
    if let Some(both) = directories.iter().find(|directory| of_files.contains(directory.path.segments())) {
        return refuse(&both.requested, "is among the output directories too".to_owned());
    }
    for output in files.iter().chain(directories) {
        let segments = output.path.segments();
        for depth in 1..segments.len() {
            if of_files.contains(&segments[..depth]) {
                let file = segments[..depth].join("/");
                return refuse(&file, format!("cannot be a file: `{}` is an output too", output.requested));
            }
        }
    }
    None
}

fn environment(wire: &re::Command) -> Result<BTreeMap<String, String>, Invalid> {
    let mut environment = BTreeMap::new();
    for (i, variable) in wire.environment_variables.iter().enumerate() {
        let field = format!("command.environment_variables[{i}]");
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || variable.value.contains('\0') {
            return Err(Invalid::new(field, format!("`{}` cannot name a variable", variable.name)));
        }
        if environment.insert(variable.name.clone(), variable.value.clone()).is_some() {
            return Err(Invalid::new(field, format!("`{}` is set twice", variable.name)));
        }
    }
    Ok(environment)
}

/// REAPI: "In case this field is set to a value that is not supported by the worker, the worker SHOULD interpret this
/// field as TREE_ONLY."
fn directory_format(value: i32) -> DirectoryFormat {
    use re::command::OutputDirectoryFormat as F;
    match F::try_from(value) {
        Ok(F::DirectoryOnly) => DirectoryFormat::Directory,
        Ok(F::TreeAndDirectory) => DirectoryFormat::Both,
        Ok(F::TreeOnly) | Err(_) => DirectoryFormat::Tree,
    }
}

fn properties(names: &[String]) -> Result<Vec<Property>, Invalid> {
    let one = |name: &String| {
        let known = Property::ALL.into_iter().find(|property| property.name() == name);
        known.ok_or_else(|| {
            let known = Property::ALL.map(Property::name).join(" and ");
            Invalid::new("command.output_node_properties", format!("`{name}` is not supported: {known} are"))
        })
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DigestFunction;

    fn command(change: impl FnOnce(&mut re::Command)) -> Result<Command, Invalid> {
        let mut wire = re::Command { arguments: vec!["true".into()], ..Default::default() };
        change(&mut wire);
        Command::decode(&wire.encode_to_vec())
    }

    /// What is done to a command that works.
    type Change = fn(&mut re::Command);

    #[test]
    fn commands_that_cannot_work_name_their_field() {
        let cases: [(&str, Change); 11] = [
            ("command.arguments", |c| c.arguments.clear()),
            ("command.arguments[0]", |c| c.arguments = vec!["a\0b".into()]),
            ("command.output_paths[1]", |c| c.output_paths = vec!["a".into(), "/b".into()]),
            ("command.output_files[0]", |c| c.output_files = vec!["../b".into()]),
            ("command.output_files", |c| c.output_files = vec![".".into()]),
            ("command.output_files", |c| c.output_files = vec!["a".into(), "a/b".into()]),
            ("command.output_files", |c| {
                c.output_files = vec!["a".into()];
                c.output_directories = vec!["a/b/c".into()];
            }),
            ("command.output_files", |c| {
                c.output_files = vec!["a".into(), "b".into()];
                c.output_directories = vec!["./b".into()];
            }),
            ("command.output_directories[0]", |c| c.output_directories = vec!["a/../../b".into()]),
            ("command.working_directory", |c| c.working_directory = "..".into()),
            ("command.output_node_properties", |c| c.output_node_properties = vec!["color".into()]),
        ];
        for (field, change) in cases {
            assert_eq!(command(change).unwrap_err().field, field);
        }
        let twice = command(|c| {
            let variable = re::command::EnvironmentVariable { name: "A".into(), value: "1".into() };
            c.environment_variables = vec![variable.clone(), variable];
        });
        assert_eq!(twice.unwrap_err().field, "command.environment_variables[1]");
    }

    /// PROTOCOL 71, 75: what is unusual and can be followed is followed: an output that is named twice is one, directories
    /// may be in one another, and an unknown format is a Tree.
    #[test]
    fn what_can_be_followed_is_followed() {
        let paths = |c: Command| c.outputs.all().map(|o| o.requested.clone()).collect::<Vec<_>>();
        let twice = command(|c| c.output_paths = ["b", "a", "b", "b/c"].map(Into::into).into()).unwrap();
        assert_eq!(paths(twice), ["b", "a", "b/c"]);
        let nested = command(|c| c.output_directories = ["a", "a/b"].map(Into::into).into()).unwrap();
        assert_eq!(paths(nested), ["a", "a/b"]);
        assert_eq!(command(|c| c.output_directory_format = 9).unwrap().directory_format, DirectoryFormat::Tree);
    }

    #[test]
    fn outputs_are_seen_from_the_working_directory() {
        let c = command(|c| {
            c.working_directory = "work".into();
            c.output_paths = vec!["a.o".into(), "../gen/b".into(), String::new()];
        })
        .unwrap();
        let paths: Vec<_> = c.outputs.all().map(|o| o.path.to_string()).collect();
        assert_eq!(paths, ["work/a.o", "gen/b", "work"]);
    }

    #[test]
    fn an_action_names_its_parts() {
        let digest = |b: &[u8]| Digest::of(DigestFunction::Sha256, b);
        let wire = re::Action {
            command_digest: Some(digest(b"c").to_wire()),
            input_root_digest: Some(digest(b"").to_wire()),
            timeout: Some(lre_proto::protobuf::Duration { seconds: 5, nanos: 0 }),
            ..Default::default()
        };
        let blob = wire.encode_to_vec();
        let action = Action::decode(ActionDigest(digest(&blob)), &blob).unwrap();
        assert_eq!((action.command, action.timeout), (digest(b"c"), Some(Duration::from_secs(5))));
        let bad = re::Action { command_digest: None, ..wire }.encode_to_vec();
        assert_eq!(Action::decode(ActionDigest(digest(&bad)), &bad).unwrap_err().field, "action.command_digest");
    }
}
