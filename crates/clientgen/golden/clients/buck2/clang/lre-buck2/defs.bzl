# Generated from lre.lock; do not edit. `lre init --check` says whether it has drifted.
#
# A project's toolchains//:cxx is an alias of //lre-buck2:cxx; its .buckconfig ends with the line
# <file:lre.buckconfig>
#
# The toolchain `clang`, clang version 18.1.3, is made up of:
# blake3/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30/5 at /lre/toolchains/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30
# AR=/lre/toolchains/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30/bin/ar
# CC=/lre/toolchains/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30/bin/cc
# CXX=/lre/toolchains/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30/bin/c++
# LD=/lre/toolchains/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30/bin/ld
# PATH=/lre/toolchains/e2b015c20b14ab2b577e22e94a26bc01b4f55beaa1f663134bc2eaea84adff30/bin

load(
    "@prelude//cxx:cxx_toolchain_types.bzl",
    "BinaryUtilitiesInfo",
    "CCompilerInfo",
    "CxxCompilerInfo",
    "CxxPlatformInfo",
    "CxxToolchainInfo",
    "LinkerInfo",
    "LinkerType",
    "PicBehavior",
    "ShlibInterfacesMode",
)
load("@prelude//cxx:headers.bzl", "HeaderMode")
load("@prelude//linking:link_info.bzl", "LinkStyle")
load("@prelude//linking:lto.bzl", "LtoMode")

def _platforms_impl(ctx):
    platform = ExecutionPlatformInfo(
        label = ctx.label.raw_target(),
        configuration = ConfigurationInfo(constraints = {}, values = {}),
        executor_config = CommandExecutorConfig(
            # Nothing runs with what this machine has.
            local_enabled = False,
            remote_enabled = True,
            remote_execution_properties = ctx.attrs.properties,
            remote_execution_use_case = "buck2-default",
            remote_output_paths = "output_paths",
        ),
    )
    return [DefaultInfo(), ExecutionPlatformRegistrationInfo(platforms = [platform])]

lre_platforms = rule(
    impl = _platforms_impl,
    attrs = {"properties": attrs.dict(key = attrs.string(), value = attrs.string())},
)

def _run(path):
    return RunInfo(args = [path]) if path else None

def _cxx_toolchain_impl(ctx):
    a = ctx.attrs

    def compiler(info, path, flags):
        return info(compiler = _run(path), compiler_flags = flags, compiler_type = a.compiler_type, preprocessor_flags = [])

    linker = LinkerInfo(
        archive_objects_locally = False,
        archiver = _run(a.archiver),
        archiver_supports_argfiles = True,
        archiver_type = "gnu",
        binary_extension = "",
        force_full_hybrid_if_capable = False,
        generate_linker_maps = False,
        independent_shlib_interface_linker_flags = [],
        is_pdb_generated = False,
        link_binaries_locally = False,
        link_libraries_locally = False,
        link_style = LinkStyle("static_pic"),
        link_weight = 1,
        linker = _run(a.cxx_compiler),
        linker_flags = a.link_flags,
        lto_mode = LtoMode("none"),
        object_file_extension = "o",
        shared_dep_runtime_ld_flags = [],
        shared_library_name_default_prefix = "lib",
        shared_library_name_format = "{}.so",
        shared_library_versioned_name_format = "{}.so.{}",
        shlib_interfaces = ShlibInterfacesMode("disabled"),
        static_dep_runtime_ld_flags = [],
        static_library_extension = "a",
        static_pic_dep_runtime_ld_flags = [],
        type = LinkerType("gnu"),
        use_archiver_flags = True,
    )
    utilities = BinaryUtilitiesInfo(
        bolt_msdk = None,
        dwp = None,
        nm = _run(a.nm),
        objcopy = _run(a.objcopy),
        objdump = _run(a.objdump),
        ranlib = _run(a.ranlib),
        strip = _run(a.strip),
    )
    toolchain = CxxToolchainInfo(
        as_compiler_info = compiler(CCompilerInfo, a.c_compiler, []),
        asm_compiler_info = compiler(CCompilerInfo, a.c_compiler, []),
        binary_utilities_info = utilities,
        bolt_enabled = False,
        c_compiler_info = compiler(CCompilerInfo, a.c_compiler, a.c_flags),
        cpp_dep_tracking_mode = "makefile",
        cxx_compiler_info = compiler(CxxCompilerInfo, a.cxx_compiler, a.cxx_flags),
        header_mode = HeaderMode("symlink_tree_only"),
        linker_info = linker,
        mk_comp_db = a._make_comp_db,
        pic_behavior = PicBehavior("supported"),
    )
    return [DefaultInfo(), toolchain, CxxPlatformInfo(name = "x86_64")]

_TOOLS = ["archiver", "c_compiler", "cxx_compiler", "nm", "objcopy", "objdump", "ranlib", "strip"]
_FLAGS = ["c_flags", "cxx_flags", "link_flags"]

lre_cxx_toolchain = rule(
    impl = _cxx_toolchain_impl,
    attrs = {
        "compiler_type": attrs.string(),
        "_make_comp_db": attrs.default_only(attrs.exec_dep(providers = [RunInfo], default = "prelude//cxx/tools:make_comp_db")),
    } | {
        name: attrs.option(attrs.string(), default = None)
        for name in _TOOLS
    } | {
        name: attrs.list(attrs.string(), default = [])
        for name in _FLAGS
    },
    is_toolchain_rule = True,
)
