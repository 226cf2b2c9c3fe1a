//! Reads generated Rust code: which messages, enumerations and methods there are.
use std::collections::BTreeMap;
use std::path::Path;
use syn::{Attribute, Field, ImplItem, Item, ItemEnum, ItemMod, Meta, Token, Type};

/// The path of a Rust item, from the root of the crate.
pub type RustPath = Vec<String>;

/// A message.
pub struct MessageDef {
    pub name: String,
    pub package: String,
    /// The message that it is nested in.
    pub parent: Option<String>,
    /// The module that its paths start from.
    pub module: RustPath,
    pub fields: Vec<Field>,
}

/// An enumeration.
pub struct EnumDef {
    pub name: String,
    pub parent: Option<String>,
    pub package: String,
    /// Names as in the `.proto`, with their numbers.
    pub values: Vec<(String, i32)>,
}

/// A method of a service.
pub struct MethodDef {
    /// Full name of the service.
    pub service: String,
    pub name: String,
    pub request: RustPath,
    pub response: RustPath,
    pub client_streaming: bool,
    pub server_streaming: bool,
}

/// All of it.
#[derive(Default)]
pub struct Sources {
    pub messages: BTreeMap<RustPath, MessageDef>,
    pub enums: BTreeMap<RustPath, EnumDef>,
    /// The variants of a oneof, and the module that their paths start from.
    pub oneofs: BTreeMap<RustPath, (RustPath, ItemEnum)>,
    pub methods: Vec<MethodDef>,
    /// Every message in the order of its definition.
    pub order: Vec<RustPath>,
}

/// Reads the generated files of a folder, each named by its package.
pub fn read(folder: &Path) -> Sources {
    let mut sources = Sources::default();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let Some(package) = name.strip_suffix(".rs").filter(|name| !name.ends_with(".serde")) else { continue };
        let code = syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let module: RustPath = package.split('.').map(str::to_owned).collect();
        sources.scan(&code.items, &module, package, None);
    }
    sources
}

impl Sources {
    fn scan(&mut self, items: &[Item], module: &RustPath, package: &str, parent: Option<&str>) {
        for item in items {
            match item {
                Item::Struct(item) if derives(&item.attrs, "Message") => {
                    let path = joined(module, &item.ident.to_string());
                    self.order.push(path.clone());
                    self.messages.insert(
                        path,
                        MessageDef {
                            name: item.ident.to_string(),
                            package: package.to_owned(),
                            parent: parent.map(str::to_owned),
                            module: module.clone(),
                            fields: item.fields.iter().cloned().collect(),
                        },
                    );
                }
                Item::Enum(item) if derives(&item.attrs, "Enumeration") => {
                    let values = values(item, items);
                    let def = EnumDef {
                        name: item.ident.to_string(),
                        parent: parent.map(str::to_owned),
                        package: package.to_owned(),
                        values,
                    };
                    self.enums.insert(joined(module, &item.ident.to_string()), def);
                }
                Item::Enum(item) if derives(&item.attrs, "Oneof") => {
                    self.oneofs.insert(joined(module, &item.ident.to_string()), (module.clone(), item.clone()));
                }
                _ => {}
            }
        }
        for item in items {
            if let Item::Mod(nested) = item {
                self.scan_module(nested, items, module, package, parent);
            }
        }
    }

    fn scan_module(
        &mut self,
        nested: &ItemMod,
        around: &[Item],
        module: &RustPath,
        package: &str,
        parent: Option<&str>,
    ) {
        let name = nested.ident.to_string();
        let path = joined(module, &name);
        let Some((_, items)) = &nested.content else { return };
        if name.ends_with("_client") {
            self.scan_client(items, &path);
        } else if !name.ends_with("_server") {
            // Nested messages stand in a module that is named after their message.
            let owner = around.iter().find_map(|item| match item {
                Item::Struct(item) if snake(&item.ident.to_string()) == name => Some(item.ident.to_string()),
                _ => None,
            });
            let owner = owner.unwrap_or_else(|| panic!("whose is the module {path:?}?"));
            let full = parent.map_or_else(|| owner.clone(), |parent| format!("{parent}.{owner}"));
            self.scan(items, &path, package, Some(&full));
        }
    }

    fn scan_client(&mut self, items: &[Item], module: &RustPath) {
        for item in items {
            let Item::Impl(item) = item else { continue };
            for item in &item.items {
                let ImplItem::Fn(method) = item else { continue };
                let Some(route) = route(&method.block) else { continue };
                let (service, name) = route.trim_start_matches('/').split_once('/').unwrap();
                let (request, client_streaming) = request(&method.sig);
                let (response, server_streaming) = response(&method.sig);
                self.methods.push(MethodDef {
                    service: service.to_owned(),
                    name: name.to_owned(),
                    request: resolve(&request, module),
                    response: resolve(&response, module),
                    client_streaming,
                    server_streaming,
                });
            }
        }
    }
}

