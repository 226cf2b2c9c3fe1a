# Toolchains as closures of store paths.
#
# Each is one store path with a `bin` of links, so that its closure is the whole toolchain:
#
#     lre toolchain add cc --from nix:$(nix build --no-link --print-out-paths .#lre-cc)
#
# `meta.Env` says the same as a list of NAME=value, for `local-remote-execution.settings`. Its paths carry their context:
# whoever prints them has them in the store.
{ pkgs }: let
  inherit (pkgs) lib;

  # What any rule may call: a shell and what shell scripts take for granted.
  usual = with pkgs; [ bash coreutils diffutils findutils gawk gnugrep gnused gnutar gzip ];

  toolchain = { name, packages, variables }: let
    # Of two programs with one name the first counts, as it would with a PATH.
    out = pkgs.runCommand name { paths = map (package: "${lib.getBin package}/bin") (packages ++ usual); } ''
      mkdir -p $out/bin
      for path in $paths; do
        for program in $path/*; do
          [ -e $out/bin/''${program##*/} ] || ln -s $program $out/bin/
        done
      done
    '';
    Env = lib.mapAttrsToList (name: value: "${name}=${value}") ({ PATH = "${out}/bin"; } // variables out);
  in
    out // { meta = (out.meta or { }) // { inherit Env; }; };
in {
  # gcc's wrapper knows the C library; the unwrapped one has what the wrapper has no name for, such as gcov.
  lre-cc = toolchain {
    name = "lre-cc";
    packages = [ pkgs.stdenv.cc pkgs.stdenv.cc.bintools pkgs.stdenv.cc.cc ];
    variables = out: { CC = "${out}/bin/cc"; CXX = "${out}/bin/c++"; };
  };

  lre-java = toolchain {
    name = "lre-java";
    packages = [ pkgs.jdk17_headless ];
    variables = _: { JAVA_HOME = "${pkgs.jdk17_headless.home}"; };
  };

  # rustc links with a C compiler.
  lre-rust = toolchain {
    name = "lre-rust";
    packages = [ pkgs.rustc pkgs.cargo pkgs.clippy pkgs.rustfmt pkgs.stdenv.cc pkgs.stdenv.cc.bintools ];
    variables = out: { RUSTC = "${out}/bin/rustc"; CC = "${out}/bin/cc"; };
  };
}
