//! `lre cc`: the compiler launcher of make, CMake and ninja.
use crate::args::CcArgs;
use crate::cc::{Launch, roots_of, run as launch, stats};
use crate::commands::{Context, Done, block_on};
use crate::config::Written;
use crate::exit::{Exit, OrProblem, Problem};
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs `lre cc`.
///
/// # Errors
/// Whatever is not the compiler's own failure; 125 unless it has a code of its own.
pub fn run(args: CcArgs, flags: &Written) -> Done {
    let ours = |problem: Problem| match problem.exit() {
        Exit::Error | Exit::Finding => problem.exiting(Exit::Run),
        _ => problem,
    };
    let context = Context::load(flags).map_err(ours)?;
    if args.stats || args.zero_stats {
        return stats(&context, args.zero_stats, args.json);
    }
    let launched = meant(args).map_err(ours)?;
    block_on(async { launch(&launched, &context).await }).map_err(ours)
}

fn meant(args: CcArgs) -> Result<Launch, Problem> {
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let mut words = args.command.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    if words.is_empty() {
        return Err(Problem::usage("no compiler was named").hint("lre cc gcc -c a.c -o a.o"));
    }
    let compiler = words.remove(0);
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let roots = match args.root.is_empty() {
        true => roots_of(variable("LRE_CC_ROOT"), &here),
        false => args.root.iter().map(|root| here.join(root)).collect(),
    };
    let toolchain = args.toolchain.or_else(|| variable("LRE_CC_TOOLCHAIN").and_then(|name| name.into_string().ok()));
    let lock = args.lock.or_else(|| variable("LRE_CC_LOCK").map(PathBuf::from));
    Ok(Launch { compiler, arguments: words, lock, roots, toolchain, verbose: args.verbose })
}

/// The API carries text.
fn text(word: OsString) -> Result<String, Problem> {
    word.into_string().map_err(|word| {
        Problem::new(Exit::Run, format!("`{}` is not UTF-8", word.to_string_lossy()))
            .why("paths and arguments of the Execution API are UTF-8")
            .hint("rename the file")
    })
}
