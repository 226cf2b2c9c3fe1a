//! What lies on the disk, and the disk itself.
use anyhow::{Context, Result, ensure};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine, on one line, with the file system that a folder is on.
pub fn machine(folder: &Path) -> String {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        value.map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = rustix::system::uname();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    format!(
        "machine: {}, {cores} cores, {} of memory, {} {}, {}; what was just written is in the page cache",
        line("/proc/cpuinfo", "model name"),
        line("/proc/meminfo", "MemTotal"),
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        file_system(&mounts, folder),
    )
}

/// Kind and options of the mount that a folder is on.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holds = mounts.filter(|fields| fields.get(1).is_some_and(|mount| folder.starts_with(mount)));
    let nearest = holds.max_by_key(|fields| fields[1].len()).unwrap_or_default();
    match &nearest[..] {
        [_, _, kind, options, ..] => format!("{kind} ({options})"),
        _ => "an unknown file system".to_owned(),
    }
}

/// What a folder takes, as `du -s -B1` counts it.
pub fn usage(folder: &Path) -> Result<u64> {
    let output = Command::new("du").args(["-s", "-B1"]).arg(folder).output().context("du")?;
    ensure!(output.status.success(), "du: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().context("du says nothing")?.parse()?)
}

/// Brings everything that was written to the disk.
pub fn sync(folder: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Takes the content of all files of a folder out of the page cache. Names and inodes stay, and so does every other file:
/// to drop all of it is for root of the whole machine.
pub fn forget_pages(folder: &Path) -> Result<()> {
    // A page that is not on the disk yet stays.
    sync(folder)?;
    for path in files(folder)? {
        rustix::fs::fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// All regular files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    Ok(files)
}

/// What a process has had the disk read for it so far, in bytes. 0 where the kernel does not tell.
pub fn fetched(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/vda / ext4 rw,discard 0 0\ntmpfs /tmp/a tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/ab/c")), "ext4 (rw,discard)");
        assert_eq!(file_system(mounts, Path::new("/tmp/a/c")), "tmpfs (rw)");
        assert_eq!(file_system("", Path::new("/")), "an unknown file system");
    }
}
