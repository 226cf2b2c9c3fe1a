{
  description = "lre: a Remote Execution service on your own machine, with toolchains pinned by content";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # For those who follow us: the pair that the module is tested with. No output of ours but the check needs it.
    flake-parts = {
      url = "github:hercules-ci/flake-parts";
      inputs.nixpkgs-lib.follows = "nixpkgs";
    };
  };

  # The names of the outputs depend on no input, and only what is asked for is evaluated: whoever wants the template or
  # the module fetches nothing else.
  outputs = { self, nixpkgs, flake-parts }: let
    system = "x86_64-linux";
    pkgs = nixpkgs.legacyPackages.${system};
    template = {
      path = ./nix/templates/lre;
      description = "A C++ project whose actions run through lre, with its toolchain from Nix";
      welcomeText = builtins.readFile ./nix/templates/welcome.md;
    };
  in {
    flakeModule = ./nix/flake-module.nix;
    flakeModules = {
      default = ./nix/flake-module.nix;
      lre = ./nix/flake-module.nix;
    };

    packages.${system} = import ./nix/toolchains.nix { inherit pkgs; } // rec {
      lre = pkgs.callPackage ./nix/package.nix { };
      default = lre;
    };

    # What the module writes, compared with what is committed, with the flake-parts and nixpkgs of this flake.
    checks.${system}.module = import ./nix/tests/check.nix { inherit flake-parts nixpkgs pkgs system; };

    templates = {
      lre = template;
      default = template;
    };
  };
}
