//! A zig release, frozen, compiles and links without a cache and without anything of the machine.
use lre_e2e::serve::Home;
use lre_e2e::wheels::ZIGLANG;

const HELLO: &str = "#include <iostream>\n#include <stdexcept>\n#include <thread>\n\
    int main() {\n  std::thread([] { try { throw std::runtime_error(\"caught\"); }\n    \
    catch (const std::exception& e) { std::cout << e.what() << std::endl; } }).join();\n}\n";

#[test]
fn a_frozen_zig_compiles_c_and_cxx() {
    let wheel = ZIGLANG.ready().unwrap();
    let home = Home::new().unwrap();
    let _server = home.serve().unwrap();
    let source = format!("zig:{}#{}", wheel.display(), ZIGLANG.sha256);
    home.must(&["toolchain", "add", "zig", "--from", &source]).unwrap();
    let shown = home.must(&["toolchain", "show", "zig"]).unwrap();
    let tool = |role: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix("tool")?.trim().strip_prefix(&format!("{role}=")));
        line.unwrap_or_else(|| panic!("no {role} in:\n{shown}")).to_owned()
    };
    home.write("hello.cc", HELLO).unwrap();
    home.write("sum.c", "int sum(int a, int b) { return a + b; }\n").unwrap();
    let run = |arguments: &[&str]| home.must(&[&["run", "--toolchain", "zig"], arguments].concat()).unwrap();
    let (cxx, cc, ar) = (tool("c++"), tool("cc"), tool("ar"));
    run(&["--in", "hello.cc", "--out", "hello", "--", &cxx, "-O2", "-pthread", "hello.cc", "-o", "hello"]);
    // The program is static: it runs where nothing else is.
    assert!(run(&["--in", "hello", "--", "./hello"]).contains("caught"));
    run(&["--in", "sum.c", "--out", "sum.o", "--", &cc, "-c", "sum.c", "-o", "sum.o"]);
    run(&["--in", "sum.o", "--out", "libsum.a", "--", &ar, "rcsD", "libsum.a", "sum.o"]);
    run(&["--in", "sum.o", "--out", "libsum.so", "--", &cc, "-shared", "sum.o", "-o", "libsum.so"]);
    // Asked again: nothing is built, and it is the same.
    let first = home.must(&["toolchain", "list"]).unwrap();
    home.must(&["toolchain", "add", "zig", "--from", &source]).unwrap();
    assert_eq!(home.must(&["toolchain", "list"]).unwrap(), first);
}
