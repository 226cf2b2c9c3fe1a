# Packages made of programs that were not built by Nix: `programs/usual` has a static bash and busybox; `programs/cc.hash`, where
# a compiler is needed, the narHash of a gcc as a distribution has it, with the libraries that it loads.
{ programs ? ./programs }: let
  lib = import ./lib.nix;
  system = "x86_64-linux";

  usual = builtins.path { path = programs + "/usual"; name = "usual"; };

  build = attrs: let drv = derivation ({ inherit system; builder = "${usual}/bin/bash"; PATH = "${usual}/bin"; } // attrs // { meta = null; }); in
    drv // { inherit lib; meta = attrs.meta or { }; };

  script = text: [ "-euc" text ];

  runCommand = name: env: text: build (env // { inherit name; args = script text; });

  # What somebody has put into the store before, known by its content, as a fetched source is. It is too large to lie in this
  # flake, which is copied whenever it is used.
  unpacked = build {
    name = "gcc-unpacked";
    outputHashMode = "recursive";
    outputHash = lib.removeSuffix "\n" (builtins.readFile (programs + "/cc.hash"));
    args = script "echo gcc-unpacked is not in the store >&2; exit 1";
  };

  # Stands for a program of which nothing but its name matters.
  named = name: programs: runCommand name { inherit programs; } ''
    mkdir -p $out/bin
    for program in $programs; do echo "#!${usual}/bin/bash" >$out/bin/$program; chmod +x $out/bin/$program; done
  '';

  callPackage = path: overrides: let
    f = import path;
  in
    f (lib.mapAttrs (name: _: pkgs.${name}) (builtins.functionArgs f) // overrides);

  pkgs = {
    inherit callPackage lib runCommand system;
    bash = usual;
    bashInteractive = usual;
    coreutils = usual;
    diffutils = usual;
    findutils = usual;
    gawk = usual;
    gnugrep = usual;
    gnused = usual;
    gnutar = usual;
    gzip = usual;
    runtimeShell = "${usual}/bin/bash";

    stdenv.cc = if builtins.pathExists (programs + "/cc.hash") then import ./gcc.nix { inherit build script unpacked; tools = usual; } else
      named "gcc" [ "cc" "c++" ] // { cc = named "gcc-unwrapped" [ "gcov" ]; bintools = named "binutils" [ "ar" "ld" ]; };

    jdk17_headless = let jdk = named "jdk" [ "java" "javac" ]; in jdk // { home = "${jdk}/lib/openjdk"; };
    rustc = named "rustc" [ "rustc" ];
    cargo = named "cargo" [ "cargo" ];
    clippy = named "clippy" [ "clippy-driver" ];
    rustfmt = named "rustfmt" [ "rustfmt" ];

    # The programs under test are not built by Nix: these run those of the machine.
    bazel_7 = pkgs.writeShellScriptBin "bazel" ''exec /usr/bin/bazel "$@"'';
    rustPlatform.buildRustPackage = { pname, version, src, cargoLock, cargoBuildFlags, doCheck, meta }: let
      lock = builtins.fromTOML (builtins.readFile cargoLock.lockFile);
      elsewhere = lib.filter (p: p ? source && !(p ? checksum)) lock.package;
    in
      # The real one asks for a hash of each of these.
      assert elsewhere == [ ];
      assert lib.elem pname (map (p: p.name) lock.package);
      runCommand "${pname}-${version}" { inherit meta src; } ''
        # What is compiled into the program, and not what has nothing to do with it.
        [ -e $src/Cargo.lock ] && [ -e $src/crates ] && [ -e $src/examples ] && [ ! -e $src/nix ] && [ ! -e $src/target ]
        mkdir -p $out/bin
        printf '%s\n' '#!${usual}/bin/bash' 'exec "''${LRE_TEST_BINARY:?}" "$@"' >$out/bin/lre
        chmod +x $out/bin/lre
      '';

    writeText = name: text: build { inherit name text; passAsFile = [ "text" ]; args = script "cp $textPath $out"; };
    writeShellScriptBin = name: text: build {
      inherit name;
      text = "#!${usual}/bin/bash\n${text}\n";
      passAsFile = [ "text" ];
      args = script "mkdir -p $out/bin; cp $textPath $out/bin/${name}; chmod +x $out/bin/${name}";
    };

    # `nix develop` sources `$stdenv/setup` and dumps what the shell then has.
    mkShell = { packages ? [ ], shellHook ? "" }: build {
      name = "nix-shell";
      inherit shellHook;
      stdenv = runCommand "stdenv" { } "mkdir $out; echo 'export PATH=${lib.makeBinPath (packages ++ [ usual ])}' >$out/setup";
      outputs = [ "out" ];
      args = script "export >$out";
    };
  };
in pkgs
