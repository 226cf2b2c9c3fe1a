{
  description = "Stand-in for nixpkgs: its library, and a few packages made of the programs in ./programs";
  outputs = { self }: {
    lib = import ./lib.nix;
    legacyPackages.x86_64-linux = import ./. { };
  };
}
