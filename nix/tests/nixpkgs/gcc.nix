# gcc as nixpkgs wraps it, made of one that was built for another place: `unpacked` has the compiler, its libraries and headers as
# Debian lays them out below `/`, and `patchelf`. What comes out has no path of the machine in it.
{ build, script, tools, unpacked }: let
  unwrapped = build {
    name = "gcc-unwrapped";
    args = script ''
      cp -r ${unpacked} $out
      chmod -R u+w $out
      loader=lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
      libraries=lib/x86_64-linux-gnu:usr/lib/x86_64-linux-gnu
      # patchelf itself is such a program.
      patch() { (cd ${unpacked}; $loader --library-path $libraries usr/bin/patchelf "$@"); }
      cd $out
      for file in usr/bin/* usr/lib/gcc/*/*/* usr/lib/*/*.so* lib/*/*.so*; do
        [ -f $file ] && [ ! -L $file ] && [ $file != $loader ] || continue
        [ "$(head -c 4 $file)" = "$(printf '\177ELF')" ] || continue
        case $file in *.o|*/libc.so.6) continue;; esac
        case $file in
          *.so*) interpreter= ;;
          *) interpreter="--set-interpreter $out/$loader" ;;
        esac
        patch $interpreter --set-rpath $out/lib/x86_64-linux-gnu:$out/usr/lib/x86_64-linux-gnu $out/$file
      done
      mkdir bin lib64
      ln -s ../usr/bin/gcov-12 bin/gcov
      # Where the linker script of the C library has it, below the sysroot.
      ln -s ../$loader lib64/
    '';
  };

  bintools = build {
    name = "binutils";
    args = script ''
      mkdir -p $out/bin
      for name in ar as ld nm objcopy objdump ranlib strip; do ln -s ${unwrapped}/usr/bin/$name $out/bin/; done
    '';
  };

  # The wrapper knows where everything is; neither the compiler nor what it makes finds anything by itself.
  wrapper = build {
    name = "gcc-wrapper";
    args = script ''
      mkdir -p $out/bin
      wrap() {
        {
          echo '#!${tools}/bin/bash'
          echo 'exec ${unwrapped}/usr/bin/'$2' --sysroot=${unwrapped} -B${unwrapped}/usr/bin/' \
            '-Wl,--dynamic-linker=${unwrapped}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2' \
            '-Wl,-rpath,${unwrapped}/lib/x86_64-linux-gnu:${unwrapped}/usr/lib/x86_64-linux-gnu "$@"'
        } >$out/bin/$1
        chmod +x $out/bin/$1
      }
      wrap cc gcc-12; wrap gcc gcc-12; wrap c++ g++-12; wrap g++ g++-12; wrap cpp cpp-12
    '';
  };
in wrapper // { inherit bintools; cc = unwrapped; }
