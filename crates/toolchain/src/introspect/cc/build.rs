//! Small programs that are built, linked and run: with all flags at once, as is the rule, and one by one
//! where that does not go well.
use super::super::lab::{Failure, Lab};
use super::super::probe::{Input, Probed};
use super::super::program::{Program, program, runs_here};
use super::super::said::{Absent, absent, search_directories};
use crate::ToolchainError;
use bytes::Bytes;
use futures::future::try_join_all;

const C: &str = "#include <stdio.h>\nint main(void) { printf(\"c %d\\n\", 40 + 2); return 0; }\n";
const C_SAYS: &str = "c 42\n";
/// Streams, exceptions and mathematics: what libraries beside the standard library are needed for.
const CXX: &str = "#include <cmath>\n#include <iostream>\n#include <stdexcept>\n#include <string>\n\
    int main(int argc, char **) {\n  try {\n    throw std::runtime_error(\"c++ \");\n  } catch (const std::exception &e) {\n    \
    std::cout << std::string(e.what()) << std::sqrt(argc * 2.25) << std::endl;\n  }\n}\n";
const CXX_SAYS: &str = "c++ 1.5\n";

/// A shared library, and a program that needs it.
const ANSWER: &str = "int answer(void) { return 42; }\n";
const ASK: &str =
    "#include <stdio.h>\nint answer(void);\nint main(void) { printf(\"c %d\\n\", answer()); return 0; }\n";

const SHARED: &str = "libanswer.so";
const PROGRAM: &str = "probe";
const OBJECT: &str = "probe.o";

/// How programs are linked where the plain way leads to none that runs: with another linker than `ld`,
/// and without the loader and the shared libraries, which need not be in the tree.
const WAYS_TO_LINK: [&[&str]; 6] = [
    &[],
    &["-fuse-ld=lld"],
    &["-fuse-ld=gold"],
    &["-static"],
    &["-fuse-ld=lld", "-static"],
    &["-fuse-ld=gold", "-static"],
];

/// What the C driver links a C++ program with; the shortest that will do.
const LIBSTDCXX: [&[&str]; 2] = [&["-lstdc++", "-lm"], &["-lstdc++", "-lm", "-lpthread"]];
const LIBCXX: [&[&str]; 4] = [
    &["-lc++", "-lm"],
    &["-lc++", "-lc++abi", "-lm"],
    &["-lc++", "-lc++abi", "-lunwind", "-lm"],
    &["-lc++", "-lc++abi", "-lunwind", "-lm", "-lpthread", "-ldl"],
];

/// Which standard library of C++.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    LibStdCxx,
    LibCxx,
}

/// Builds with one C driver.
pub(super) struct Builder<'a> {
    pub(super) lab: &'a Lab<'a>,
    pub(super) cc: &'a str,
    /// Where it searches for headers though nothing is there.
    pub(super) searched: &'a [String],
}

/// Something that was built, and of the candidates the flags that it was built with.
pub(super) struct Built {
    pub(super) flags: Vec<String>,
    pub(super) output: Bytes,
}

impl Built {
    /// Those of `candidates` that it was built with.
    pub(super) fn kept(&self, candidates: &[&str]) -> Vec<String> {
        self.flags.iter().filter(|f| candidates.contains(&f.as_str())).cloned().collect()
    }

    /// The loader that the program wants.
    pub(super) fn loader(&self) -> Option<String> {
        match program(&self.output) {
            Some(Program::Elf { loader, .. }) => loader,
            _ => None,
        }
    }
}

/// What is to be built.
#[derive(Clone, Copy)]
enum Goal {
    CProgram,
    CxxObject,
}

/// One way of building something.
struct Attempt {
    /// There is a program and it does what it should, or there is an object.
    works: bool,
    /// What was said beside, without the names of temporary files.
    said: String,
    output: Bytes,
    /// What did not work.
    doing: &'static str,
    /// Who did not do it, where that is not the compiler.
    tool: Option<&'static str>,
    probed: Probed,
}

