def _nothing(_ctx):
    pass

buildozer_binary = module_extension(implementation = _nothing)
