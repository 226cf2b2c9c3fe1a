//! `lre toolchain fetch`, `export`, `import`: toolchains from one machine to another.
use super::add::{Pinning, Shown, tell, warn};
use crate::args::{ToolchainExportArgs, ToolchainFetchArgs, ToolchainImportArgs};
use crate::commands::{Context, Done};
use crate::exit::{Exit, OrProblem, Problem};
use crate::{holdings, obtain, pinned, ui};
use lre_toolchain::{Access, Added, Carried, Facts, Locked, Obtained, check_name};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the lock file pins, brought here.
pub(super) async fn fetch(args: &ToolchainFetchArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let Some((path, lock)) = pinned::lock(&here)? else {
        return Err(Problem::new(Exit::Toolchain, "there is no lre.lock here").hint("lre init"));
    };
    let locked: Vec<&Locked> = match &args.name {
        None => lock.toolchains().iter().collect(),
        Some(name) => vec![lock.get(name).ok_or_else(|| {
            let names: Vec<_> = lock.toolchains().iter().map(|t| t.name.as_str()).collect();
            let what = format!("{} pins no toolchain `{name}`", path.display());
            Problem::new(Exit::Toolchain, what).why(format!("it pins {}", names.join(", ")))
        })?],
    };
    let mut access = holdings::access(context)?;
    let peers = args.from.iter().chain(&access.peers).cloned().collect();
    access = Access { peers, offline: args.offline, ..access };
    let mut fetched = Vec::new();
    for locked in locked {
        let obtained = obtain::install(context, locked, &access).await?;
        if !args.json {
            say!("{} {}  from {}", locked.name, locked.digest, obtained.place);
            obtained.tried.iter().for_each(|tried| eprintln!("not from {}: {}", tried.source, tried.problem));
        }
        fetched.push(fetched_json(locked, &obtained));
    }
    if args.json {
        say!("{:#}", json!({ "schema_version": 1, "toolchains": fetched }));
    }
    Ok(None)
}

fn fetched_json(locked: &Locked, obtained: &Obtained) -> Value {
    let tried: Vec<_> =
        obtained.tried.iter().map(|t| json!({ "source": t.source, "problem": t.problem.to_string() })).collect();
    json!({ "name": locked.name, "digest": locked.digest, "from": obtained.place.to_string(), "tried": tried })
}

/// An installed toolchain, as one file.
pub(super) async fn export(args: &ToolchainExportArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    // What the lock file knows of it travels along.
    let pinned = pinned::lock(&here)?.and_then(|(_, lock)| lock.get(&args.name).cloned());
    let locked = match pinned {
        Some(locked) => locked,
        None => Locked::new(&pinned::choose_installed(context, &args.name)?, Facts::default()),
    };
    let store = holdings::open(context).await?;
    let progress = Arc::new(Shown::default());
    let exported = lre_toolchain::export(&*store, &locked, &args.file, progress.clone()).await;
    progress.clear();
    let exported = exported.map_err(|e| {
        let problem = Problem::new(Exit::Toolchain, format!("cannot export the toolchain `{}`", args.name));
        problem.because(Box::new(e) as Box<dyn std::error::Error>).hint(format!("lre toolchain fetch {}", args.name))
    })?;
    say!("{} {}", locked.name, locked.digest);
    let (file, written) = (args.file.display(), ui::bytes(exported.written_bytes));
    eprintln!("{} files, {}; {file} has {written}", exported.files, ui::bytes(exported.bytes));
    Ok(None)
}

/// A toolchain from such a file, registered under its name.
pub(super) async fn import(args: &ToolchainImportArgs, context: &Context) -> Done {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let pinning = Pinning::of(&here, args.lock)?;
    let store = holdings::open(context).await?;
    let progress = Arc::new(Shown::default());
    let carried = lre_toolchain::import(&*store, &args.file, &holdings::access(context)?, progress.clone()).await;
    progress.clear();
    let Carried { mut locked, imported } = carried.map_err(|e| {
        let problem = Problem::new(Exit::Toolchain, format!("cannot import {}", args.file.display()));
        problem.because(Box::new(e) as Box<dyn std::error::Error>)
    })?;
    warn(&imported.warnings);
    if let Some(name) = &args.name {
        check_name(name).map_err(Problem::usage)?;
        locked.name.clone_from(name);
    }
    let toolchain = locked.toolchain();
    holdings::registry(context)?.put(&toolchain).or_problem("cannot register the toolchain")?;
    let pinned = pinning.map(|pinning| pinning.put(locked)).transpose()?;
    tell(&Added { toolchain, imported }, "from a file", pinned.as_deref(), args.json);
    Ok(None)
}
