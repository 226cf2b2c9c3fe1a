# `mkFlake` with `systems`, `perSystem`, `flake` and `imports`, and what a `perSystem` module is given.
{ lib }: let
  inherit (lib) mkOption types;

  # Each declaration of `perSystem` adds modules; so does each definition.
  mkPerSystemOption = module: mkOption { type = types.deferredModuleWith { staticModules = [ module ]; }; };

  # Outputs that are `NAME.SYSTEM` of a flake and `NAME` of a system.
  transposed = [ "apps" "checks" "devShells" "legacyPackages" "packages" ];

  ofSystem = system: flake:
    lib.mapAttrs (_: output: output.${system}) (lib.filterAttrs (name: output: lib.elem name transposed && output ? ${system}) flake);

  core = { config, inputs, self, ... }: {
    options = {
      systems = mkOption { type = types.listOf types.str; };
      flake = mkOption { type = types.lazyAttrsOf types.raw; default = { }; };
      perSystem = mkPerSystemOption ({ system, ... }: {
        options = lib.genAttrs transposed (_: mkOption { type = types.lazyAttrsOf types.raw; default = { }; });
        config._module.args = {
          pkgs = inputs.nixpkgs.legacyPackages.${system};
          inputs' = lib.mapAttrs (_: ofSystem system) inputs;
          self' = ofSystem system self;
        };
      }) // {
        apply = modules: system: (lib.evalModules { inherit modules; specialArgs = { inherit lib system; }; }).config;
      };
    };
    config.flake = lib.genAttrs transposed (name: lib.genAttrs config.systems (system: (config.perSystem system).${name}));
  };
in {
  inherit mkPerSystemOption;

  mkFlake = { inputs, specialArgs ? { } }: module: (lib.evalModules {
    modules = [ core module ];
    specialArgs = {
      inherit inputs lib;
      inherit (inputs) self;
      flake-parts-lib = { inherit mkPerSystemOption; };
    } // specialArgs;
  }).config.flake;
}
