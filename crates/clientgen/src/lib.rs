//! Toolchain -> files for Bazel and other clients. Pure.
