//! Makes descriptors out of what was read.
use crate::source::{self, EnumDef, MessageDef, RustPath, Sources};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MessageOptions, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
};
use std::collections::{BTreeMap, BTreeSet};

/// The packages that we serve, and the `.proto` files that they come from.
const FILES: [(&str, &str); 7] = [
    ("build.bazel.semver", "build/bazel/semver/semver.proto"),
    ("google.rpc", "google/rpc/status.proto"),
    ("google.longrunning", "google/longrunning/operations.proto"),
    ("google.bytestream", "google/bytestream/bytestream.proto"),
    ("build.bazel.remote.execution.v2", "build/bazel/remote/execution/v2/remote_execution.proto"),
    ("build.bazel.remote.asset.v1", "build/bazel/remote/asset/v1/remote_asset.proto"),
    ("build.bazel.remote.logstream.v1", "build/bazel/remote/logstream/v1/remote_logstream.proto"),
];

/// The file of a message or enumeration; nothing for what we do not serve.
fn file_of(package: &str, name: &str) -> Option<String> {
    let file = match (package, name) {
        ("google.protobuf", "Any" | "Duration" | "Timestamp" | "Empty") => {
            return Some(format!("google/protobuf/{}.proto", name.to_lowercase()));
        }
        ("google.protobuf", name)
            if name.ends_with("Value") && !["Value", "ListValue", "NullValue"].contains(&name) =>
        {
            "google/protobuf/wrappers.proto"
        }
        _ => FILES.iter().find(|(served, _)| *served == package)?.1,
    };
    Some(file.to_owned())
}

/// The descriptors of all files that our services need, each after those that it needs.
pub fn all(sources: &Sources) -> FileDescriptorSet {
    let mut describer = Describer { sources, files: BTreeMap::new() };
    describer.messages();
    describer.enums();
    describer.services();
    FileDescriptorSet { file: needed(describer.files) }
}

/// The files of [`FILES`] and what they depend on, in the order in which protoc gives them.
fn needed(mut files: BTreeMap<String, FileDescriptorProto>) -> Vec<FileDescriptorProto> {
    fn visit(name: &str, files: &mut BTreeMap<String, FileDescriptorProto>, ordered: &mut Vec<FileDescriptorProto>) {
        let Some(file) = files.remove(name) else { return };
        for dependency in &file.dependency {
            visit(dependency, files, ordered);
        }
        ordered.push(file);
    }
    let mut ordered = Vec::new();
    for (_, name) in FILES {
        visit(name, &mut files, &mut ordered);
    }
    ordered
}

struct Describer<'a> {
    sources: &'a Sources,
    files: BTreeMap<String, FileDescriptorProto>,
}

