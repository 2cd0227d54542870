//! The rules for devices where there is version 2: there is no controller for that, but a program of BPF that the kernel asks
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`, bpf(2); cgroup-v2.rst, "Device controller").
//!
//! Of each access that is asked for the last rule that has it and fits the device decides. Version 1, where rules that overlap leave one another alone, lets the same or more pass.

#![expect(unsafe_code, reason = "bpf(2)")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::devices::{MAKE, READ, Rules, WRITE};

impl Rules {
    /// As a program of BPF: looks at the rules from the last to the first, and takes each access out of what is asked for as it is allowed.
    fn program(&self) -> Vec<Instruction> {
        let mut program = vec![
            // Type and access share a word of the context, behind them are the numbers.
            Instruction::load(TYPE, 0),
            Instruction::new(AND, TYPE, 0, 0xffff),
            Instruction::load(ASKED, 0),
            Instruction::new(SHIFT, ASKED, 0, 16),
            Instruction::load(MAJOR, 4),
            Instruction::load(MINOR, 8),
        ];
        for rule in self.rules.iter().rev() {
            let mut block = vec![Instruction::new(IF_NOT, TYPE, 0, rule.kind)];
            block.extend(rule.major.map(|major| Instruction::new(IF_NOT, MAJOR, 0, major)));
            block.extend(rule.minor.map(|minor| Instruction::new(IF_NOT, MINOR, 0, minor)));
            if rule.allow {
                block.push(Instruction::new(AND, ASKED, 0, !rule.access & (MAKE | READ | WRITE)));
                block.push(Instruction::new(IF_NOT, ASKED, 0, 0));
            } else {
                block.push(Instruction { code: COPY, registers: SCRATCH | ASKED << 4, offset: 0, value: 0 });
                block.push(Instruction::new(AND, SCRATCH, 0, rule.access));
                block.push(Instruction::new(IF, SCRATCH, 0, 0));
            }
            let len = block.len() + 2;
            for (index, instruction) in block.iter_mut().enumerate() {
                if matches!(instruction.code, IF | IF_NOT) {
                    instruction.offset = i16::try_from(len - index - 1).unwrap_or(i16::MAX);
                }
            }
            program.extend(block);
            program.extend(Instruction::answer(rule.allow));
        }
        program.extend(Instruction::answer(self.allow));
        program
    }

    /// Has the kernel ask these rules for a cgroup, and no others that were there before.
    ///
    /// # Errors
    ///
    /// Those of bpf(2).
    pub(super) fn attach(&self, folder: BorrowedFd<'_>) -> io::Result<()> {
        let program = load(&self.program())?;
        let before = attached(folder)?;
        let mut attributes = Attributes::default();
        attributes.set(0, folder.as_raw_fd().cast_unsigned());
        attributes.set(4, program.as_raw_fd().cast_unsigned());
        attributes.set(8, ATTACH_TYPE);
        attributes.set(12, ALLOW_MULTI);
        attributes.call(PROG_ATTACH)?;
        for id in before {
            let mut attributes = Attributes::default();
            attributes.set(0, id);
            // One that has gone by now needs no going.
            let Ok(old) = attributes.call(PROG_GET_FD_BY_ID).and_then(descriptor) else { continue };
            let mut attributes = Attributes::default();
            attributes.set(0, folder.as_raw_fd().cast_unsigned());
            attributes.set(4, old.as_fd().as_raw_fd().cast_unsigned());
            attributes.set(8, ATTACH_TYPE);
            attributes.call(PROG_DETACH)?;
        }
        Ok(())
    }
}

// Registers. The first one holds the context at the beginning, and is free once everything is read of it.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const SCRATCH: u8 = 1;
const TYPE: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Instructions, see the kernel's bpf/standardization/instruction-set.rst.
const LOAD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT: u8 = 0x74;
const COPY: u8 = 0xbc;
const SET: u8 = 0xb7;
const IF: u8 = 0x15;
const IF_NOT: u8 = 0x55;
const EXIT: u8 = 0x95;

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

impl Instruction {
    const fn new(code: u8, register: u8, offset: i16, value: i32) -> Self {
        Self { code, registers: register, offset, value }
    }

    const fn load(register: u8, offset: i16) -> Self {
        Self { code: LOAD, registers: register | CONTEXT << 4, offset, value: 0 }
    }

    const fn answer(allow: bool) -> [Self; 2] {
        [Self::new(SET, RESULT, 0, allow as i32), Self::new(EXIT, 0, 0, 0)]
    }
}

const PROG_LOAD: i64 = 5;
const PROG_ATTACH: i64 = 8;
const PROG_DETACH: i64 = 9;
const PROG_GET_FD_BY_ID: i64 = 13;
const PROG_QUERY: i64 = 16;

const PROGRAM_TYPE: u32 = 15;
const ATTACH_TYPE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
/// As many programs as the kernel attaches to one cgroup.
const MOST: usize = 64;

/// `union bpf_attr`, as far as it is used here.
#[repr(C, align(8))]
#[derive(Default)]
struct Attributes([u32; 18]);

impl Attributes {
    fn set(&mut self, offset: usize, value: u32) {
        self.0[offset / 4] = value;
    }

    fn set_address(&mut self, offset: usize, address: u64) {
        self.0[offset / 4] = address as u32;
        self.0[offset / 4 + 1] = (address >> 32) as u32;
    }

    fn call(&mut self, command: i64) -> io::Result<i64> {
        // SAFETY: the attributes are of the length that is said; the addresses in them, where the command has such, are of memory that its caller borrows meanwhile.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), size_of::<Self>()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }
}

fn descriptor(number: i64) -> io::Result<OwnedFd> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    // SAFETY: a descriptor that the kernel has just made for this process, which nobody else knows. BPF's are closed on execution.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attributes = Attributes::default();
    attributes.set(0, PROGRAM_TYPE);
    attributes.set(4, u32::try_from(program.len()).map_err(io::Error::other)?);
    attributes.set_address(8, program.as_ptr() as u64);
    attributes.set_address(16, c"Apache-2.0".as_ptr() as u64);
    attributes.call(PROG_LOAD).and_then(descriptor)
}

/// The programs of a cgroup itself, by their numbers.
fn attached(folder: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST];
    let mut attributes = Attributes::default();
    attributes.set(0, folder.as_raw_fd().cast_unsigned());
    attributes.set(4, ATTACH_TYPE);
    attributes.set_address(16, ids.as_mut_ptr() as u64);
    attributes.set(24, u32::try_from(MOST).unwrap_or_default());
    attributes.call(PROG_QUERY)?;
    ids.truncate(attributes.0[6] as usize);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxDeviceCgroup;
    use serde_json::json;

    use super::super::devices::{BLOCK, CHARACTER};
    use super::*;

    fn rules(given: &serde_json::Value) -> Rules {
        let given: Vec<LinuxDeviceCgroup> = serde_json::from_value(given.clone()).expect("rules");
        Rules::of(&given)
    }

    /// What the kernel would make of it.
    fn ask(rules: &Rules, kind: i32, major: i32, minor: i32, access: i32) -> bool {
        let program = rules.program();
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_i32; 6];
        let mut next = 0;
        loop {
            let Instruction { code, registers: both, offset, value } = program[next];
            let (target, source) = ((both & 15) as usize, (both >> 4) as usize);
            next += 1;
            match code {
                LOAD => registers[target] = context[offset as usize / 4],
                AND => registers[target] &= value,
                SHIFT => registers[target] >>= value,
                COPY => registers[target] = registers[source],
                SET => registers[target] = value,
                IF if registers[target] == value => next += offset as usize,
                IF_NOT if registers[target] != value => next += offset as usize,
                IF | IF_NOT => {}
                _ => return registers[0] != 0,
            }
        }
    }

    #[test]
    fn without_rules_there_are_the_standard_devices() {
        let none = rules(&json!([{ "allow": false, "access": "rwm" }]));
        assert!(ask(&none, CHARACTER, 1, 3, READ | WRITE | MAKE));
        assert!(ask(&none, CHARACTER, 136, 77, READ | WRITE));
        assert!(ask(&none, BLOCK, 8, 0, MAKE), "a node may be made");
        for access in [READ, WRITE, READ | MAKE] {
            assert!(!ask(&none, BLOCK, 8, 0, access), "and not be used");
        }
        assert!(!ask(&none, CHARACTER, 10, 229, READ));
    }

    #[test]
    fn of_each_access_the_last_rule_decides() {
        let given = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "access": "rw" },
            { "allow": false, "type": "c", "major": 10, "minor": 229, "access": "w" },
            { "allow": true, "type": "b", "major": 8, "minor": 1, "access": "r" },
        ]);
        let some = rules(&given);
        assert!(ask(&some, CHARACTER, 10, 1, READ | WRITE));
        assert!(ask(&some, CHARACTER, 10, 229, READ));
        assert!(!ask(&some, CHARACTER, 10, 229, WRITE));
        assert!(!ask(&some, CHARACTER, 10, 229, READ | WRITE), "all that is asked for has to be allowed");
        assert!(ask(&some, BLOCK, 8, 1, READ | MAKE), "by two rules together");
        assert!(!ask(&some, BLOCK, 8, 2, READ));
    }

    #[test]
    fn a_rule_for_all_devices_begins_anew() {
        let all = rules(&json!([
            { "allow": false, "type": "c", "major": 10, "access": "r" },
            { "allow": true, "type": "a" },
            { "allow": false, "type": "b", "major": 8, "access": "w" },
            { "allow": false, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        ]));
        assert!(ask(&all, CHARACTER, 10, 229, READ | WRITE));
        assert!(!ask(&all, BLOCK, 8, 0, WRITE));
        assert!(ask(&all, BLOCK, 8, 0, READ));
        assert!(ask(&all, CHARACTER, 1, 3, READ), "nobody can forbid /dev/null");
    }

    #[test]
    fn the_kernel_takes_the_program() {
        let given = json!([{ "allow": false, "access": "rwm" }, { "allow": false, "type": "c", "major": 10, "minor": -1, "access": "w" }]);
        match load(&rules(&given).program()) {
            Ok(_) => {}
            Err(error) => crate::announce_skip(&format!("bpf: {error}")),
        }
    }
}
