//! `lre cc`: what a compile costs whose result is known, process start included, against the compiler itself.
use crate::report::{Report, Row};
use crate::stats::Samples;
use anyhow::{Context, Result, ensure};
use lre_e2e::serve::Home;
use std::process::Command;
use std::time::{Duration, Instant};

/// Of the known compile.
const ROUNDS: usize = 100;

/// Of the compiler itself.
const ROUNDS_OF_THE_COMPILER: usize = 5;

const COMPILER: &str = "/usr/bin/g++";

const SOURCE: &str = "#include <iostream>\n#include <map>\n#include <string>\n#include \"greeting.h\"\n\
    int main() { std::map<int, std::string> all{{1, GREETING}}; std::cout << all[1] << '\\n'; }\n";

/// One source with a header of its own and some of the library.
pub fn cc(report: &mut Report) -> Result<()> {
    let home = Home::new()?;
    let _server = home.serve()?;
    home.write("main.cc", SOURCE)?;
    home.write("greeting.h", "#define GREETING \"hello\"\n")?;
    home.must(&["init", "--client", "make", "--toolchain", &format!("capture:{COMPILER}"), "--yes"])?;
    let timed = |mut command: Command| -> Result<Duration> {
        let start = Instant::now();
        let output = command.output().context("the compile does not start")?;
        ensure!(output.status.success(), "{}", lre_e2e::serve::said(&output));
        Ok(start.elapsed())
    };
    let known = || timed(home.lre(&["cc", "g++", "-c", "main.cc", "-o", "main.o"]));
    let itself = || {
        let mut command = Command::new(COMPILER);
        command.args(["-c", "main.cc", "-o", "itself.o"]).current_dir(home.work());
        timed(command)
    };
    known()?;
    let (mut ours, mut compiler) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        ours.add(known()?);
        if round < ROUNDS_OF_THE_COMPILER {
            compiler.add(itself()?);
        }
    }
    let row = Row::of("`lre cc` of a source whose result is known", &ours).at_most(Duration::from_millis(20));
    report.row(row.beside("the compiler itself", compiler.p50()));
    Ok(())
}