impl Describer<'_> {
    fn file(&mut self, package: &str, name: &str) -> Option<&mut FileDescriptorProto> {
        let file = file_of(package, name)?;
        let new = || FileDescriptorProto {
            name: Some(file.clone()),
            package: Some(package.to_owned()),
            syntax: Some("proto3".to_owned()),
            ..Default::default()
        };
        Some(self.files.entry(file.clone()).or_insert_with(new))
    }

    fn messages(&mut self) {
        for path in &self.sources.order {
            let def = &self.sources.messages[path];
            if file_of(&def.package, top(&def.parent, &def.name)).is_none() {
                continue;
            }
            let mut uses = BTreeSet::new();
            let message = self.message(def, &mut uses);
            self.depend(&def.package, top(&def.parent, &def.name), uses);
            self.place(&def.package, &def.parent, &def.name, |messages| messages.push(message));
        }
    }

    /// Puts a message where it belongs: into its file or into the message around it.
    fn place(
        &mut self,
        package: &str,
        parent: &Option<String>,
        name: &str,
        put: impl FnOnce(&mut Vec<DescriptorProto>),
    ) {
        let file = self.file(package, top(parent, name)).expect("looked up before");
        let mut messages = &mut file.message_type;
        for around in parent.iter().flat_map(|parent| parent.split('.')) {
            let around = messages.iter_mut().find(|m| m.name() == around).expect("outer messages come first");
            messages = &mut around.nested_type;
        }
        put(messages);
    }

    fn depend(&mut self, package: &str, name: &str, uses: BTreeSet<String>) {
        let Some(file) = self.file(package, name) else { return };
        for used in uses {
            if file.name() != used && !file.dependency.contains(&used) {
                file.dependency.push(used);
                file.dependency.sort();
            }
        }
    }

    fn message(&self, def: &MessageDef, uses: &mut BTreeSet<String>) -> DescriptorProto {
        let mut message = DescriptorProto { name: Some(def.name.clone()), ..Default::default() };
        for field in &def.fields {
            let name = field.ident.as_ref().unwrap().to_string().trim_start_matches("r#").to_owned();
            let words = source::prost(&field.attrs);
            if let Some(oneof) = words.get("oneof") {
                self.oneof(&mut message, &name, oneof, def, uses);
            } else if let Some(types) = words.get("map") {
                self.map(&mut message, &name, types, &words, &field.ty, def, uses);
            } else {
                message.field.push(self.field(&name, &words, &field.ty, &def.module, uses));
            }
        }
        message
    }

    fn oneof(
        &self,
        message: &mut DescriptorProto,
        name: &str,
        of: &str,
        def: &MessageDef,
        uses: &mut BTreeSet<String>,
    ) {
        let path = source::resolve(&syn::parse_str(of).unwrap(), &def.module);
        let (module, item) = &self.sources.oneofs[&path];
        let index = message.oneof_decl.len() as i32;
        message.oneof_decl.push(OneofDescriptorProto { name: Some(name.to_owned()), ..Default::default() });
        for variant in &item.variants {
            let words = source::prost(&variant.attrs);
            let inner = &variant.fields.iter().next().unwrap().ty;
            let mut field = self.field(&source::snake(&variant.ident.to_string()), &words, inner, module, uses);
            field.oneof_index = Some(index);
            message.field.push(field);
        }
    }

    /// A map is a repeated message of keys and values.
    #[expect(clippy::too_many_arguments, reason = "they are the parts of one field")]
    fn map(
        &self,
        message: &mut DescriptorProto,
        name: &str,
        types: &str,
        words: &BTreeMap<String, String>,
        ty: &syn::Type,
        def: &MessageDef,
        uses: &mut BTreeSet<String>,
    ) {
        let entry = camel(name, true) + "Entry";
        let (key, value) = types.split_once(", ").unwrap();
        let part = |name: &str, kind: &str, number: &str, uses: &mut BTreeSet<String>| {
            let words = BTreeMap::from([(kind.to_owned(), String::new()), ("tag".to_owned(), number.to_owned())]);
            self.field(name, &words, ty, &def.module, uses)
        };
        message.nested_type.push(DescriptorProto {
            name: Some(entry.clone()),
            field: vec![part("key", key, "1", uses), part("value", value, "2", uses)],
            options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
            ..Default::default()
        });
        message.field.push(FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: words["tag"].parse().ok(),
            label: Some(Label::Repeated as i32),
            r#type: Some(Type::Message as i32),
            type_name: Some(format!(".{}.{entry}", full(&def.package, &def.parent, &def.name))),
            json_name: Some(camel(name, false)),
            ..Default::default()
        });
    }

    fn field(
        &self,
        name: &str,
        words: &BTreeMap<String, String>,
        ty: &syn::Type,
        module: &RustPath,
        uses: &mut BTreeSet<String>,
    ) -> FieldDescriptorProto {
        let (kind, type_name) = if let Some(of) = words.get("enumeration") {
            let path = source::resolve(&syn::parse_str(of).unwrap(), module);
            let def = &self.sources.enums[&path];
            uses.extend(file_of(&def.package, top(&def.parent, &def.name)));
            (Type::Enum, Some(full(&def.package, &def.parent, &def.name)))
        } else if words.contains_key("message") {
            let path = source::resolve(&source::path(&source::innermost(ty)), module);
            (Type::Message, Some(self.used(&path, uses)))
        } else {
            (scalar(words), None)
        };
        assert!(
            !(words.contains_key("optional") && type_name.is_none()),
            "{name}: presence of scalars needs a synthetic oneof, which is not made here"
        );
        let label = if words.contains_key("repeated") { Label::Repeated } else { Label::Optional };
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(words["tag"].parse().unwrap()),
            label: Some(label as i32),
            r#type: Some(kind as i32),
            type_name: type_name.map(|name| format!(".{name}")),
            json_name: Some(camel(name, false)),
            ..Default::default()
        }
    }

    /// The full name of a message that is used.
    fn used(&self, path: &RustPath, uses: &mut BTreeSet<String>) -> String {
        let def = self.sources.messages.get(path).unwrap_or_else(|| panic!("no message {path:?}"));
        let file = file_of(&def.package, top(&def.parent, &def.name));
        uses.insert(file.unwrap_or_else(|| panic!("{path:?} is used, but its file is not served")));
        full(&def.package, &def.parent, &def.name)
    }

    fn enums(&mut self) {
        for def in self.sources.enums.values() {
            if file_of(&def.package, top(&def.parent, &def.name)).is_none() {
                continue;
            }
            let described = describe_enum(def);
            let Some(parent) = &def.parent else {
                self.file(&def.package, &def.name).unwrap().enum_type.push(described);
                continue;
            };
            let (around, last) = match parent.rsplit_once('.') {
                Some((around, last)) => (Some(around.to_owned()), last),
                None => (None, parent.as_str()),
            };
            self.place(&def.package, &around, last, |messages| {
                messages.iter_mut().find(|m| m.name() == last).unwrap().enum_type.push(described);
            });
        }
    }

    fn services(&mut self) {
        for method in &self.sources.methods {
            let (package, name) = method.service.rsplit_once('.').unwrap();
            if file_of(package, name).is_none() {
                continue;
            }
            let mut uses = BTreeSet::new();
            let described = MethodDescriptorProto {
                name: Some(method.name.clone()),
                input_type: Some(format!(".{}", self.used(&method.request, &mut uses))),
                output_type: Some(format!(".{}", self.used(&method.response, &mut uses))),
                client_streaming: method.client_streaming.then_some(true),
                server_streaming: method.server_streaming.then_some(true),
                ..Default::default()
            };
            self.depend(package, name, uses);
            let services = &mut self.file(package, name).unwrap().service;
            match services.iter_mut().find(|service| service.name() == name) {
                Some(service) => service.method.push(described),
                None => services.push(ServiceDescriptorProto {
                    name: Some(name.to_owned()),
                    method: vec![described],
                    ..Default::default()
                }),
            }
        }
    }
}

