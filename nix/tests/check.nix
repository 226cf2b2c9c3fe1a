# `lre.bazelrc` as the module writes it, compared with `golden/`: a derivation that is built where all are the same.
{ flake-parts, nixpkgs, pkgs, system }: let
  inherit (nixpkgs) lib;

  # What a project gets that writes `module` into its `perSystem`.
  packages = module: (flake-parts.lib.mkFlake { inputs = { self = { outPath = ../..; }; inherit nixpkgs; }; } {
    systems = [ system ];
    imports = [ ../flake-module.nix ];
    perSystem.imports = [
      module
      ({ config, ... }: {
        packages.bazelrc = config.local-remote-execution.bazelrc;
        packages.newer = config.lre.bazelrc;
      })
    ];
  }).packages.${system};

  # Paths that are nowhere: what is written does not depend on whether they exist.
  store = name: "/nix/store/00000000000000000000000000000000-${name}";
  path = "PATH=${store "binutils"}/bin:${store "gcc"}/bin";
  Env = [ path "CC=${store "gcc"}/bin/cc" ];
  other = [ "CC=${store "clang"}/bin/cc" ];

  cases = {
    nothing = { };
    prefix-alone = { local-remote-execution.settings.prefix = "lre"; };
    environment = { local-remote-execution.settings = { inherit Env; }; };
    environment-and-prefix = { local-remote-execution.settings = { inherit Env; prefix = "lre"; }; };
    repeated = { local-remote-execution.settings.Env = Env ++ [ path ] ++ Env; };
    newer-names = { lre = { inherit Env; prefix = "remote"; }; };
    names-mixed = { lre = { inherit Env; }; local-remote-execution.settings.prefix = "mixed"; };
    both-names-agree = { lre = { inherit Env; }; local-remote-execution.settings = { inherit Env; }; };
  };

  refused = {
    different = { lre = { inherit Env; }; local-remote-execution.settings.Env = other; };
    different-prefix = { lre.prefix = "a"; local-remote-execution.settings.prefix = "b"; };
    line-break = { lre.Env = [ "A=b\nbuild --spawn_strategy=local" ]; };
    odd-prefix = { lre.prefix = "a b"; };
  };
  accepted = lib.filter (name: (builtins.tryEval (packages refused.${name}).bazelrc.drvPath).success) (lib.attrNames refused);

  # The toolchains of this flake reach a module under their names. Their paths depend on the packages, so all that can be said
  # is that they are there.
  closures = (packages ({ lre-cc, lre-java, lre-rust, ... }: {
    lre.Env = lre-cc.meta.Env ++ lre-java.meta.Env ++ lre-rust.meta.Env;
  })).bazelrc;

  written = pkgs.runCommand "lre-bazelrc-cases" { } (''
    mkdir -p $out
  '' + lib.concatStringsSep "" (lib.mapAttrsToList (name: module: let p = packages module; in ''
    cmp ${p.bazelrc} ${p.newer}
    cp ${p.bazelrc} $out/${name}.bazelrc
  '') cases));
in
  assert accepted == [ ] || throw "accepted, though it must not be: ${toString accepted}";
  pkgs.runCommand "lre-module-check" { } ''
    diff -r ${./golden} ${written}
    for variable in CC CXX JAVA_HOME RUSTC; do grep -q "^# $variable=/nix/store/" ${closures}; done
    for program in $(sed -n 's/^# \(CC\|CXX\|RUSTC\)=//p' ${closures}); do [ -x $program ]; done
    mkdir $out
  '' // { inherit written; }
