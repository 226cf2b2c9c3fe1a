# The text of `lre.bazelrc`. Only what may influence digests stands in it; where the server is does not.
{ lib, Env, prefix }: let
  command = if prefix == "" then "build" else "build:${prefix}";
  lines = lib.concatMapStrings (line: "${line}\n");
  comments = entries: lines (map (entry: "# ${entry}") entries);

  environment =
    if Env == [ ] then [ "WARNING: No environment set. LRE will not work locally." ]
    else lib.unique Env;

  flags = [
    "--action_env=BAZEL_DO_NOT_DETECT_CPP_TOOLCHAIN=1"
    "--define=EXECUTOR=remote"
    "--extra_execution_platforms=@local-remote-execution//generated-cc/config:platform"
    "--extra_toolchains=@local-remote-execution//generated-cc/config:cc-toolchain"
  ];
in ''
  # Written by the flake module of lre whenever its development shell is entered; do not edit.
  #
  # A project's .bazelrc ends with: try-import %workspace%/lre.bazelrc
  ${lib.optionalString (prefix != "") "# It is then switched on by: --config=${prefix}\n"}#
  # The environment that makes up the toolchain. Where an action of one machine misses in the cache of another, compare these
  # first, and with the module `@local-remote-execution` that the workspace has.
  #
  ${comments environment}
  ${lines (map (flag: "${command} ${flag}") flags)}''