fn describe_enum(def: &EnumDef) -> EnumDescriptorProto {
    let value = |(name, number): &(String, i32)| EnumValueDescriptorProto {
        name: Some(name.clone()),
        number: Some(*number),
        ..Default::default()
    };
    EnumDescriptorProto {
        name: Some(def.name.clone()),
        value: def.values.iter().map(value).collect(),
        ..Default::default()
    }
}

fn scalar(words: &BTreeMap<String, String>) -> Type {
    let known = [
        ("string", Type::String),
        ("bytes", Type::Bytes),
        ("bool", Type::Bool),
        ("int32", Type::Int32),
        ("int64", Type::Int64),
        ("uint32", Type::Uint32),
        ("uint64", Type::Uint64),
        ("float", Type::Float),
        ("double", Type::Double),
    ];
    known.into_iter().find(|(word, _)| words.contains_key(*word)).unwrap_or_else(|| panic!("what is {words:?}?")).1
}

/// The outermost message that something stands in.
fn top<'a>(parent: &'a Option<String>, name: &'a str) -> &'a str {
    parent.as_deref().map_or(name, |parent| parent.split('.').next().unwrap_or(parent))
}

fn full(package: &str, parent: &Option<String>, name: &str) -> String {
    match parent {
        Some(parent) => format!("{package}.{parent}.{name}"),
        None => format!("{package}.{name}"),
    }
}

/// `foo_bar` as `fooBar` or `FooBar`.
fn camel(snake: &str, mut upper: bool) -> String {
    let mut camel = String::new();
    for c in snake.chars() {
        match c {
            '_' => upper = true,
            c if std::mem::take(&mut upper) => camel.push(c.to_ascii_uppercase()),
            c => camel.push(c),
        }
    }
    camel
}
