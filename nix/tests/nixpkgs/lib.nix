# As much of nixpkgs' library as is used here.
let
  inherit (builtins) concatStringsSep elem elemAt filter foldl' isList isString length listToAttrs map stringLength substring;
  strings = rec {
    inherit concatStringsSep;
    concatStrings = concatStringsSep "";
    concatMapStrings = f: list: concatStrings (map f list);
    optionalString = condition: string: if condition then string else "";
    splitString = separator: string: filter isString (builtins.split (escapeRegex separator) string);
    hasPrefix = prefix: string: substring 0 (stringLength prefix) string == prefix;
    removePrefix = prefix: string: if hasPrefix prefix string then substring (stringLength prefix) (-1) string else string;
    removeSuffix = suffix: string: let n = stringLength string - stringLength suffix; in
      if n >= 0 && substring n (-1) string == suffix then substring 0 n string else string;
    escapeShellArg = argument: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString argument)}'";
    escapeShellArgs = arguments: concatStringsSep " " (map escapeShellArg arguments);
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
  };
  escapeRegex = builtins.replaceStrings [ "." "/" ] [ "\\." "/" ];
  lib = strings // modules // rec {
    inherit (builtins) all any attrNames concatLists concatMap elem filter foldl' head length mapAttrs tail;
    fix = f: let x = f x; in x;
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: list: if condition then list else [ ];
    unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
    filterAttrs = keep: attrs: removeAttrs attrs (filter (name: !keep name attrs.${name}) (builtins.attrNames attrs));
    mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (builtins.attrNames attrs);
    getBin = package: package.bin or package;
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    licenses.asl20 = { spdxId = "Apache-2.0"; free = true; };
  };
  modules = import ./modules.nix lib;
in lib
