//! What the scenarios run and run with, made here: programs, toolchains, input trees.
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Does nothing.
const TRUE: &str = "int main(void) { return 0; }\n";

/// Does what a compiler does to the file system: reads each file that it is given, writes one.
const READER: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    static char buffer[65536];
    char name[256];
    long sum = 0, n;
    for (int i = 0; i < 1000; i += 50) {
        snprintf(name, sizeof name, "pkg%d/src%d/f%d.h", i / 128, i / 16, i);
        int file = open(name, O_RDONLY);
        if (file < 0) return 1;
        while ((n = read(file, buffer, sizeof buffer)) > 0) sum += n;
        close(file);
    }
    int out = open("out.o", O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (out < 0 || write(out, buffer, 8192) != 8192) return 2;
    return sum == 0;
}
"#;

/// Writes as many bytes to stdout as [`LOUD_BYTES`] says.
const LOUD: &str = r#"
#include <string.h>
#include <unistd.h>
int main(void) {
    static char buffer[100000];
    memset(buffer, 'x', sizeof buffer);
    for (int i = 0; i < 10000; i++)
        for (long done = 0; done < (long)sizeof buffer; ) {
            long n = write(1, buffer + done, sizeof buffer - done);
            if (n <= 0) return 1;
            done += n;
        }
    return 0;
}
"#;

/// What `loud` writes.
pub const LOUD_BYTES: u64 = 10_000 * 100_000;

const PROGRAMS: [(&str, &str); 3] = [("true", TRUE), ("reader", READER), ("loud", LOUD)];

/// Files of one path of a Nix-like closure. Most paths of a real one are small.
const FILES_OF_PATH: usize = 10;

/// Compiles the static programs into `bin`.
pub fn programs(bin: &Path) -> Result<()> {
    fs::create_dir_all(bin)?;
    for (name, source) in PROGRAMS {
        let c = bin.join(format!("{name}.c"));
        fs::write(&c, source)?;
        let status = Command::new("cc").args(["-O1", "-static", "-o"]).arg(bin.join(name)).arg(&c).status();
        ensure!(status.context("a C compiler is needed")?.success(), "cc failed");
        fs::remove_file(c)?;
    }
    Ok(())
}

/// A rootfs of the programs and of so many other files, with the names at the top that a Debian one has.
pub fn rootfs(root: &Path, bin: &Path, files: usize) -> Result<()> {
    for name in ["bin", "lib", "lib64", "include", "libexec", "share"] {
        fs::create_dir_all(root.join("usr").join(name))?;
    }
    fs::create_dir_all(root.join("etc/alternatives"))?;
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    for (name, _) in PROGRAMS {
        fs::copy(bin.join(name), root.join("usr/bin").join(name))?;
    }
    for i in 0..files {
        let folder = root.join(format!("usr/lib/generated/{}/{}", i / 400, i / 20));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("file{i}")), text(i, 0, 8_000))?;
    }
    Ok(())
}

/// So many store paths, of which the first has the programs. Returns their names.
pub fn nix_like(store: &Path, bin: &Path, paths: usize) -> Result<Vec<String>> {
    // Names as the real ones are: 32 characters of base 32, and a name with a version.
    let names: Vec<String> = (0..paths).map(|i| format!("{i:0>32}-package{i}-1.{i}")).collect();
    for (i, name) in names.iter().enumerate() {
        let path = store.join(name);
        for j in 0..FILES_OF_PATH {
            let folder = path.join(format!("lib/part{}", j / 5));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("file{j}")), text(i * FILES_OF_PATH + j, paths, 8_000))?;
        }
    }
    let programs = store.join(&names[0]).join("bin");
    fs::create_dir_all(&programs)?;
    for (name, _) in PROGRAMS {
        fs::copy(bin.join(name), programs.join(name))?;
    }
    Ok(names)
}

/// An input tree of which a little changes from one action to the next.
pub struct Inputs {
    files: BTreeMap<String, Vec<u8>>,
    bytes_max: usize,
    round: usize,
}

impl Inputs {
    /// So many headers of between 1 KiB and `bytes_max`.
    pub fn new(count: usize, bytes_max: usize) -> Self {
        let files = (0..count).map(|i| (path(i), text(i, 0, bytes_max))).collect();
        Self { files, bytes_max, round: 0 }
    }

    /// Changes so many of them, other ones each time.
    pub fn change(&mut self, count: usize) {
        self.round += 1;
        for j in 0..count {
            let i = (self.round * 7 + j * 97) % self.files.len();
            self.files.insert(path(i), text(i, self.round, self.bytes_max));
        }
    }

    /// By path.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }
}

/// One file with a few bytes.
pub fn one_input() -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("input.txt".to_owned(), b"one input\n".to_vec())])
}

/// Bytes that nobody has seen before and that do not compress: `len` of them from a seed (splitmix64).
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(len);
    bytes.into()
}

fn path(i: usize) -> String {
    format!("pkg{}/src{}/f{i}.h", i / 128, i / 16)
}

/// As headers are.
fn text(i: usize, version: usize, bytes_max: usize) -> Vec<u8> {
    let mut text = format!("// {i} version {version}\n");
    let line = "extern int function(int a, const char *b); /* as most of a header is */\n";
    while text.len() < 1024 + (i * 7919) % bytes_max {
        text.push_str(line);
    }
    text.into_bytes()
}

/// Where the generated things of a run are.
pub struct Places {
    directory: PathBuf,
}

impl Places {
    /// Makes the programs.
    pub fn new(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        programs(&directory.join("programs"))?;
        Ok(Self { directory })
    }

    /// The programs on the host.
    pub fn programs(&self) -> PathBuf {
        self.directory.join("programs")
    }

    /// A folder that is not there yet, for something of this name.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
