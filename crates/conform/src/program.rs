//! Programs for actions, made here: static x86-64 ELF files of a few hundred bytes, which need nothing of the machine that
//! they run on but its kernel. So a server is asked about execution without a toolchain, a shell, or a compiler at our side.
//!
//! A program is a straight line of system calls. Each leaves its result in a register, which the next may use.

const BASE: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;
/// Room on the stack for what is read.
const BUFFER: u64 = 64 * 1024;

/// An argument of a system call.
#[derive(Clone, Debug)]
enum Arg {
    Number(u64),
    /// The address of these bytes.
    Bytes(Vec<u8>),
    /// The address of the buffer.
    Buffer,
    /// What the last system call gave.
    Last,
}

use Arg::{Buffer, Bytes, Last, Number};

/// A program under construction. It ends with exit code 0 where nothing else is said.
#[derive(Clone, Debug)]
pub struct Program {
    code: Vec<u8>,
    data: Vec<u8>,
    /// Where in the code which offset of the data is meant.
    addresses: Vec<(usize, usize)>,
}

fn path(text: &str) -> Arg {
    Bytes([text.as_bytes(), b"\0"].concat())
}

impl Default for Program {
    fn default() -> Self {
        Self::new()
    }
}

impl Program {
    /// One that does nothing.
    #[must_use]
    pub fn new() -> Self {
        let mut program = Self { code: Vec::new(), data: Vec::new(), addresses: Vec::new() };
        // mov rbx, rsp (argc, argv and the environment are there); sub rsp, BUFFER
        program.code.extend([0x48, 0x89, 0xE3, 0x48, 0x81, 0xEC]);
        program.code.extend((BUFFER as u32).to_le_bytes());
        program
    }

    /// `number` in rax, arguments in rdi, rsi, rdx, r10; the result goes to r12.
    fn call(&mut self, number: u64, arguments: &[Arg]) {
        // REX prefix and register number.
        const REGISTERS: [(u8, u8); 4] = [(0x48, 7), (0x48, 6), (0x48, 2), (0x49, 2)];
        for (argument, (rex, register)) in arguments.iter().zip(REGISTERS) {
            match argument {
                Number(value) => self.load(rex, register, *value),
                Bytes(bytes) => {
                    self.addresses.push((self.code.len() + 2, self.data.len()));
                    self.data.extend(bytes);
                    self.load(rex, register, 0);
                }
                // mov register, rsp; of a register above r7 the prefix bit is B.
                Buffer => self.code.extend([rex, 0x89, 0xC0 | 4 << 3 | register]),
                // mov register, r12
                Last => self.code.extend([rex | 4, 0x89, 0xC0 | 4 << 3 | register]),
            }
        }
        self.load(0x48, 0, number);
        // syscall; mov r12, rax
        self.code.extend([0x0F, 0x05, 0x49, 0x89, 0xC4]);
    }

    /// mov register, value
    fn load(&mut self, rex: u8, register: u8, value: u64) {
        self.code.extend([rex, 0xB8 | register]);
        self.code.extend(value.to_le_bytes());
    }

