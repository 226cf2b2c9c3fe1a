//! Values in Bazel's language.

/// A string literal.
pub(crate) fn text(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

/// A list, one value on each line, as the last argument of a call that is indented by four spaces.
pub(crate) fn list<T: AsRef<str>>(values: &[T]) -> String {
    match values {
        [] => "[]".to_owned(),
        [one] => format!("[{}]", text(one.as_ref())),
        many => {
            let lines: Vec<_> = many.iter().map(|v| format!("        {},\n", text(v.as_ref()))).collect();
            format!("[\n{}    ]", lines.concat())
        }
    }
}

/// A dictionary, one pair on each line, in the order given.
pub(crate) fn dict<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let lines: Vec<_> = pairs.into_iter().map(|(k, v)| format!("        {}: {},\n", text(k), text(v))).collect();
    match &lines[..] {
        [] => "{}".to_owned(),
        lines => format!("{{\n{}    }}", lines.concat()),
    }
}

/// A call of a rule or function, one argument on each line.
pub(crate) fn call<'a>(function: &str, arguments: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines: Vec<_> = arguments.into_iter().map(|(name, value)| format!("    {name} = {value},\n")).collect();
    format!("{function}(\n{})\n", lines.concat())
}

/// `True` or `False`.
pub(crate) fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted() {
        assert_eq!(text("a\"b\\c\n"), r#""a\"b\\c\n""#);
        assert_eq!(list::<&str>(&[]), "[]");
        assert_eq!(list(&["a"]), "[\"a\"]");
        assert_eq!(list(&["a", "b"]), "[\n        \"a\",\n        \"b\",\n    ]");
        assert_eq!(dict([("a", "b")]), "{\n        \"a\": \"b\",\n    }");
        assert_eq!(dict([]), "{}");
        assert_eq!(call("f", [("a", text("b"))]), "f(\n    a = \"b\",\n)\n");
    }
}
