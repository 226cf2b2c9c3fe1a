//! `lre config`: what holds, and who said so.
use crate::args::{ConfigArgs, ConfigCommand};
use crate::commands::Done;
use crate::config::{self, Config, Written, keys};
use crate::ui;
use serde_json::{Map, Value, json};

/// Runs `lre config`.
///
/// # Errors
/// A configuration that cannot be meant.
pub fn run(args: &ConfigArgs, flags: &Written) -> Done {
    match args.what {
        ConfigCommand::Reference => ui::out(format_args!("{}", keys::reference())),
        ConfigCommand::Schema => say!("{:#}", keys::schema()),
        ConfigCommand::Show { json } => {
            let (config, _) = config::load(flags)?;
            match json {
                true => say!("{:#}", as_json(&config)),
                false => ui::out(format_args!("{}", as_text(&config))),
            }
        }
    }
    Ok(None)
}

fn as_json(config: &Config) -> Value {
    let value = |(key, value, origin): (&str, Value, &config::Origin)| {
        (key.to_owned(), json!({ "value": value, "origin": origin.0 }))
    };
    json!({ "schema_version": 1, "values": config.values().into_iter().map(value).collect::<Map<_, _>>() })
}

fn as_text(config: &Config) -> String {
    let rows: Vec<_> =
        config.values().into_iter().map(|(key, value, origin)| (key, value.to_string(), origin)).collect();
    let width = rows.iter().map(|(_, value, _)| value.len()).max().unwrap_or(0);
    rows.iter().map(|(key, value, origin)| format!("{key:30} {value:width$}  {}\n", origin.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Facts;
    use crate::paths::Paths;

    #[test]
    fn each_value_names_its_origin() {
        let paths = Paths { runtime: "/r".into(), cache: "/c".into(), state: "/s".into(), config: "/e".into() };
        let config = Config::new(&[], &Facts { paths: &paths, cores: 2, memory_bytes: 4 << 30 }).unwrap();
        let json = as_json(&config);
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["values"]["slots"], json!({ "value": 2, "origin": "default" }));
        let text = as_text(&config);
        assert_eq!(text.lines().count(), keys::KEYS.len());
        assert!(text.lines().all(|line| line.ends_with("  default")), "{text}");
    }
}