    /// `jump` (its first bytes), over what `inside` writes.
    fn over(&mut self, jump: &[u8], inside: impl FnOnce(&mut Self)) {
        self.code.extend(jump);
        let at = self.code.len();
        self.code.extend([0; 4]);
        inside(self);
        let distance = (self.code.len() - at - 4) as u32;
        self.code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    fn write(&mut self, descriptor: u64, bytes: &[u8]) {
        self.call(1, &[Number(descriptor), Bytes(bytes.to_vec()), Number(bytes.len() as u64)]);
    }

    /// Says it on stdout.
    #[must_use]
    pub fn say(mut self, text: &str) -> Self {
        self.write(1, text.as_bytes());
        self
    }

    /// Says it on stderr.
    #[must_use]
    pub fn complain(mut self, text: &str) -> Self {
        self.write(2, text.as_bytes());
        self
    }

    /// Says it on stdout many times.
    #[must_use]
    pub fn say_often(mut self, times: u32, text: &[u8]) -> Self {
        // mov r15, times
        self.code.extend([0x49, 0xBF]);
        self.code.extend(u64::from(times).to_le_bytes());
        let start = self.code.len();
        self.write(1, text);
        // dec r15; jnz start
        self.code.extend([0x49, 0xFF, 0xCF, 0x0F, 0x85]);
        let back = start as i64 - (self.code.len() as i64 + 4);
        self.code.extend((back as i32).to_le_bytes());
        self
    }

    /// Writes a file; `mode` is 0o644 or 0o755.
    #[must_use]
    pub fn file(mut self, name: &str, content: &str, mode: u64) -> Self {
        const WRITE_CREATE_TRUNCATE: u64 = 0o1 | 0o100 | 0o1000;
        self.call(2, &[path(name), Number(WRITE_CREATE_TRUNCATE), Number(mode)]);
        self.call(1, &[Last, Bytes(content.as_bytes().to_vec()), Number(content.len() as u64)]);
        self
    }

    /// Makes a directory.
    #[must_use]
    pub fn directory(mut self, name: &str) -> Self {
        self.call(83, &[path(name), Number(0o755)]);
        self
    }

    /// Makes a symlink.
    #[must_use]
    pub fn symlink(mut self, name: &str, target: &str) -> Self {
        self.call(88, &[path(target), path(name)]);
        self
    }

    /// Gives a file these permissions.
    #[must_use]
    pub fn chmod(mut self, name: &str, mode: u64) -> Self {
        self.call(90, &[path(name), Number(mode)]);
        self
    }

    /// Says what is in a file, up to 64 KiB.
    #[must_use]
    pub fn cat(mut self, name: &str) -> Self {
        self.call(2, &[path(name), Number(0), Number(0)]);
        self.call(0, &[Last, Buffer, Number(BUFFER)]);
        self.call(1, &[Number(1), Buffer, Last]);
        self
    }

    /// Says where a symlink points.
    #[must_use]
    pub fn readlink(mut self, name: &str) -> Self {
        self.call(89, &[path(name), Buffer, Number(BUFFER)]);
        self.call(1, &[Number(1), Buffer, Last]);
        self
    }

    /// Says where it stands, and a NUL.
    #[must_use]
    pub fn working_directory(mut self) -> Self {
        self.call(79, &[Buffer, Number(BUFFER)]);
        self.call(1, &[Number(1), Buffer, Last]);
        self
    }

    /// Says 16 bytes by chance: who says the same has not run again.
    #[must_use]
    pub fn chance(mut self) -> Self {
        self.call(318, &[Buffer, Number(16), Number(0)]);
        self.call(1, &[Number(1), Buffer, Number(16)]);
        self
    }

    /// Says what comes from stdin.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.call(0, &[Number(0), Buffer, Number(BUFFER)]);
        self.call(1, &[Number(1), Buffer, Last]);
        self
    }

    /// Says `y` where the file may be read (4), written (2), executed (1), or is there (0); `n` where not.
    #[must_use]
    pub fn may(mut self, name: &str, access: u64) -> Self {
        self.call(21, &[path(name), Number(access)]);
        self.yes_or_no();
        self
    }

    /// Says `y` where the last system call worked, else `n`.
    fn yes_or_no(&mut self) {
        // test r12, r12; js over "y"
        self.code.extend([0x4D, 0x85, 0xE4]);
        self.over(&[0x0F, 0x88], |program| {
            program.write(1, b"y");
            // jmp over "n"
            program.code.push(0xE9);
            let length = program.clone().length_of_no();
            program.code.extend((length as u32).to_le_bytes());
        });
        self.write(1, b"n");
    }

    fn length_of_no(mut self) -> usize {
        let before = self.code.len();
        self.write(1, b"n");
        self.code.len() - before
    }

    /// Sleeps.
    #[must_use]
    pub fn sleep(mut self, milliseconds: u64) -> Self {
        self.nap(milliseconds);
        self
    }

    fn nap(&mut self, milliseconds: u64) {
        let (seconds, nanoseconds) = (milliseconds / 1000, milliseconds % 1000 * 1_000_000);
        let time = [seconds.to_le_bytes(), nanoseconds.to_le_bytes()].concat();
        self.call(35, &[Bytes(time), Number(0)]);
    }

    /// Leaves a child behind, which sleeps and holds stdout.
    #[must_use]
    pub fn leave_behind(mut self, milliseconds: u64) -> Self {
        self.call(57, &[]);
        // test r12, r12; jnz over what the child does
        self.code.extend([0x4D, 0x85, 0xE4]);
        self.over(&[0x0F, 0x85], |program| {
            program.nap(milliseconds);
            program.call(231, &[Number(0)]);
        });
        self
    }

    /// Says its arguments, one a line.
    #[must_use]
    pub fn arguments(mut self) -> Self {
        // lea r13, [rbx + 8]
        self.code.extend([0x4C, 0x8D, 0x6B, 0x08]);
        self.each_line();
        self
    }

    /// Says its environment, one variable a line.
    #[must_use]
    pub fn environment(mut self) -> Self {
        // mov r13, [rbx]; lea r13, [rbx + r13 * 8 + 16]
        self.code.extend([0x4C, 0x8B, 0x2B, 0x4E, 0x8D, 0x6C, 0xEB, 0x10]);
        self.each_line();
        self
    }