fn joined(module: &RustPath, name: &str) -> RustPath {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn text(tokens: impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string()
}

fn derives(attributes: &[Attribute], what: &str) -> bool {
    let wanted = format!(":: prost :: {what}");
    attributes.iter().any(|a| a.path().is_ident("derive") && text(&a.meta).contains(&wanted))
}

/// Numbers stand in the enumeration, the names of the `.proto` in its `as_str_name`.
fn values(item: &ItemEnum, items: &[Item]) -> Vec<(String, i32)> {
    let name_of = |variant: &str| {
        let names = items.iter().find_map(|other| match other {
            Item::Impl(other) if item.ident == text(&other.self_ty) => other.items.iter().find_map(|f| match f {
                ImplItem::Fn(f) if f.sig.ident == "as_str_name" => Some(text(&f.block)),
                _ => None,
            }),
            _ => None,
        });
        let names = names.expect("an enumeration knows its names");
        let rest = names.split(&format!("Self :: {variant} => \"")).nth(1).expect("each variant has a name");
        rest.split('"').next().unwrap().to_owned()
    };
    let number = |expression: &syn::Expr| text(expression).replace(' ', "").parse().unwrap();
    item.variants.iter().map(|v| (name_of(&v.ident.to_string()), number(&v.discriminant.as_ref().unwrap().1))).collect()
}

/// `/package.Service/Method` in the body of a client's method.
fn route(block: &syn::Block) -> Option<String> {
    let body = text(block);
    let (_, rest) = body.split_once("PathAndQuery :: from_static (")?;
    Some(rest.split('"').nth(1)?.to_owned())
}

/// `impl IntoRequest<Request>` or `impl IntoStreamingRequest<Message = Request>`.
fn request(signature: &syn::Signature) -> (syn::Path, bool) {
    let Some(syn::FnArg::Typed(argument)) = signature.inputs.iter().nth(1) else { panic!("a method has a request") };
    let words = text(&argument.ty);
    let (_, inside) = words.split_once('<').unwrap();
    let inside = inside.trim_end_matches([' ', '>', ',']);
    match inside.split_once('=') {
        Some((_, message)) => (syn::parse_str(message).unwrap(), true),
        None => (syn::parse_str(inside).unwrap(), false),
    }
}

/// `Result<Response<Streaming<Response>>, Status>` or without `Streaming`.
fn response(signature: &syn::Signature) -> (syn::Path, bool) {
    let syn::ReturnType::Type(_, returned) = &signature.output else { panic!("a method has a response") };
    let inner = argument(&argument(returned, 0), 0);
    match last(&inner).ident == "Streaming" {
        true => (path(&argument(&inner, 0)), true),
        false => (path(&inner), false),
    }
}

/// The path of a type.
pub fn path(of: &Type) -> syn::Path {
    let Type::Path(of) = of else { panic!("not a path: {}", text(of)) };
    of.path.clone()
}

fn last(of: &Type) -> syn::PathSegment {
    path(of).segments.last().unwrap().clone()
}

/// A generic argument of a type.
pub fn argument(of: &Type, index: usize) -> Type {
    let syn::PathArguments::AngleBracketed(arguments) = last(of).arguments else {
        panic!("no arguments: {}", text(of))
    };
    match &arguments.args[index] {
        syn::GenericArgument::Type(argument) => argument.clone(),
        other => panic!("not a type: {}", text(other)),
    }
}

/// The message inside `Option`, `Vec`, `Box`, or the value of a map.
pub fn innermost(of: &Type) -> Type {
    match last(of).ident.to_string().as_str() {
        "Option" | "Vec" | "Box" => innermost(&argument(of, 0)),
        "HashMap" => innermost(&argument(of, 1)),
        _ => of.clone(),
    }
}

/// A relative path, seen from `module`.
pub fn resolve(path: &syn::Path, module: &RustPath) -> RustPath {
    let mut resolved = module.clone();
    for segment in &path.segments {
        match segment.ident.to_string().as_str() {
            "super" => drop(resolved.pop()),
            name => resolved.push(name.to_owned()),
        }
    }
    resolved
}

/// What stands in `#[prost(..)]`: words, and words with a value.
pub fn prost(attributes: &[Attribute]) -> BTreeMap<String, String> {
    let attribute = attributes.iter().find(|a| a.path().is_ident("prost")).expect("each field has #[prost]");
    let metas = attribute.parse_args_with(syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated).unwrap();
    let pair = |meta: Meta| match meta {
        Meta::Path(path) => (text(path), String::new()),
        Meta::NameValue(pair) => (text(pair.path), text(pair.value).trim_matches('"').to_owned()),
        Meta::List(list) => panic!("not expected in #[prost]: {}", text(list)),
    };
    metas.into_iter().map(pair).collect()
}

/// `FooBar` as `foo_bar`.
pub fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for (i, c) in camel.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