impl Builder<'_> {
    /// A C program with those of the flags that are taken. `link_flags` may grow by what is needed.
    pub(super) async fn link_c(&self, compile: &[&str], link: &[&str]) -> Result<(Built, Vec<String>), ToolchainError> {
        let mut candidates = compile.to_vec();
        candidates.extend(link.iter().filter(|f| !compile.contains(f)));
        let mut first = None;
        for way in WAYS_TO_LINK {
            match self.choose(Goal::CProgram, way, &candidates).await? {
                Ok(built) => {
                    let taken = link.iter().filter(|f| built.flags.iter().any(|b| b == *f));
                    let link_flags = way.iter().chain(taken).map(|f| (*f).to_owned()).collect();
                    return Ok((built, link_flags));
                }
                // Other linkers and libraries do not help a compiler that does not compile.
                Err(attempt) if attempt.is_about_headers() => return Err(self.refused(attempt).await),
                Err(attempt) => first = first.or(Some(attempt)),
            }
        }
        match first {
            Some(attempt) => Err(self.refused(attempt).await),
            None => unreachable!("there is a way to link"),
        }
    }

    /// A C++ object with those of the flags that are taken.
    pub(super) async fn compile_cxx(&self, required: &[&str], candidates: &[&str]) -> Result<Built, ToolchainError> {
        match self.choose(Goal::CxxObject, required, candidates).await? {
            Ok(built) => Ok(built),
            Err(attempt) => Err(self.refused(attempt).await),
        }
    }

    /// What the C driver has to be told to link this object.
    pub(super) async fn link_cxx(
        &self,
        object: &Built,
        link_flags: &[String],
        library: Library,
    ) -> Result<Vec<String>, ToolchainError> {
        let ways: &[&[&str]] = match library {
            Library::LibStdCxx => &LIBSTDCXX,
            Library::LibCxx => &LIBCXX,
        };
        let mut first = None;
        for libraries in ways {
            let mut arguments = vec![self.cc, OBJECT, "-o", PROGRAM];
            arguments.extend(link_flags.iter().map(String::as_str));
            arguments.extend(*libraries);
            let inputs = vec![Input { name: OBJECT.to_owned(), content: object.output.clone(), executable: false }];
            let probed = self.lab.run(&arguments, inputs, &[PROGRAM]).await?;
            let attempt = self.program(probed, Vec::new(), "link a small C++ program", CXX_SAYS).await?;
            if attempt.works {
                return Ok(libraries.iter().map(|l| (*l).to_owned()).collect());
            }
            first = first.or(Some(attempt));
        }
        match first {
            Some(attempt) => Err(self.refused(attempt).await),
            None => unreachable!("there is a way to link"),
        }
    }

    /// Whether the linker takes objects as if they were in an archive.
    pub(super) async fn start_end_lib(&self, link_flags: &[String]) -> Result<bool, ToolchainError> {
        let mut arguments = vec![self.cc, "-Wl,--start-lib", "probe.c", "-Wl,--end-lib", "-o", PROGRAM];
        arguments.extend(link_flags.iter().map(String::as_str));
        let probed = self.lab.run(&arguments, vec![Input::text("probe.c", C)], &[]).await?;
        Ok(probed.ok() && probed.stderr.is_empty())
    }

    /// Whether no program can use a shared library that it links: it links none (musl without its loader, a frozen
    /// tree), or the loader for it is not there.
    pub(super) async fn static_only(&self, link_flags: &[String]) -> Result<bool, ToolchainError> {
        let flags: Vec<&str> = link_flags.iter().map(String::as_str).collect();
        if flags.contains(&"-static") {
            return Ok(true);
        }
        let arguments = [&[self.cc, "-shared", "-fPIC", "answer.c", "-o", SHARED], flags.as_slice()].concat();
        let mut linked = self.lab.run(&arguments, vec![Input::text("answer.c", ANSWER)], &[SHARED]).await?;
        let Some(library) = linked.outputs.remove(SHARED).filter(|_| linked.ok()) else { return Ok(true) };
        let library = || Input { name: SHARED.to_owned(), content: library.clone(), executable: true };
        let arguments = [&[self.cc, "ask.c", SHARED, "-Wl,-rpath,$ORIGIN", "-o", PROGRAM], flags.as_slice()].concat();
        let inputs = vec![Input::text("ask.c", ASK), library()];
        let linked = self.lab.run(&arguments, inputs, &[PROGRAM]).await?;
        let asked = self.program(linked, vec![library()], "use a shared library", C_SAYS).await?;
        Ok(!asked.works)
    }

    /// The first line of the linker's `--version`.
    pub(super) async fn linker(&self, link_flags: &[String]) -> Result<String, ToolchainError> {
        let mut arguments = vec![self.cc, "-Wl,--version"];
        arguments.extend(link_flags.iter().map(String::as_str));
        let said = self.lab.run(&arguments, Vec::new(), &[]).await?.stdout();
        let names_itself = |l: &&str| ["ld", "LLD", "gold"].iter().any(|name| l.contains(name));
        Ok(said.lines().find(names_itself).unwrap_or_default().trim().to_owned())
    }

    /// Makes sure that the archiver works, where there is one.
    pub(super) async fn archive(&self, member: &Built) -> Result<(), ToolchainError> {
        let Some(ar) = self.lab.tool("ar") else { return Ok(()) };
        let inputs = vec![Input { name: OBJECT.to_owned(), content: member.output.clone(), executable: false }];
        let probed = self.lab.run(&[ar, "rcsD", "libprobe.a", OBJECT], inputs, &[]).await?;
        if probed.ok() {
            return Ok(());
        }
        let doing = "make an archive with constant times and owners (rcsD)";
        Err(self.lab.refused(Failure { tool: ar, doing, probed: &probed, searched: &[] }).await)
    }

    /// Builds with all candidates where they are taken in silence, else with those that are.
    async fn choose(
        &self,
        goal: Goal,
        required: &[&str],
        candidates: &[&str],
    ) -> Result<Result<Built, Attempt>, ToolchainError> {
        let all = self.attempt(goal, &[required, candidates].concat()).await?;
        if all.works && all.said.is_empty() {
            return Ok(Ok(all.built(candidates)));
        }
        // What a compiler says of no flag at all is not said of the flags.
        let plain = self.attempt(goal, required).await?;
        if !plain.works {
            return Ok(Err(plain));
        }
        if all.works && all.said == plain.said {
            return Ok(Ok(all.built(candidates)));
        }
        let one_by_one = candidates.iter().map(|flag| self.attempt_one(goal, [required, &[*flag]].concat()));
        let attempts = try_join_all(one_by_one).await?;
        let taken = |attempt: &Attempt| attempt.works && attempt.said == plain.said;
        let flags: Vec<&str> =
            candidates.iter().zip(&attempts).filter(|(_, attempt)| taken(attempt)).map(|(flag, _)| *flag).collect();
        // Each may be taken alone and refused with another.
        let together = self.attempt(goal, &[required, &flags].concat()).await?;
        Ok(Ok(if taken(&together) { together.built(&flags) } else { plain.built(&[]) }))
    }

    async fn attempt_one(&self, goal: Goal, flags: Vec<&str>) -> Result<Attempt, ToolchainError> {
        self.attempt(goal, &flags).await
    }

    async fn attempt(&self, goal: Goal, flags: &[&str]) -> Result<Attempt, ToolchainError> {
        let (source, text, output) = match goal {
            Goal::CProgram => ("probe.c", C, PROGRAM),
            Goal::CxxObject => ("probe.cc", CXX, OBJECT),
        };
        let mut arguments = vec![self.cc, source, "-o", output];
        arguments.extend(flags);
        if matches!(goal, Goal::CxxObject) {
            arguments.push("-c");
        }
        let mut probed = self.lab.run(&arguments, vec![Input::text(source, text)], &[output]).await?;
        match goal {
            Goal::CProgram => self.program(probed, Vec::new(), "build a small C program", C_SAYS).await,
            Goal::CxxObject => {
                let object = probed.outputs.remove(OBJECT);
                Ok(Attempt::of(probed, object, "compile a small C++ program"))
            }
        }
    }

    /// What came of linking: a program that does what it should, where it is one for this machine.
    /// `beside` lies beside it when it runs.
    async fn program(
        &self,
        mut linked: Probed,
        beside: Vec<Input>,
        doing: &'static str,
        says: &str,
    ) -> Result<Attempt, ToolchainError> {
        let output = linked.outputs.remove(PROGRAM);
        let attempt = Attempt::of(linked, output, doing);
        let here = matches!(program(&attempt.output), Some(Program::Elf { machine, .. }) if runs_here(machine));
        if !attempt.works || !here {
            return Ok(attempt);
        }
        let mut inputs = beside;
        inputs.push(Input { name: PROGRAM.to_owned(), content: attempt.output.clone(), executable: true });
        let ran = self.lab.run(&["./probe"], inputs, &[]).await?;
        if ran.ok() && ran.stdout() == says {
            return Ok(attempt);
        }
        Ok(Attempt { works: false, doing: "run", tool: Some("./probe"), probed: ran, ..attempt })
    }

    async fn refused(&self, attempt: Attempt) -> ToolchainError {
        let Attempt { doing, probed, output, .. } = &attempt;
        if attempt.tool.is_some() {
            return self.does_not_run(output, probed).await;
        }
        let searched = match absent(&probed.stderr()) {
            Some(Absent::Linked(name)) if !name.starts_with('/') => self.searched_for_libraries().await,
            Some(Absent::Header(_)) => self.searched.to_vec(),
            _ => Vec::new(),
        };
        self.lab.refused(Failure { tool: self.cc, doing, probed, searched: &searched }).await
    }

    /// A program was linked and cannot do anything here: it wants what the tree does not have.
    async fn does_not_run(&self, linked: &[u8], ran: &Probed) -> ToolchainError {
        let cc = self.cc;
        let wanted = match program(linked) {
            Some(Program::Elf { loader: Some(loader), .. }) if self.lab.is_absent(&loader).await.unwrap_or(false) => {
                Some(("the loader", loader))
            }
            _ => match absent(&ran.stderr()) {
                Some(Absent::Loaded(library)) => Some(("the shared library", library)),
                _ => None,
            },
        };
        let (problem, wants) = match wanted {
            Some((what, wants)) => (
                format!(
                    "programs that `{cc}` links want {what} `{wants}`, which is not in the toolchain, and with -static it links none"
                ),
                Some(wants),
            ),
            None => (
                format!("a program that `{cc}` linked does not do what it should: it ended with {}", ran.exit_code),
                None,
            ),
        };
        self.lab.unfit(problem, wants, super::super::said::short(&ran.text()))
    }

    /// Where the linker searches though nothing is there.
    async fn searched_for_libraries(&self) -> Vec<String> {
        let Ok(said) = self.lab.run(&[self.cc, "-print-search-dirs"], Vec::new(), &[]).await else { return Vec::new() };
        let mut absent = Vec::new();
        for directory in search_directories(&said.stdout()) {
            if self.lab.is_absent(&directory).await.unwrap_or(false) {
                absent.push(directory);
            }
        }
        absent
    }
}

impl Attempt {
    fn of(probed: Probed, output: Option<Bytes>, doing: &'static str) -> Self {
        let works = probed.ok() && output.is_some();
        let said = without_temporary_names(&probed.text());
        Self { works, said, output: output.unwrap_or_default(), doing, tool: None, probed }
    }

    fn built(self, flags: &[&str]) -> Built {
        Built { flags: flags.iter().map(|f| (*f).to_owned()).collect(), output: self.output }
    }

    fn is_about_headers(&self) -> bool {
        self.tool.is_none() && matches!(absent(&self.probed.stderr()), Some(Absent::Header(_)))
    }
}

/// Two runs of one compiler say the same but for these.
fn without_temporary_names(said: &str) -> String {
    let words = said.split_whitespace().map(|word| if word.starts_with("/tmp/") { "/tmp/..." } else { word });
    words.collect::<Vec<_>>().join(" ")
}
