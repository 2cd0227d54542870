//! The bytes of a module before the engine sees them: which file they come from, whether they are WebAssembly at
//! all, and the few facts that the engine does not tell (declared memory, names of functions).
//!
//! Invariants: only a regular file that starts with `\0asm` and the core version ever reaches the engine, which
//! would `dlopen` an ELF, constructors and all; never more than the permitted size is read. The file is the
//! container's, and may change at any time: a [`Source`] says what was read, and [`Source::reread`] refuses another.

#![expect(unsafe_code, reason = "an entry of the cache is mapped, not read")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use executor_abi::request::{Aot, FileIdentity, Module};
use memmap2::{Mmap, MmapOptions};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use wasmparser::{KnownCustom, Name, Parser, Payload};

use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 4] = b"\0asm";
/// Version and layer of a core module.
const CORE: &[u8; 4] = &[1, 0, 0, 0];
/// Layer of a component, whatever its version.
const COMPONENT_LAYER: u8 = 1;
/// Longest name of a function that is shown.
const NAME_SHOWN: usize = 256;

/// A module's file, as it was when it was first opened.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: String,
    max_size: u64,
    identity: FileIdentity,
}

impl Source {
    /// Opens a module and looks at what it is; reads no more than its first bytes.
    pub(crate) fn open(module: &Module) -> Result<(Self, File)> {
        let (file, identity) = open(&module.path)?;
        let source = Self { path: module.path.clone(), max_size: module.max_size, identity };
        if identity.size > source.max_size {
            let message =
                format!("module {}: {} bytes, the limit is {}", source.path, identity.size, source.max_size);
            return Err(Error::new(ErrorKind::Module, message));
        }
        let mut head = [0; 8];
        let read = file.read_at(&mut head, 0).map_err(|error| source.unreadable(error))?;
        check_head(&head[..read]).map_err(|reason| source.refused(reason))?;
        Ok((source, file))
    }

    /// Path of the module as the container sees it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether this is the file that `identity` was taken from.
    pub(crate) fn is(&self, identity: &FileIdentity) -> bool {
        self.identity == *identity
    }

    /// Reads the whole file. One that grew since is cut at the permitted size, and refused by the engine.
    pub(crate) fn read(&self, file: File) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.identity.size).unwrap_or(0));
        file.take(self.max_size).read_to_end(&mut bytes).map_err(|error| self.unreadable(error))?;
        check_head(&bytes).map_err(|reason| self.refused(reason))?;
        Ok(bytes)
    }

    /// The bytes once more, if the file is still the one that was opened first.
    pub(crate) fn reread(&self) -> Option<Vec<u8>> {
        let (file, identity) = open(&self.path).ok()?;
        if identity != self.identity {
            return None;
        }
        self.read(file).ok()
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        Error::with(ErrorKind::Module, format!("module {}: read", self.path), error)
    }

    fn refused(&self, reason: &str) -> Error {
        Error::new(ErrorKind::Module, format!("module {}: {reason}", self.path))
    }
}

fn open(path: &str) -> Result<(File, FileIdentity)> {
    // Non-blocking, so that a FIFO in the module's place is refused and not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let failed = |call: &str, error: rustix::io::Errno| {
        Error::with(ErrorKind::Module, format!("module {path}: {call}"), std::io::Error::from(error))
    };
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed("open", error))?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| failed("stat", error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(ErrorKind::Module, format!("module {path}: not a regular file")));
    }
    Ok((File::from(fd), identity(&stat)))
}

