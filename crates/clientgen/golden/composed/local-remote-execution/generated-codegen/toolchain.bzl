# Generated from lre.lock: toolchain `codegen`, codegen 1.4,
# f925e9ddf17e6e860f50eb0c3d766b47ab57c0242f6945b9a28d9d1a5c9c3b9b/16. Do not edit.
"""Tools of a toolchain that lre.lock pins, for rules of the project:

    gen
    lint

The shortest way needs no rule, only a BUILD file:

    load("@local-remote-execution//generated-codegen:toolchain.bzl", "run_tool")

    run_tool(
        name = "greeting",
        srcs = ["greeting.txt"],
        outs = ["greeting.h"],
        tool = "NAME",
        arguments = ["--out", "$(execpath greeting.h)", "$(execpath greeting.txt)"],
    )

A rule of the project's own asks for the toolchain and runs a tool of it:

    load("@local-remote-execution//generated-codegen:toolchain.bzl", "TOOLCHAIN_TYPE", "run")

    def _greeting(ctx):
        out = ctx.actions.declare_file(ctx.label.name + ".h")
        run(ctx, "NAME", ["--out", out.path, ctx.file.src.path], inputs = [ctx.file.src], outputs = [out])
        return [DefaultInfo(files = depset([out]))]

    greeting = rule(_greeting, attrs = {"src": attr.label(allow_single_file = True)}, toolchains = [TOOLCHAIN_TYPE])

The tools are in the sandbox, not among the inputs; the platform that the toolchain asks for names them by digest.
"""

# As text, because Bazel before 6 takes no Label here; unambiguous, whatever the caller calls this module.
TOOLCHAIN_TYPE = str(Label("//generated-codegen:toolchain_type"))

ToolsInfo = provider(
    doc = "What the toolchain offers.",
    fields = {
        "environment": "Variables that its tools want to have.",
        "tools": "Absolute paths inside the sandbox, by name.",
        "version": "What the toolchain says of itself.",
    },
)

def tools(ctx):
    """What the toolchain offers.

    Args:
      ctx: of a rule that asks for `TOOLCHAIN_TYPE`.

    Returns:
      `ToolsInfo`.
    """
    return ctx.toolchains[TOOLCHAIN_TYPE].info

def tool(ctx, name):
    """The absolute path of a tool inside the sandbox.

    Args:
      ctx: of a rule that asks for `TOOLCHAIN_TYPE`.
      name: of the tool, as in the manifest.

    Returns:
      A string.
    """
    known = tools(ctx).tools
    if name not in known:
        fail("generated-codegen has no tool `{}`; it has: {}".format(name, ", ".join(sorted(known))))
    return known[name]

def environment(ctx):
    """What an action that runs a tool should have as environment.

    Args:
      ctx: of a rule that asks for `TOOLCHAIN_TYPE`.

    Returns:
      A dictionary: what --action_env says, then what the toolchain wants.
    """

    # Not use_default_shell_env: before Bazel 7 it would hide `env`.
    merged = dict(ctx.configuration.default_shell_env)
    merged.update(tools(ctx).environment)
    return merged

def run(ctx, name, arguments, inputs, outputs, env = {}, **kwargs):
    """Registers an action that runs a tool.

    Args:
      ctx: of a rule that asks for `TOOLCHAIN_TYPE`.
      name: of the tool, as in the manifest.
      arguments: a list of strings and of `ctx.actions.args()`.
      inputs: what it reads, a list or depset of files.
      outputs: what it writes, a list of files.
      env: variables beyond those of the toolchain.
      **kwargs: as `ctx.actions.run` takes them.
    """
    merged = environment(ctx)
    merged.update(env)
    kwargs.setdefault("mnemonic", "Tool")
    kwargs.setdefault("progress_message", "Running {} for {}".format(name, ctx.label))
    ctx.actions.run(
        executable = tool(ctx, name),
        arguments = arguments,
        inputs = inputs,
        outputs = outputs,
        env = merged,
        **kwargs
    )

def _run_tool(ctx):
    run(
        ctx,
        ctx.attr.tool,
        # Knows the outputs of this target as well.
        [ctx.expand_location(argument, ctx.attr.srcs) for argument in ctx.attr.arguments],
        inputs = ctx.files.srcs,
        outputs = ctx.outputs.outs,
        env = ctx.attr.env,
        mnemonic = "RunTool",
    )
    return [DefaultInfo(files = depset(ctx.outputs.outs))]

run_tool = rule(
    doc = "Runs a tool of the toolchain; `$(execpath FILE)` in `arguments` is where a file of `srcs` or `outs` is.",
    implementation = _run_tool,
    attrs = {
        "arguments": attr.string_list(doc = "What the tool is given."),
        "env": attr.string_dict(doc = "Variables beyond those of the toolchain."),
        "outs": attr.output_list(mandatory = True, doc = "What it writes."),
        "srcs": attr.label_list(allow_files = True, doc = "What it reads."),
        "tool": attr.string(mandatory = True, doc = "Its name, as in the manifest."),
    },
    toolchains = [TOOLCHAIN_TYPE],
)

def _toolchain_description(ctx):
    info = ToolsInfo(
        environment = ctx.attr.environment,
        tools = ctx.attr.tools,
        version = ctx.attr.version,
    )
    return [info, platform_common.ToolchainInfo(info = info)]

toolchain_description = rule(
    doc = "Used by the generated BUILD file only.",
    implementation = _toolchain_description,
    attrs = {
        "environment": attr.string_dict(),
        "tools": attr.string_dict(mandatory = True),
        "version": attr.string(),
    },
)
