//! The machine code in a file of the engine's compiler.

use wasmparser::{BinaryReader, Parser, Payload};

/// Name of the custom section that the engine's compiler writes.
const SECTION: &str = "wasmedge";
/// Kind of a part that is machine code.
const TEXT: u8 = 1;

/// In how many places there is machine code in a compiled module: beside that of the module's functions there is some of the linker's (`.plt`) if a
/// function that lies elsewhere is called. Nothing where the section is not as the engine's `lib/llvm/codegen.cpp` writes it.
pub(crate) fn parts(compiled: &[u8]) -> Option<usize> {
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
    let mut parts = 0;
    for _ in 0..reader.read_var_u32().ok()? {
        let kind = reader.read_u8().ok()?;
        // Address, size, contents.
        reader.read_var_u64().ok()?;
        reader.read_var_u64().ok()?;
        let len = usize::try_from(reader.read_var_u32().ok()?).ok()?;
        reader.read_bytes(len).ok()?;
        parts += usize::from(kind == TEXT);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_was_not_compiled_has_none() {
        assert_eq!(parts(b"\0asm\x01\0\0\0"), None);
    }
}
