#!/bin/sh
# Generated from lre.lock: toolchain `rust`, Rust 1.63.0,
# 0e10726e67872a24007ef870469f9ed97a06f29d9fb0250f756e8a5377899b09/26. Do not edit.
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
exec /lre/toolchains/0e10726e67872a24007ef870469f9ed97a06f29d9fb0250f756e8a5377899b09/bin/rustc "$@"