    /// Says each text of the array at r13.
    fn each_line(&mut self) {
        let start = self.code.len();
        // mov rsi, [r13]; test rsi, rsi; jz end
        self.code.extend([0x49, 0x8B, 0x75, 0x00, 0x48, 0x85, 0xF6]);
        self.over(&[0x0F, 0x84], |program| {
            // xor edx, edx; until the byte at rsi + rdx is zero, inc rdx
            program.code.extend([0x31, 0xD2]);
            program.code.extend([0x80, 0x3C, 0x16, 0x00, 0x74, 0x05, 0x48, 0xFF, 0xC2, 0xEB, 0xF5]);
            // mov edi, 1; mov eax, 1; syscall
            program.code.extend([0xBF, 1, 0, 0, 0, 0xB8, 1, 0, 0, 0, 0x0F, 0x05]);
            program.write(1, b"\n");
            // add r13, 8; jmp start
            program.code.extend([0x49, 0x83, 0xC5, 0x08, 0xE9]);
            let back = start as i64 - (program.code.len() as i64 + 4);
            program.code.extend((back as i32).to_le_bytes());
        });
    }

    /// Sends itself a signal.
    #[must_use]
    pub fn signal(mut self, signal: u64) -> Self {
        self.call(39, &[]);
        self.call(62, &[Last, Number(signal)]);
        self
    }

    /// Ends with this code.
    #[must_use]
    pub fn exit(mut self, code: u64) -> Self {
        self.call(231, &[Number(code)]);
        self
    }

    /// The file.
    #[must_use]
    pub fn elf(&self) -> Vec<u8> {
        let mut all = self.clone().exit(0);
        let data = BASE + (HEADERS + all.code.len()) as u64;
        for (at, offset) in &all.addresses {
            all.code[*at..at + 8].copy_from_slice(&(data + *offset as u64).to_le_bytes());
        }
        let length = (HEADERS + all.code.len() + all.data.len()) as u64;
        let mut file = Vec::with_capacity(HEADERS);
        // 64 bits, little-endian, version 1; ET_EXEC, EM_X86_64.
        file.extend(b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3E\0\x01\0\0\0");
        file.extend((BASE + HEADERS as u64).to_le_bytes());
        // The program header follows at 64; no section headers; no flags.
        file.extend([64_u64.to_le_bytes(), 0_u64.to_le_bytes()].concat());
        file.extend(0_u32.to_le_bytes());
        file.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
        // PT_LOAD, readable and executable: all of the file at BASE.
        file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
        file.extend([0, BASE, BASE, length, length, 0x1000].map(u64::to_le_bytes).concat());
        file.extend(all.code);
        file.extend(all.data);
        file
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    fn run(program: &Program, arguments: &[&str]) -> (tempfile::TempDir, Output) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, program.elf()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(&path);
        command.args(arguments).env_clear().env("A", "1").env("B", "").current_dir(directory.path());
        // Another test of this process may have been about to start a program while ours was open for writing.
        let output = loop {
            match command.output() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                output => break output.unwrap(),
            }
        };
        (directory, output)
    }

    fn said(program: &Program) -> String {
        String::from_utf8(run(program, &[]).1.stdout).unwrap()
    }

    #[test]
    fn it_says_and_ends_as_told() {
        let (_, output) = run(&Program::new().say("out").complain("err").exit(7), &[]);
        assert_eq!((output.stdout, output.stderr, output.status.code()), (b"out".into(), b"err".into(), Some(7)));
        assert!(run(&Program::new(), &[]).1.status.success());
        assert_eq!(said(&Program::new().say_often(3, b"ab")), "ababab");
        assert!(Program::new().elf().len() < 300);
    }

    #[test]
    fn arguments_and_environment_are_said() {
        let (_, output) = run(&Program::new().arguments().environment(), &["one", "", "two words"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, after_the_name) = text.split_once('\n').unwrap();
        assert_eq!(after_the_name, "one\n\ntwo words\nA=1\nB=\n");
    }

    #[test]
    fn files_are_made_and_read() {
        let program = Program::new().directory("d").file("d/f", "inside", 0o755).symlink("l", "d/f");
        let program = program.cat("l").readlink("l").may("d/f", 1).may("nothing", 0).cat("nothing").say(".");
        assert_eq!(said(&program), "insided/fyn.");
        let (directory, output) = run(&Program::new().working_directory(), &[]);
        let stands = String::from_utf8(output.stdout).unwrap();
        let here = directory.path().canonicalize().unwrap();
        assert_eq!(stands.trim_end_matches('\0'), here.to_str().unwrap());
    }

    #[test]
    fn chance_signals_and_children_do_what_they_say() {
        assert_ne!(run(&Program::new().chance(), &[]).1.stdout, run(&Program::new().chance(), &[]).1.stdout);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(run(&Program::new().signal(15), &[]).1.status.signal(), Some(15));
        // The child says nothing, and what it inherits keeps the pipe open until it has slept.
        assert_eq!(said(&Program::new().leave_behind(20).say("parent")), "parent");
        assert_eq!(said(&Program::new().echo()), "");
    }
}
