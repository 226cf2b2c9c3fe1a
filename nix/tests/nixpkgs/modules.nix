# Modules: options that are declared once, defined anywhere, and merged by their types.
#
# What is not needed is not here: priorities other than that of a default, freeform types, documentation.
lib: let
  inherit (builtins) attrNames concatMap elem filter functionArgs head isAttrs isFunction isList isPath isString length mapAttrs;

  is = type: value: isAttrs value && value._type or null == type;
  show = lib.concatStringsSep ".";

  # A module as { imports, options, config }. Functions get only what they name: `config` is what all of this makes.
  normal = args: module:
    if isPath module || isString module then normal args (import module)
    else if isFunction module then normal args (module (args.known // mapAttrs (name: _: args.find name) (functionArgs module)))
    else if module ? options || module ? config then { imports = [ ]; options = { }; config = { }; } // module
    else { imports = module.imports or [ ]; options = { }; config = removeAttrs module [ "imports" ]; };

  closure = args: concatMap (module: let this = normal args module; in [ this ] ++ closure args this.imports);

  # Definitions of attributes, each condition passed down to what it holds, so that names can be known before values.
  spread = value:
    if is "if" value then map (mapAttrs (_: content: value // { inherit content; })) (spread value.content)
    else if is "merge" value then concatMap spread value.contents
    else [ value ];

  # Values, with conditions decided.
  decide = value:
    if is "if" value then (if value.condition then decide value.content else [ ])
    else if is "merge" value then concatMap decide value.contents
    else [ value ];

  at = name: concatMap (attrs: lib.optional (attrs ? ${name}) attrs.${name});

  # Options of several modules as one tree.
  declared = declarations: mapAttrs (name: _: let
    here = at name declarations;
    options = filter (is "option") here;
  in
    if options == [ ] then declared here
    else lib.foldl' (a: b: a // b // { type = a.type.also b.type; }) (head options) (lib.tail options)
  ) (lib.foldl' (a: b: a // b) { } declarations);

  value = path: option: definitions: let
    values = concatMap decide definitions;
    checked = map (v: if option.type.check v then v else throw "the option `${show path}` is no ${option.type.name}") values;
    merged =
      if option.readOnly or false && length values > 1 then throw "the option `${show path}` is read-only"
      else if values != [ ] then option.type.merge path checked
      else option.default or (option.type.empty or (throw "the option `${show path}` has no value"));
  in
    option.apply or (v: v) merged;

  values = path: options: definitions: let
    attrs = concatMap spread definitions;
    unknown = filter (name: !(options ? ${name})) (concatMap attrNames attrs);
  in
    if unknown != [ ] then throw "there is no option `${show (path ++ [ (head unknown) ])}`"
    else mapAttrs (name: option: (if is "option" option then value else values) (path ++ [ name ]) option (at name attrs)) options;

  evalModules = { modules, specialArgs ? { } }: let
    args = rec {
      known = { inherit config options lib; } // specialArgs;
      # Only when a module uses it: what modules pass to modules is known when all of them are.
      find = name: known.${name} or config._module.args.${name};
    };
    all = closure args ([ { options._module.args = lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; default = { }; }; } ] ++ modules);
    options = declared (map (module: module.options) all);
    config = values [ ] options (map (module: module.config) all);
  in
    { inherit config options; };

  # ---- types

  type = name: check: more: lib.fix (self: {
    inherit name check;
    _type = "option-type";
    also = _: self;
    merge = path: values: if lib.all (v: v == head values) values then head values else throw "the option `${show path}` has conflicting values";
  } // more);

  submoduleOf = modules: type "submodule" (v: isAttrs v || isFunction v) {
    merge = _: values: (evalModules { modules = modules ++ map (v: if isFunction v then v else { config = v; }) values; }).config;
    empty = (evalModules { inherit modules; }).config;
  };

  deferredOf = modules: type "module" (v: isAttrs v || isFunction v || isPath v) {
    inherit modules;
    also = other: deferredOf (modules ++ other.modules);
    merge = _: values: modules ++ values;
    empty = modules;
  };

  attrsOf = inner: type "attribute set of ${inner.name}" isAttrs {
    merge = path: definitions: let
      sets = concatMap spread definitions;
      names = lib.foldl' (a: b: a // b) { } sets;
      inside = name: value (path ++ [ name ]) { type = inner; } (at name sets);
    in
      mapAttrs (name: _: inside name) names;
  };
in {
  inherit evalModules;
  mkOption = option: { _type = "option"; type = lib.types.raw; } // option;
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };

  types = {
    inherit attrsOf;
    lazyAttrsOf = attrsOf;
    bool = type "boolean" builtins.isBool { };
    str = type "string" isString { };
    strMatching = pattern: type "string like ${pattern}" (v: isString v && builtins.match pattern v != null) { };
    package = type "package" (v: v.type or null == "derivation") { };
    raw = type "value" (_: true) { merge = path: values: if length values == 1 then head values else throw "the option `${show path}` is defined twice"; };
    listOf = inner: type "list of ${inner.name}" (v: isList v && lib.all inner.check v) { merge = _: builtins.concatLists; };
    nullOr = inner: type "null or ${inner.name}" (v: v == null || inner.check v) {
      merge = path: values: if lib.all (v: v == null) values then null else inner.merge path values;
    };
    submodule = module: submoduleOf [ module ];
    deferredModuleWith = { staticModules }: deferredOf staticModules;
  };
}
