//! Messages that clients upload as blobs.
use super::{word, word_of};
use lre_model::{
    Action, ActionDigest, Command, Digest, DigestFunction, Directory, Node, Outputs, RelPath, decode_tree, encode_tree,
};
use lre_proto::{protobuf, re};
use prost::Message;
use std::collections::BTreeMap;

const F: DigestFunction = DigestFunction::Sha256;

fn digest(content: &str) -> Option<re::Digest> {
    Some(Digest::of(F, content.as_bytes()).to_wire())
}

fn file(name: &str) -> re::FileNode {
    re::FileNode { name: name.to_owned(), digest: digest(name), is_executable: true, ..Default::default() }
}

fn link(name: &str, target: &str) -> re::SymlinkNode {
    re::SymlinkNode { name: name.to_owned(), target: target.to_owned(), ..Default::default() }
}

fn wire_directories() -> Vec<re::Directory> {
    let leaf = re::Directory {
        files: vec![file("a"), file("b.txt")],
        symlinks: vec![link("l", "../a")],
        ..Default::default()
    };
    let child = |name: &str| re::DirectoryNode {
        name: name.to_owned(),
        digest: Some(Digest::of(F, &leaf.encode_to_vec()).to_wire()),
    };
    let properties = re::NodeProperties {
        properties: vec![re::NodeProperty { name: "x".to_owned(), value: "y".to_owned() }],
        mtime: Some(protobuf::Timestamp { seconds: 5, nanos: 6 }),
        unix_mode: Some(protobuf::UInt32Value { value: 0o755 }),
    };
    let root = re::Directory {
        files: vec![file("main.c")],
        directories: vec![child("one"), child("two")],
        symlinks: vec![link("absolute", "/usr/bin/cc")],
        node_properties: Some(properties),
    };
    vec![re::Directory::default(), leaf, root]
}

pub fn directories() -> Vec<Vec<u8>> {
    wire_directories().iter().map(Message::encode_to_vec).collect()
}

pub fn trees() -> Vec<Vec<u8>> {
    let all = wire_directories();
    let tree = re::Tree { root: Some(all[2].clone()), children: vec![all[1].clone()] };
    vec![tree.encode_to_vec(), re::Tree::default().encode_to_vec()]
}

/// A name that can stand in a folder, and leads nowhere else.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn sound(directory: &Directory) {
    for (name, node) in directory.children() {
        assert!(is_name(name.as_str()), "the name {:?} is taken", name.as_str());
        if let Node::Symlink { target } = node {
            assert!(!target.contains('\0'), "the target {target:?} is taken");
        }
    }
}

/// What is taken has names that can be given, and says the same again.
pub fn directory(input: &[u8]) -> String {
    match Directory::decode(F, input) {
        Ok(directory) => {
            sound(&directory);
            let canonical = directory.encode();
            let again = Directory::decode(F, &canonical).expect("what was encoded here");
            assert_eq!(again.encode(), canonical);
            assert_eq!((again.len(), again.is_empty()), (directory.len(), directory.is_empty()));
            format!(
                "{} children, {} of them directories",
                directory.len().min(9),
                directory.subdirectories().count().min(9)
            )
        }
        Err(error) => word(&error),
    }
}

/// The same for all directories of a Tree, whatever of it can be reached.
pub fn tree(input: &[u8]) -> String {
    match decode_tree(F, input) {
        Ok((root, children)) => {
            sound(&root);
            children.values().for_each(sound);
            let children: BTreeMap<_, _> = children.into_iter().collect();
            let canonical = encode_tree(&root, &children);
            let (root_again, reached) = decode_tree(F, &canonical).expect("what was encoded here");
            assert_eq!(root_again.encode(), root.encode());
            assert!(reached.len() <= children.len());
            format!("{} children, {} reached", children.len().min(9), reached.len().min(9))
        }
        Err(error) => word(&error),
    }
}

fn platform() -> Option<re::Platform> {
    let property = |name: &str, value: &str| re::platform::Property { name: name.to_owned(), value: value.to_owned() };
    Some(re::Platform { properties: vec![property("ISA", "x86-64"), property("OSFamily", "linux")] })
}

pub fn actions() -> Vec<Vec<u8>> {
    let action = re::Action {
        command_digest: digest("command"),
        input_root_digest: digest("root"),
        timeout: Some(protobuf::Duration { seconds: 60, nanos: 1 }),
        do_not_cache: true,
        salt: b"salt".to_vec(),
        platform: platform(),
    };
    let least = re::Action { command_digest: digest("a"), input_root_digest: digest(""), ..Default::default() };
    vec![action.encode_to_vec(), least.encode_to_vec()]
}

/// What is taken is taken the same when it comes in canonical form.
pub fn action(input: &[u8]) -> String {
    let name = ActionDigest(Digest::of(F, input));
    match Action::decode(name, input) {
        Ok(action) => {
            let canonical = re::Action::decode(input).expect("it was decoded").encode_to_vec();
            assert_eq!(Action::decode(name, &canonical).as_ref(), Ok(&action));
            format!("{:?} {} {}", action.timeout.is_some(), action.do_not_cache, action.platform.is_some())
        }
        Err(error) => word_of(&error),
    }
}

#[expect(deprecated, reason = "clients of API 2.0 send these fields")]
pub fn commands() -> Vec<Vec<u8>> {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let variable = |name: &str| re::command::EnvironmentVariable { name: name.to_owned(), value: "a=b".to_owned() };
    let new = re::Command {
        arguments: texts(&["cc", "-c", "a.c"]),
        environment_variables: vec![variable("LANG"), variable("PATH")],
        output_paths: texts(&["out/a.o", "out/a.d", "dir"]),
        working_directory: "sub/dir".to_owned(),
        output_node_properties: texts(&["mtime"]),
        output_directory_format: 2,
        ..Default::default()
    };
    let old = re::Command {
        arguments: texts(&["./tool"]),
        output_files: texts(&["a", "b/c"]),
        output_directories: texts(&["", "d"]),
        platform: platform(),
        ..Default::default()
    };
    vec![new.encode_to_vec(), old.encode_to_vec()]
}

fn below(path: &RelPath) {
    assert!(path.segments().iter().all(|segment| is_name(segment)), "{path:?} is taken");
}

/// What is taken leads nowhere else, and can be given to a process.
pub fn command(input: &[u8]) -> String {
    match Command::decode(input) {
        Ok(command) => {
            below(&command.working_directory);
            command.outputs.all().for_each(|output| below(&output.path));
            assert!(command.arguments.first().is_some_and(|program| !program.is_empty()));
            assert!(command.arguments.iter().all(|argument| !argument.contains('\0')));
            for (name, value) in &command.environment {
                assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'), "{name:?} is taken");
            }
            let canonical = re::Command::decode(input).expect("it was decoded").encode_to_vec();
            assert_eq!(Command::decode(&canonical).as_ref(), Ok(&command));
            let kind = matches!(command.outputs, Outputs::Paths(_));
            format!("{kind} {} {:?}", command.outputs.all().count().min(9), command.directory_format)
        }
        Err(error) => word_of(&error),
    }
}
