#!/bin/sh
# Generated from lre.lock: toolchain `debian`, cc (Debian 12.2.0-14) 12.2.0, Java 17.0.11 (Debian), Rust 1.63.0,
# a4ec59febdc00aad0735e330273040fb8bdc1f9562d7ca41c72f9e49f901a759/37. Do not edit.
# A compiler for rules_rust, which wants a file and lays out a sysroot of its own. The pinned compiler knows where its
# standard libraries are, so that flag is left out.
set -eu
count=$#
while [ "$count" -gt 0 ]; do
    argument=$1
    shift
    count=$((count - 1))
    case $argument in
    --sysroot=*) ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec /usr/bin/rustc "$@"
