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
exec RUSTC "$@"
