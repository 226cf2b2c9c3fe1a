//! recc as a compiler launcher against `lre serve`: with the files of `lre init --client recc` and nothing else, alone and
//! through buildbox-casd.
use lre_e2e::projects::copy_checkout;
use lre_e2e::serve::{Home, said};
use lre_e2e::site::{Casd, Site};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// What `lre init --client recc` writes for everybody.
const COMMITTED: &[&str] = &["lre.lock", "recc"];

/// How recc says that it ran nothing, and that the server did.
const HIT: &str = "Action Cache hit";
const RAN: &str = "Remote execution finished with exit code 0";

/// Somebody with the project at `workspace` who compiles in its folder `build`, as make and CMake do.
struct Person<'a> {
    site: &'a Site,
    workspace: &'a Path,
    /// Further assignments for the shell.
    environment: &'a str,
}

impl Person<'_> {
    fn compile(&self, source: &str) -> Output {
        let recc = self.site.buildbox.script("recc", self.site.home.path()).unwrap();
        let build = self.workspace.join("build");
        fs::create_dir_all(&build).unwrap();
        let line = format!(
            ". ../lre.local.recc.env; {}; export RECC_LOG_LEVEL=info; exec {} /usr/bin/gcc -I../include -c ../{source} -o {source}.o",
            self.environment,
            recc.display()
        );
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().env("HOME", self.site.path("home")).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        shell.current_dir(build).args(["-c", &line]).output().unwrap()
    }

    #[track_caller]
    fn compiles(&self, source: &str, how: &str) -> Vec<u8> {
        let output = self.compile(source);
        assert!(output.status.success() && said(&output).contains(how), "{how}: {}", said(&output));
        fs::read(self.workspace.join("build").join(format!("{source}.o"))).unwrap()
    }
}

/// PROTOCOL 8, 9, 12, 43, 48, 60, 63, 67: recc compiles through the server, over the Unix socket and TCP; what was
/// compiled once is a hit, for somebody at another place with another PATH and LANG as well, and through a caching proxy.
/// A compile error is the compiler's, with its exit code and not cached; a toolchain that nobody has is named.
#[test]
fn recc_compiles_once_for_everybody() {
    let home = Home::new().unwrap();
    home.write("answer.c", "#include <answer.h>\nint main(void) { return ANSWER; }\n").unwrap();
    home.write("include/answer.h", "#define ANSWER 42\n").unwrap();
    home.write("wrong.c", "int main(void) { return }\n").unwrap();
    home.must(&["toolchain", "add", "cc", "--from", "capture:/usr/bin/gcc"]).unwrap();
    let site = Site::of(home, "cc").unwrap();
    site.home.must(&["init", "--client", "recc", "--yes"]).unwrap();
    site.home.must(&["init", "--check"]).unwrap();
    let work = site.home.work();
    let me = Person { site: &site, workspace: &work, environment: ":" };

    let object = me.compiles("answer.c", RAN);
    assert_eq!(me.compiles("answer.c", HIT), object);
    let unix = format!("export RECC_SERVER={}", site.unix());
    assert_eq!(Person { environment: &unix, ..me }.compiles("answer.c", HIT), object);
    somebody_else_hits(&site, &object);

    // A header that is not the source's own is an input, too.
    fs::write(work.join("include/answer.h"), "#define ANSWER 43\n").unwrap();
    assert_ne!(me.compiles("answer.c", RAN), object);

    for _ in 0..2 {
        let wrong = me.compile("wrong.c");
        assert_eq!(wrong.status.code(), Some(1));
        assert!(said(&wrong).contains("wrong.c:1:25: error: expected expression"), "{}", said(&wrong));
        assert!(!said(&wrong).contains(HIT), "a failure is not kept: {}", said(&wrong));
    }
    through_a_proxy(&site, &me);
    an_unknown_toolchain_is_named(&site, &me);
}

fn somebody_else_hits(site: &Site, object: &[u8]) {
    let place = site.home.path().join("somebody/elses/place");
    fs::create_dir_all(&place).unwrap();
    copy_checkout(&site.home.work(), &place, COMMITTED).unwrap();
    let place_name = place.to_str().unwrap();
    let init = site.home.lre(&["init", "--client", "recc", "--yes"]).current_dir(&place).output().unwrap();
    assert!(init.status.success(), "{}", said(&init));
    let theirs = "export PATH=/usr/bin:/bin:/opt/bin LANG=de_DE.UTF-8 LC_ALL=C.UTF-8 TZ=Asia/Tokyo";
    let them = Person { site, workspace: &place, environment: theirs };
    assert_eq!(them.compiles("answer.c", HIT), object, "at {place_name}");
}

/// PROTOCOL 5, 27, 36, 46: buildbox-casd in front of the server keeps what passes, and writes through.
fn through_a_proxy(site: &Site, me: &Person<'_>) {
    let casd = site.buildbox.command("buildbox-casd");
    let casd = Casd::start(casd, &site.unix(), &site.home.path().join("casd")).unwrap();
    let environment = format!("export RECC_SERVER={}", casd.unix());
    let them = Person { environment: &environment, ..*me };
    site.home.write("proxied.c", "int proxied;\n").unwrap();
    them.compiles("answer.c", HIT);
    let object = them.compiles("proxied.c", RAN);
    assert_eq!(them.compiles("proxied.c", HIT), object);
    assert_eq!(me.compiles("proxied.c", HIT), object, "the server itself has the result");
}

fn an_unknown_toolchain_is_named(site: &Site, me: &Person<'_>) {
    let (_, digest) = site.toolchain.split_once('=').unwrap();
    let nobodys = format!("0000{}", &digest[4..]);
    let configuration = me.workspace.join("recc/recc.conf");
    let text = fs::read_to_string(&configuration).unwrap().replace(digest, &nobodys);
    fs::write(&configuration, text).unwrap();
    let refused = me.compile("answer.c");
    assert!(!refused.status.success());
    let said = said(&refused);
    assert!(said.contains(&format!("no toolchain `{nobodys}` is installed; did you mean `{digest}`?")), "{said}");
    assert!(said.contains("to add one: lre toolchain add"), "{said}");
    let drifted = site.home.lre(&["init", "--check"]).output().unwrap();
    assert_eq!(drifted.status.code(), Some(10), "{drifted:?}");
}
