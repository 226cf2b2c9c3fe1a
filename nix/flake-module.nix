# A module for flake-parts. It writes `lre.bazelrc`, which makes Bazel use the toolchains of `@local-remote-execution`.
#
# A project with an `lre.lock` has its `lre.bazelrc` from there, committed and the same with and without Nix; then the hook
# checks that file instead of making one. So there is never a second pin.
{ lib, flake-parts-lib, ... }: {
  options.perSystem = flake-parts-lib.mkPerSystemOption ({ config, pkgs, ... }: let
    inherit (lib) mkOption types;
    own = config.local-remote-execution;
    newer = config.lre;

    # One setting that has two names. Definitions are not merged: half of a toolchain under each name would be neither.
    setting = name: default: let
      a = own.settings.${name};
      b = newer.${name};
    in
      if a != null && b != null && a != b then
        throw "`local-remote-execution.settings.${name}` and `lre.${name}` are two names of one setting and differ; set one"
      else if a != null then a
      else if b != null then b
      else default;

    bazelrc = pkgs.writeText "lre.bazelrc" (import ./bazelrc.nix {
      inherit lib;
      Env = setting "Env" [ ];
      prefix = setting "prefix" "";
    });

    pins = lib.mapAttrsToList (name: closure: "${name}=${closure}") own.toolchains;

    # A process of its own: nothing of it stays in the user's shell, and nothing of it can end that shell.
    installationScript = ''
      ${pkgs.runtimeShell} ${./hook.sh} ${lib.escapeShellArgs ([ "${bazelrc}" ] ++ pins)} || :
    '';

    written = {
      bazelrc = mkOption {
        type = types.package;
        readOnly = true;
        description = "The generated `lre.bazelrc`.";
      };
      installationScript = mkOption {
        type = types.str;
        readOnly = true;
        description = ''
          For the `shellHook` of a development shell: links `lre.bazelrc` into the workspace, or checks the one that is made
          from `lre.lock`. It never replaces a file that somebody wrote, and says so.
        '';
      };
    };

    settings = {
      Env = mkOption {
        # A line break would end the comment in which the entry is printed.
        type = types.nullOr (types.listOf (types.strMatching "[^\n]*"));
        default = null;
        description = ''
          The environment that makes up the toolchain, as a list of `NAME=value`; of a toolchain of this flake:
          `inherit (lre-cc.meta) Env;`. It is printed as comments: whoever prints a store path has it in the store.
        '';
      };
      prefix = mkOption {
        type = types.nullOr (types.strMatching "[A-Za-z0-9_.-]*");
        default = null;
        description = "Where set, the flags count with `--config=PREFIX` only. Empty or absent: always.";
      };
    };
  in {
    options.local-remote-execution = written // {
      settings = settings;
      toolchains = mkOption {
        type = types.attrsOf types.package;
        default = { };
        description = ''
          Toolchains that the project pins in `lre.lock`, by the name that they have there: `{ cc = lre-cc; }`. The first
          time, the hook imports and pins them; later it says where the lock and the flake have come apart.
        '';
      };
    };
    options.lre = written // settings;

    config = {
      local-remote-execution = { inherit bazelrc installationScript; };
      lre = { inherit bazelrc installationScript; };
      _module.args = { inherit (import ./toolchains.nix { inherit pkgs; }) lre-cc lre-java lre-rust; };
    };
  });
}
