//! A root that has a cgroup: everything it runs is in there, and sees nothing of it.
use lre_kernel::{World, worlds};
use lre_sandbox::cgroup::SlotCgroup;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// What is given to a server: a cgroup of the world's user, and the launcher in it, as systemd leaves it.
struct Given(PathBuf);

impl Given {
    /// None where this user cannot make one, for whatever reason: the rule of all kernel tests does not hold
    /// here, because not even every root can (in a container, say), and nothing needs it.
    fn to(world: &World) -> Option<Self> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let mount = mounts.into_iter().find(|mount| mount.join("cgroup.controllers").exists())?;
        let place = mount.join(format!("lre-kernel-{}-{:?}", std::process::id(), world.who));
        if let Err(error) = fs::create_dir(&place) {
            eprintln!("\n*** NOT TESTED: no cgroup can be made in {}: {error}\n", mount.display());
            return None;
        }
        let given = Self(place);
        let server = given.0.join("server");
        fs::create_dir(&server).expect("a cgroup below");
        fs::write(server.join("cgroup.procs"), world.launcher().to_string()).expect("the launcher moves");
        given.give(world, &given.0);
        Some(given)
    }

    /// Makes the world's user the owner, as the server that makes its cgroups is.
    fn give(&self, world: &World, cgroup: &Path) {
        let owner = fs::metadata(world.folder("owner")).expect("a folder").uid();
        for path in [cgroup, &cgroup.join("cgroup.procs")] {
            chown(path, Some(owner), None).expect("given away");
        }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for path in [self.0.join("server"), self.0.clone()] {
            lre_kernel::until("its cgroup is empty", || fs::remove_dir(&path).is_ok());
        }
    }
}

#[test]
fn a_root_lives_in_its_cgroup_and_does_not_see_it() {
    for mut world in worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref()) {
        let Some(given) = Given::to(&world) else { return };
        let slot = SlotCgroup::make(&given.0, 7).expect("a cgroup of the slot");
        given.give(&world, slot.path());
        let mut plan = world.plan(&["sh", "-c", "cut -d: -f3 /proc/self/cgroup | sort -u; sleep 100"]);
        plan.root.cgroup = Some(CString::new(slot.path().as_os_str().as_bytes()).expect("no NUL"));
        let id = world.start(plan);
        let root = world.root_of(id);
        lre_kernel::until("the command has looked", || world.stdout(id).ends_with('\n'));
        assert_eq!(world.stdout(id), "/\n", "{:?}: nothing tells which slot it is", world.who);
        let members = fs::read_to_string(slot.path().join("cgroup.procs")).expect("readable");
        let members: Vec<_> = members.lines().collect();
        assert!(members.contains(&root.to_string().as_str()) && members.len() >= 3, "{members:?}");
        // As the kernel does it when the memory is used up.
        slot.kill().expect("cgroup.kill");
        let ended = world.wait(id).ended;
        assert_eq!(ended.how, lre_sandbox::How::Lost);
        lre_kernel::until("nobody is in it", || {
            fs::read_to_string(slot.path().join("cgroup.procs")).is_ok_and(|members| members.is_empty())
        });
        drop((slot, world));
        drop(given);
    }
}