fn identity(stat: &Stat) -> FileIdentity {
    let nanoseconds = |seconds: i64, rest: u64| {
        let rest = i64::try_from(rest).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(rest)
    };
    FileIdentity {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Says why bytes that start like this are no module, if they are none.
pub(crate) fn check_head(head: &[u8]) -> std::result::Result<(), &'static str> {
    let Some((magic, rest)) = head.split_at_checked(4) else {
        return Err("not a WebAssembly module: shorter than its magic number");
    };
    if magic != MAGIC {
        return Err(match magic {
            b"\x7fELF" => "an ELF file, not a WebAssembly module",
            [b'#', b'!', ..] => "a script, not a WebAssembly module",
            _ => "not a WebAssembly module: it does not start with \\0asm",
        });
    }
    match rest {
        [_, _, COMPONENT_LAYER, 0, ..] => Err("a component; only core modules of WebAssembly can run"),
        [a, b, c, d, ..] if [*a, *b, *c, *d] == *CORE => Ok(()),
        [_, _, _, _, ..] => Err("unknown version of WebAssembly"),
        _ => Err("cut off after its magic number"),
    }
}

/// Maps ahead-of-time code from the cache entry that the runtime opened, and closes the entry. It is the size of many modules, and read
/// once, by the engine, which keeps a copy.
///
/// # Errors
/// When the entry does not have the bytes. The caller runs the module without it.
pub(crate) fn map_aot(aot: &Aot, entry: OwnedFd) -> Result<Mmap> {
    let failed = |error: std::io::Error| Error::with(ErrorKind::System, "map ahead-of-time code", error);
    let size = usize::try_from(aot.len).map_err(|_| failed(std::io::ErrorKind::FileTooLarge.into()))?;
    let entry = File::from(entry);
    let available = entry.metadata().map_err(failed)?.len();
    if aot.offset.checked_add(aot.len).is_none_or(|end| end > available) {
        return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let mut options = MmapOptions::new();
    options.offset(aot.offset).len(size).populate();
    // SAFETY: nobody changes an entry of the cache after its rename: its owner, who could as well change the code, or this library,
    // removes and replaces it. Not even they could do more to a mapping that is read only than a program's file can have done to it.
    let bytes = unsafe { options.map_copy_read_only(&entry) }.map_err(failed)?;
    check_head(&bytes)
        .map_err(|reason| Error::new(ErrorKind::Module, format!("ahead-of-time code: {reason}")))?;
    Ok(bytes)
}

/// Name of the custom section in which [`crate::compile()`] says how it compiled.
pub(crate) const MARK: &str = "rr-runtime.aot";

/// What the engine does not tell of a module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Declared minimum of the linear memory in pages, 0 without one.
    pub(crate) min_pages: u64,
    /// Contents of the custom section [`MARK`].
    pub(crate) mark: Option<Vec<u8>>,
}

impl Outline {
    /// Reads the outline of a module that the engine has validated. Stops at what it cannot read.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload {
                Ok(Payload::MemorySection(section)) => {
                    let minimum = section.into_iter().flatten().map(|memory| memory.initial).max();
                    outline.min_pages = minimum.unwrap_or(0);
                }
                Ok(Payload::CustomSection(section)) if section.name() == MARK => {
                    outline.mark = Some(section.data().to_vec());
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        outline
    }
}

/// Where in a module something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the function with this index.
    Function(u32),
    /// At this offset in the file.
    Offset(u64),
}

/// A function of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its index, imports first.
    pub(crate) index: u32,
    /// Its name from the name section, where there is one.
    pub(crate) name: Option<String>,
}

