//! What an action asks of its sandbox beside toolchains (docs/reference/platform.md) is what it gets.
use crate::everyone;
use lre_kernel::service::Act;

/// A home that can be written is there for who asks, empty each time, and for nobody else.
#[test]
fn policies_have_the_home_that_they_say() {
    for mut service in everyone(1) {
        let script = "echo $HOME; while IFS=: read -r name _ _ _ _ home _; do [ $name = lre ] && echo $home; done < /etc/passwd; ls -A $HOME 2>/dev/null; \
                       (echo x > $HOME/f) 2>/dev/null && cat $HOME/f; \
                      ls /proc/meminfo 2>/dev/null; true";
        let act = |policy: &str| Act::new(&["sh", "-c", script]).property("lre-policy", policy);
        let mut of = |act: Act| service.run(&act).stdout;
        let strict = "/nonexistent\n/nonexistent\n";
        assert_eq!(of(Act::new(&["sh", "-c", script])), strict);
        for _ in 0..2 {
            assert_eq!(of(act("strict-1")), strict);
            assert_eq!(of(act("standard-1")), "/home/lre\n/home/lre\nx\n");
            assert_eq!(of(act("compat-1")), "/home/lre\n/home/lre\nx\n/proc/meminfo\n");
        }
    }
}

/// Read-only inputs cannot be written; outputs are found where they were declared, beside inputs and in folders that
/// were not there, and nothing else can be written.
#[test]
fn read_only_inputs_have_their_outputs() {
    for mut service in everyone(1) {
        let script = "cat in/a both/b > both/out && mkdir new/deep/er && echo 2 > new/deep/er/f && \
                      for f in in/a in/new other; do (echo x > $f) 2>/dev/null && echo wrote $f; done; ls both new";
        let act = |script: &str| {
            let act = Act::new(&["sh", "-c", script]).property("lre-mutates-inputs", "0");
            act.input("in/a", "a\n").input("both/b", "b\n").output("both/out").output("new/deep/er")
        };
        for again in ["", ": again; "] {
            let ran = service.run(&act(&format!("{again}{script}")));
            assert_eq!(ran.stdout, "both:\nb\nout\n\nnew:\ndeep\n", "{:?}", service.who);
            let folder = service.folder(&format!("outputs{}", again.len()));
            service.download(&ran, &folder);
            let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("an output");
            assert_eq!((read("both/out").as_str(), read("new/deep/er/f").as_str()), ("a\nb\n", "2\n"));
        }
        // The inputs of an action that does not ask for it are as ever.
        let ran = service.run(&Act::new(&["sh", "-c", "echo x > in/new && cat in/a in/new"]).input("in/a", "a\n"));
        assert_eq!(ran.stdout, "a\nx\n");
        service.nothing_lies_about();
    }
}
