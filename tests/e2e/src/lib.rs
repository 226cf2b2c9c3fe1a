//! Real clients against the real binary.
//!
//! Nothing here knows how `lre` is made: it starts the program that users start, on a private store, socket and port,
//! and talks to it with what users have. The clients come as Debian packages ([`packages`]) and run from a folder of
//! their own ([`jail`]), so that nothing has to be installed.
pub mod bazel;
pub mod binary;
pub mod buildbox;
pub mod cut;
pub mod guide;
pub mod jail;
pub mod lost;
pub mod makers;
pub mod nix;
pub mod packages;
pub mod projects;
pub mod serve;
pub mod site;
pub mod tools;
pub mod wheels;
pub mod world;
