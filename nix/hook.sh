# Run by a development shell: hook.sh BAZELRC [NAME=CLOSURE...]
#
# BAZELRC is the generated file, in the store; each NAME=CLOSURE a toolchain that the project is to pin.
# Everything is said on stderr: what a shell prints on stdout is for the command that runs in it.
set -u
exec >&2
bazelrc=$1
shift

say() { printf 'lre: %s\n' "$*"; }

# The directory of the flake, found as Nix finds it, from wherever in it the shell was entered.
root() {
  local directory=$PWD
  until [ -e "$directory/flake.nix" ] || [ -e "$directory/.git" ] || [ -e "$directory/lre.lock" ]; do
    [ -n "$directory" ] || return 1
    directory=${directory%/*}
  done
  printf '%s\n' "${directory:-/}"
}

have_lre() { command -v lre >/dev/null; }

# The lock pins, and what is made from it is committed. So the rest is to have on this machine what it pins, and to say where
# something has come apart.
check() {
  local pin name path said problem=
  for pin; do
    name=${pin%%=*} path=${pin#*=}
    if ! grep -qF "$path" lre.lock; then
      problem=1
      say "lre.lock pins another \`$name\` than this flake has, $path. To pin that:"
      say "  lre toolchain add $name --from nix:$path && lre init --yes"
    elif have_lre && ! said=$(lre toolchain add "$name" --from "nix:$path" 2>&1); then
      problem=1
      printf '%s\n' "$said"
    fi
  done
  if ! have_lre; then
    say "\`lre\` is not in this shell: lre.bazelrc is not compared with lre.lock."
  elif [ -z "$problem" ] && ! said=$(lre init --check 2>&1); then
    printf '%s\n' "$said"
  elif [ -z "$problem" ] && [ ! -e lre.local.bazelrc ]; then
    # A new checkout: where the server is, is not committed.
    lre init --yes
  fi
}

# The first time: pins what the flake has.
pin() {
  local pin
  for pin; do
    say "pinning \`${pin%%=*}\` in lre.lock: ${pin#*=}"
    lre toolchain add "${pin%%=*}" --from "nix:${pin#*=}" --lock || return
  done
  lre init --yes
}

# Without a lock: a link to the generated file, which replaces nothing but such a link.
link() {
  if [ -L lre.bazelrc ]; then
    case $(readlink lre.bazelrc) in
      "$bazelrc") return ;;
      /nix/store/*-lre.bazelrc) ;;
      *) say "lre.bazelrc is a link of your own and stays. To have the generated one: rm lre.bazelrc"; return ;;
    esac
  elif [ -e lre.bazelrc ]; then
    say "lre.bazelrc is a file of your own and stays. To have the generated one: rm lre.bazelrc"
    return
  fi
  ln -sfn "$bazelrc" lre.bazelrc && say "lre.bazelrc is now $bazelrc"
}

directory=$(root) || { say "neither flake.nix nor .git at or above $PWD: lre.bazelrc is not written."; exit; }
cd "$directory" || exit
if [ -e lre.lock ]; then
  check "$@"
elif [ $# -gt 0 ] && have_lre; then
  pin "$@"
else
  link
fi