/// Finds the function at `place`, and its name. `None` when no function is there, or the bytes cannot be read.
pub(crate) fn locate(bytes: &[u8], place: Place) -> Option<Function> {
    let mut imported = 0;
    let mut bodies = 0;
    let mut found = match place {
        Place::Function(index) => Some(index),
        Place::Offset(_) => None,
    };
    let mut names = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ImportSection(section)) => imported = imported_functions(section),
            Ok(Payload::CodeSectionEntry(body)) => {
                let range = body.range();
                let here = |offset| (range.start..range.end).contains(&offset);
                if matches!(place, Place::Offset(offset) if here(offset)) {
                    found = Some(imported + bodies);
                }
                bodies += 1;
            }
            Ok(Payload::CustomSection(section)) => {
                if let KnownCustom::Name(reader) = section.as_known() {
                    names = Some(reader);
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let index = found?;
    let name = names.and_then(|names| name_of(names, index));
    Some(Function { index, name })
}

fn imported_functions(section: wasmparser::ImportSectionReader<'_>) -> u32 {
    let functions = section.into_imports().flatten().filter(|import| {
        matches!(import.ty, wasmparser::TypeRef::Func(_) | wasmparser::TypeRef::FuncExact(_))
    });
    u32::try_from(functions.count()).unwrap_or(u32::MAX)
}

fn name_of(names: wasmparser::NameSectionReader<'_>, index: u32) -> Option<String> {
    for subsection in names {
        let Ok(Name::Function(functions)) = subsection else { continue };
        for naming in functions {
            let Ok(naming) = naming else { break };
            if naming.index == index {
                return Some(printable(naming.name));
            }
        }
    }
    None
}

/// A module's own words on one line of ours: no control characters, bounded.
pub(crate) fn printable(text: &str) -> String {
    let mut line: String =
        text.chars().take(NAME_SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(NAME_SHOWN).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wat(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("the test's own module")
    }

    #[test]
    fn only_core_modules_pass() {
        assert_eq!(check_head(&wat("(module)")), Ok(()));
        for (head, part) in [
            (&b""[..], "shorter"),
            (b"\0as", "shorter"),
            (b"\0asm", "cut off"),
            (b"\0asm\x01\0\0", "cut off"),
            (b"\0asm\x02\0\0\0", "unknown version"),
            (b"\0asm\x0d\0\x01\0", "a component"),
            (b"\x7fELF\x02\x01\x01\0", "ELF"),
            (b"#!/bin/sh\n", "a script"),
            (b"hello wo", "does not start"),
        ] {
            let reason = check_head(head).expect_err("must be refused");
            assert!(reason.contains(part), "{head:?}: {reason}");
        }
    }

    #[test]
    fn an_outline_has_the_declared_minimum_and_the_mark() {
        let module = wat(r#"(module (memory 7 9) (@custom "rr-runtime.aot" "fuel"))"#);
        let outline = Outline::of(&module);
        assert_eq!(outline, Outline { min_pages: 7, mark: Some(b"fuel".to_vec()) });
        assert_eq!(Outline::of(&wat("(module)")), Outline::default());
    }

    #[test]
    fn functions_are_found_by_index_and_by_offset() {
        let module = wat(
            r#"(module (import "m" "f" (func $imported)) (func $first nop) (func $second unreachable) (func nop))"#,
        );
        let second = Function { index: 2, name: Some("second".to_owned()) };
        assert_eq!(locate(&module, Place::Function(2)), Some(second.clone()));
        let body = [0x00, 0x00, 0x0b]; // no locals, unreachable, end
        let at = module.windows(3).rposition(|window| window == body).expect("the body is there") + 1;
        assert_eq!(locate(&module, Place::Offset(at as u64)), Some(second));
        assert_eq!(locate(&module, Place::Offset(1)), None);
        assert_eq!(
            locate(&module, Place::Function(0)),
            Some(Function { index: 0, name: Some("imported".to_owned()) })
        );
        assert_eq!(locate(&module, Place::Function(3)), Some(Function { index: 3, name: None }));
    }

    #[test]
    fn damaged_modules_are_located_without_a_panic() {
        let module = wat("(module (memory 1) (func $a unreachable) (func $b nop))");
        for cut in 0..module.len() {
            let _ = Outline::of(&module[..cut]);
            let _ = locate(&module[..cut], Place::Offset(40));
        }
    }

    #[test]
    fn names_are_made_printable() {
        assert_eq!(printable("a\nb\x1b[31m"), "a?b?[31m");
        assert_eq!(printable(&"x".repeat(300)).chars().count(), NAME_SHOWN + 1);
    }
}
