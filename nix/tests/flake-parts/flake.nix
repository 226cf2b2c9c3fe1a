{
  description = "Stand-in for flake-parts";
  inputs.nixpkgs-lib.url = "nixpkgs";
  outputs = { self, nixpkgs-lib }: { lib = import ./lib.nix { inherit (nixpkgs-lib) lib; }; };
}
