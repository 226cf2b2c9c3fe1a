//! The checks, one file for each part of the API.
mod action_cache;
mod asset;
mod capabilities;
mod cas;
mod command;
mod digests;
mod ending;
mod execute;
mod http;
mod operations;
mod outputs;
mod read;
mod refusals;
mod resume;
mod split;
mod tree;
mod write;

use crate::check::Check;

/// All of them.
pub const ALL: &[&[Check]] = &[
    capabilities::CHECKS,
    digests::CHECKS,
    cas::CHECKS,
    tree::CHECKS,
    write::CHECKS,
    resume::CHECKS,
    read::CHECKS,
    action_cache::CHECKS,
    execute::CHECKS,
    operations::CHECKS,
    ending::CHECKS,
    refusals::CHECKS,
    command::CHECKS,
    outputs::CHECKS,
    split::CHECKS,
    asset::CHECKS,
    http::CHECKS,
];
