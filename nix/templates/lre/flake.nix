{
  description = "A C++ project whose actions run through lre";

  inputs = {
    # Write here where this template came from. Until then: `nix flake lock --override-input lre <that flake>`.
    lre.url = "flake:lre";
    # The same packages as lre, so that its toolchains are the same store paths here and there.
    nixpkgs.follows = "lre/nixpkgs";
    flake-parts.follows = "lre/flake-parts";
  };

  outputs = inputs: inputs.flake-parts.lib.mkFlake { inherit inputs; } {
    systems = [ "x86_64-linux" ];
    imports = [ inputs.lre.flakeModule ];

    perSystem = { config, inputs', pkgs, lre-cc, ... }: {
      local-remote-execution = {
        settings = {
          inherit (lre-cc.meta) Env;
          # Used with `--config=lre` only. Without a prefix: always.
          prefix = "lre";
        };
        # Imported into lre's store and pinned in lre.lock when the shell is entered for the first time.
        toolchains.cc = lre-cc;
      };

      devShells.default = pkgs.mkShell {
        packages = [ inputs'.lre.packages.lre pkgs.bazel_7 ];
        shellHook = config.local-remote-execution.installationScript;
      };
    };
  };
}
