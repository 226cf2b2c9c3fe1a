//! The launcher, for the integration tests of this crate.
fn main() {
    lre_sandbox::launcher::main()
}
