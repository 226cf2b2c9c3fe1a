//! What is known of a store path: the same from Nix's own database and from a binary cache.
use super::path::{Sha256, StorePath};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is known of a store path before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    /// Which.
    pub path: StorePath,
    /// Of its NAR.
    pub nar_hash: Sha256,
    /// Of its NAR.
    pub nar_size: u64,
    /// The paths that it names, itself perhaps among them.
    pub references: BTreeSet<StorePath>,
}

/// What `nix path-info --json` prints: a list of objects up to Nix 2.18, then an object by path, and since 2.33 the
/// same below `info`, with names in place of paths and hashes taken apart.
pub(super) fn of_json(text: &[u8]) -> Result<Vec<Info>, String> {
    let value: Value = serde_json::from_slice(text).map_err(|e| format!("it printed no JSON: {e}"))?;
    let value = match &value {
        Value::Object(object) => object.get("info").filter(|info| info.is_object()).unwrap_or(&value),
        _ => &value,
    };
    match value {
        Value::Array(all) => all.iter().map(|one| info(text_of(one, "path")?, one)).collect(),
        Value::Object(all) => all.iter().map(|(path, one)| info(path, one)).collect(),
        _ => Err("it printed JSON of a form that is not known here".to_owned()),
    }
}

/// What `nix build --json` prints: for each thing that was built its outputs by name, for a path the path.
pub(super) fn built(text: &[u8]) -> Result<Vec<StorePath>, String> {
    let value: Value = serde_json::from_slice(text).map_err(|e| format!("it printed no JSON: {e}"))?;
    let mut paths = Vec::new();
    for one in value.as_array().map_or(&[][..], Vec::as_slice) {
        let outputs = one.get("outputs").and_then(Value::as_object);
        let outputs = outputs
            .into_iter()
            .flat_map(|outputs| outputs.values())
            .chain(one.get("path"))
            .chain(one.as_str().map(|_| one));
        for output in outputs {
            let path = StorePath::of_either(output.as_str().ok_or("an output is no path")?)?;
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    if paths.is_empty() { Err("it printed no store path".to_owned()) } else { Ok(paths) }
}

fn info(path: &str, value: &Value) -> Result<Info, String> {
    if value.is_null() || value.get("valid") == Some(&Value::Bool(false)) {
        return Err(format!("the path `{path}` is not valid"));
    }
    let at = |problem: String| format!("of {path}: {problem}");
    let references = value.get("references").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let reference = |one: &Value| StorePath::of_either(one.as_str().ok_or("a reference is no text")?);
    Ok(Info {
        path: StorePath::of_either(path)?,
        nar_hash: hash(value.get("narHash").unwrap_or(&Value::Null)).map_err(at)?,
        nar_size: value.get("narSize").and_then(Value::as_u64).ok_or_else(|| at("it has no `narSize`".to_owned()))?,
        references: references.iter().map(reference).collect::<Result<_, _>>().map_err(at)?,
    })
}

fn hash(value: &Value) -> Result<Sha256, String> {
    match value {
        Value::String(text) => text.parse(),
        // Nix 2.33 and later.
        Value::Object(_) => {
            let separator = if text_of(value, "format")? == "base64" { '-' } else { ':' };
            format!("{}{separator}{}", text_of(value, "algorithm")?, text_of(value, "hash")?).parse()
        }
        _ => Err("it has no `narHash`".to_owned()),
    }
}

fn text_of<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.get(key).and_then(Value::as_str).ok_or_else(|| format!("it has no `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-a";
    const B: &str = "/nix/store/1s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-b";
    const OLD: &str = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
    const NEW: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    /// The same two paths in the words of three generations of Nix.
    #[test]
    fn every_nix_says_the_same() {
        let base = |path: &str| path["/nix/store/".len()..].to_owned();
        let old = format!(
            r#"[{{"deriver":null,"narHash":"{OLD}","narSize":120,"path":"{A}","references":["{A}","{B}"],"valid":true}},
                {{"narHash":"{OLD}","narSize":9,"path":"{B}","references":[],"registrationTime":1}}]"#
        );
        let middle = format!(
            r#"{{"{A}":{{"ca":null,"narHash":"{NEW}","narSize":120,"references":["{A}","{B}"],"ultimate":true}},
                "{B}":{{"narHash":"{NEW}","narSize":9,"references":[]}}}}"#
        );
        let (a, b) = (base(A), base(B));
        let apart = format!(r#"{{"algorithm":"sha256","format":"base64","hash":"{}"}}"#, &NEW["sha256-".len()..]);
        let new = format!(
            r#"{{"version":2,"storeDir":"/nix/store","info":{{
                "{a}":{{"narHash":{apart},"narSize":120,"references":["{a}","{b}"]}},
                "{b}":{{"narHash":"{NEW}","narSize":9,"references":[]}}}}}}"#
        );
        let read = of_json(old.as_bytes()).unwrap();
        assert_eq!((read[0].nar_size, read[0].references.len(), read[1].references.len()), (120, 2, 0));
        assert_eq!(read[0].nar_hash.to_string(), OLD);
        assert_eq!(of_json(middle.as_bytes()).unwrap(), read);
        assert_eq!(of_json(new.as_bytes()).unwrap(), read);
    }

    #[test]
    fn what_was_built_is_read() {
        let text = format!(r#"[{{"drvPath":"{A}.drv","outputs":{{"dev":"{B}","out":"{A}"}}}},{{"path":"{B}"}},"{A}"]"#);
        let paths: Vec<_> = built(text.as_bytes()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(paths, [B, A]);
        for bad in ["[]", "{}", r#"[{"outputs":{"out":null}}]"#, "building"] {
            assert!(built(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_valid_or_not_understood_is_said() {
        for (text, says) in [
            (format!(r#"{{"{A}":null}}"#), "is not valid"),
            (format!(r#"[{{"path":"{A}","valid":false}}]"#), "is not valid"),
            (format!(r#"{{"{A}":{{"narSize":1}}}}"#), "`narHash`"),
            (format!(r#"{{"{A}":{{"narHash":"{NEW}"}}}}"#), "`narSize`"),
            (format!(r#"{{"{A}":{{"narHash":"md5-x","narSize":1}}}}"#), "SHA-256"),
            (r#"{"/elsewhere/x":{"narHash":"","narSize":1}}"#.to_owned(), "below /nix/store"),
            ("3".to_owned(), "form"),
            ("error: x".to_owned(), "no JSON"),
        ] {
            let refused = of_json(text.as_bytes()).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
