# The `lre` binary.
{ lib, rustPlatform }: let
  workspace = (lib.importTOML ../Cargo.toml).workspace;
  # What cargo reads, the example that `lre demo` carries, and nothing that changes without changing the program.
  read = [ "Cargo.toml" "Cargo.lock" "bench" "crates" "dev" "examples" "tests" ];
in
  rustPlatform.buildRustPackage {
    pname = "lre";
    inherit (workspace.package) version;

    src = builtins.path {
      name = "lre-source";
      path = ../.;
      filter = path: _type: let
        inside = lib.removePrefix (toString ../. + "/") (toString path);
      in
        lib.elem (lib.head (lib.splitString "/" inside)) read;
    };

    # Every crate comes from the registry with its checksum in the lock file: there is no second hash to keep.
    cargoLock.lockFile = ../Cargo.lock;
    cargoBuildFlags = [ "--package" "lre" ];

    # The tests want namespaces, overlay mounts and packages of other systems; `cargo xtask test` runs them.
    doCheck = false;

    meta = {
      description = "A Remote Execution service on your own machine, with toolchains pinned by content";
      license = lib.licenses.asl20;
      mainProgram = "lre";
      platforms = [ "x86_64-linux" ];
    };
  }
