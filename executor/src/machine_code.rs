//! The machine code in a file of the engine's compiler: where it is, and a check in it that costs less.
//!
//! Code that another thread can stop looks, at the head of every loop and function, at a word in memory. The engine's compiler makes an atomic
//! exchange of that, which reads the word and clears it in one; on x86-64 it is a locked instruction that tight loops spend most of their time
//! in. Clearing is not needed here: whoever stops a call has its executor forget it afterwards (`watch`). So each `xchg r32, m32` becomes a
//! `mov r32, m32` with the same operands, which differs in one bit of the opcode. Code that the engine compiles contains no other exchange with
//! memory: modules with atomic instructions are not accepted.
//!
//! On other machines the code stays as it is.

use std::ops::Range;

use wasmparser::{BinaryReader, Parser, Payload};

/// Name of the custom section that the engine's compiler writes.
const SECTION: &str = "wasmedge";
/// Kind of a part that is machine code.
const TEXT: u8 = 1;

/// Where there is machine code in a compiled module: beside that of the module's functions there is some of the linker's (`.plt`) if a
/// function that lies elsewhere is called. Nothing where the section is not as the engine's `lib/llvm/codegen.cpp` writes it.
pub(crate) fn executable(compiled: &[u8]) -> Option<Vec<Range<usize>>> {
    let section = Parser::new(0).parse_all(compiled).find_map(|payload| match payload {
        Ok(Payload::CustomSection(section)) if section.name() == SECTION => Some(section),
        _ => None,
    })?;
    let mut reader = BinaryReader::new(section.data(), section.data_offset());
    // Version, system, machine, and the addresses of two tables.
    reader.read_var_u32().ok()?;
    reader.read_bytes(2).ok()?;
    reader.read_var_u64().ok()?;
    reader.read_var_u64().ok()?;
    // Of types and of functions, the addresses.
    for _ in 0..2 {
        for _ in 0..reader.read_var_u64().ok()? {
            reader.read_var_u64().ok()?;
        }
    }
    let mut executable = Vec::new();
    for _ in 0..reader.read_var_u32().ok()? {
        let kind = reader.read_u8().ok()?;
        // Address, size, contents.
        reader.read_var_u64().ok()?;
        reader.read_var_u64().ok()?;
        let len = usize::try_from(reader.read_var_u32().ok()?).ok()?;
        let start = usize::try_from(reader.original_position()).ok()?;
        reader.read_bytes(len).ok()?;
        if kind == TEXT {
            executable.push(start..start + len);
        }
    }
    Some(executable)
}

/// Makes the checks of code that can be stopped cheap, and gives their number: 0 where nothing was changed.
#[cfg(target_arch = "x86_64")]
pub(crate) fn relax_checks(compiled: &mut [u8]) -> usize {
    let places = executable(compiled).and_then(|code| {
        let places = code.into_iter().map(|range| {
            let places = exchanges(&compiled[range.clone()])?;
            Some(places.into_iter().map(move |at| range.start + at).collect::<Vec<_>>())
        });
        places.collect::<Option<Vec<_>>>()
    });
    let places: Vec<usize> = places.unwrap_or_default().into_iter().flatten().collect();
    for at in &places {
        compiled[*at] = MOV;
    }
    places.len()
}

/// See the module.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn relax_checks(_: &mut [u8]) -> usize {
    0
}

/// `XCHG r/m32, r32` (Intel's manual, volume 2).
#[cfg(target_arch = "x86_64")]
const XCHG: u8 = 0x87;
/// `MOV r32, r/m32`.
#[cfg(target_arch = "x86_64")]
const MOV: u8 = 0x8b;

/// Offsets of the opcodes of all exchanges with memory. Nothing if not all of it is code.
#[cfg(target_arch = "x86_64")]
fn exchanges(code: &[u8]) -> Option<Vec<usize>> {
    use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind};
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut places = Vec::new();
    while decoder.can_decode() {
        let start = decoder.position();
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        let exchanges = instruction.code() == Code::Xchg_rm32_r32 && instruction.op0_kind() == OpKind::Memory;
        if exchanges {
            // At most one prefix comes before it, of a register above the eighth.
            let opcode = start + usize::from(code[start] != XCHG);
            if code.get(opcode) != Some(&XCHG) {
                return None;
            }
            places.push(opcode);
        }
    }
    Some(places)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn exchanges_with_memory_are_found_whatever_their_registers() {
        let code = [
            &[0x41, 0x87, 0x45, 0x00][..],   // xchg [r13], eax
            &[0x87, 0x11],                   // xchg [rcx], edx
            &[0x44, 0x87, 0x01],             // xchg [rcx], r8d
            &[0x66, 0x90],                   // a long nop
            &[0x87, 0xca],                   // xchg edx, ecx: no memory
            &[0xb8, 0x87, 0x87, 0x87, 0x87], // mov eax, 0x87878787
            &[0x85, 0xc0],                   // test eax, eax
        ];
        assert_eq!(exchanges(&code.concat()), Some(vec![1, 4, 7]));
    }

    #[test]
    fn what_is_not_code_is_left_alone() {
        assert_eq!(exchanges(&[0x87, 0x11, 0x06]), None);
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        assert_eq!(relax_checks(&mut module), 0);
        assert_eq!(module, b"\0asm\x01\0\0\0");
    }
}
