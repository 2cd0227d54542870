//! What a module may import and must export, checked before an instruction of it runs.
//!
//! Imports come from two modules: WASI preview 1 as the engine has it, and `guest_abi::MODULE`. Everything that is missing is named in
//! one error, so that an author needs one attempt.

use guest_abi::exports;

use crate::engine::{Ast, Extern, FuncType, Import, Instance, Val, ValType};
use crate::error::{Error, ErrorKind, Result};
use crate::host;
use crate::module::printable;
use crate::wasi;

/// Imports that are named in an error; the rest is counted.
const NAMED: usize = 20;

/// Functions of WASI's sockets that the engine has in two signatures, the second under a name of its own.
const SECOND_SIGNATURE: &str = "_v2";

/// What a module imports of the host's modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) wasi: bool,
    /// Of WASI: files and folders by their names.
    pub(crate) files: bool,
    /// Of WASI: sockets.
    pub(crate) sockets: bool,
    /// The guest contract.
    pub(crate) host: bool,
}

impl Uses {
    fn of(imports: &[Import]) -> Self {
        let from = |module| imports.iter().filter(move |import| import.module == module);
        let wasi = |prefix: &str| from(wasi::MODULE).any(|import| import.name.starts_with(prefix));
        Self {
            wasi: wasi(""),
            files: wasi("path_") || wasi("fd_readdir"),
            sockets: wasi("sock_"),
            host: from(guest_abi::MODULE).next().is_some(),
        }
    }
}

/// Checks every import of `ast` against `wasi` and the host's functions.
pub(crate) fn check_imports(path: &str, ast: &Ast, wasi: &Instance) -> Result<Uses> {
    let imports = ast.imports();
    let unknown: Vec<String> = imports.iter().filter_map(|import| complaint(import, wasi)).collect();
    if unknown.is_empty() {
        return Ok(Uses::of(&imports));
    }
    let mut list = unknown[..unknown.len().min(NAMED)].join(", ");
    if unknown.len() > NAMED {
        list.push_str(&format!(" and {} more", unknown.len() - NAMED));
    }
    let plural = if unknown.len() == 1 { "" } else { "s" };
    Err(Error::new(ErrorKind::Link, format!("module {path}: unknown import{plural} {list}")))
}

fn complaint(import: &Import, wasi: &Instance) -> Option<String> {
    let name = format!("{}.{}", printable(&import.module), printable(&import.name));
    let asked = match &import.ty {
        Extern::Function(ty) => ty,
        Extern::Table => return Some(format!("{name} (table)")),
        Extern::Memory => return Some(format!("{name} (memory)")),
        Extern::Global => return Some(format!("{name} (global)")),
        Extern::Tag => return Some(format!("{name} (tag)")),
    };
    let offered: Vec<FuncType> = match import.module.as_str() {
        wasi::MODULE => [import.name.clone(), format!("{}{SECOND_SIGNATURE}", import.name)]
            .iter()
            .filter_map(|name| wasi.function_type(name))
            .collect(),
        guest_abi::MODULE => host::function_type(&import.name).into_iter().collect(),
        _ => Vec::new(),
    };
    match offered.first() {
        None => Some(format!("{name} (func)")),
        Some(_) if offered.contains(asked) => None,
        Some(first) => Some(format!("{name} (func {asked}, the host's is {first})")),
    }
}

/// Which functions of the guest contract a module exports, each with the contract's signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) allocate: bool,
    pub(crate) deallocate: bool,
    pub(crate) read: bool,
    pub(crate) locate: bool,
}

impl Contract {
    fn of(functions: &[(String, FuncType)]) -> Self {
        use ValType::{I32, I64};
        let has = |name: &str, params: &[ValType], results: &[ValType]| {
            functions
                .iter()
                .any(|(export, ty)| export == name && ty.params == params && ty.results == results)
        };
        Self {
            allocate: has(exports::ALLOCATE_MEMORY, &[I32], &[I32]),
            deallocate: has(exports::DEALLOCATE_MEMORY, &[I32], &[]),
            read: has(exports::READ_MEMORY_WASM, &[I32, I32], &[]),
            locate: has(exports::LOCATE_MEMORY_REGION, &[I32], &[I64]),
        }
    }

    /// Whether payloads can be put into the guest's memory.
    pub(crate) fn can_receive(self) -> bool {
        self.allocate && self.deallocate
    }
}

/// What a function runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Whether the module is a reactor, whose `_initialize` runs once before anything else.
    pub(crate) initialize: bool,
    /// What is called then.
    pub(crate) call: Call,
    /// The contract's functions.
    pub(crate) contract: Contract,
}

impl Entry {
    /// Of a module of which it is not known yet.
    pub(crate) fn none() -> Self {
        Self { initialize: false, call: Call::Handler, contract: Contract::default() }
    }
}

/// How a function is called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    /// Not at all: its handler is given payloads.
    Handler,
    /// By its entry point, `_start`.
    Start,
    /// By name, with numbers; its results are printed.
    Numbers { function: String, args: Vec<Val> },
    /// By name, with the bytes of standard input in a region from `allocator`; the region that it answers is written to
    /// standard output.
    Bytes { function: String, allocator: &'static str },
}

/// Entry point of a command.
pub(crate) const START: &str = "_start";
/// What a reactor wants called once before anything else.
pub(crate) const INITIALIZE: &str = "_initialize";
/// What the allocator of a function of bytes may be called: the contract's name, then what others use.
const ALLOCATORS: [&str; 3] = [exports::ALLOCATE_MEMORY, "allocate", "malloc"];

/// Decides what to run, and refuses a module that lacks it.
///
/// `function` is the one that was asked for (`module.wasm#function`); it gets `args[1..]` as numbers, and its results are printed
/// one a line, as the engine's own command line does; without `args[1..]` it gets standard input, where it takes and gives
/// bytes ([`Call::Bytes`]). Without a function that was asked for, it is `_start`, or nothing but the handler of a module that is
/// given payloads (`receives`).
pub(crate) fn entry(
    path: &str,
    ast: &Ast,
    function: Option<&str>,
    args: &[String],
    receives: bool,
) -> Result<Entry> {
    let functions = ast.exported_functions();
    let find = |name: &str| functions.iter().find(|(export, _)| export == name).map(|(_, ty)| ty);
    let contract = Contract::of(&functions);
    let refuse = |message: String| Err(Error::new(ErrorKind::Link, format!("module {path}: {message}")));
    let plain = |ty: &FuncType| ty.params.is_empty() && ty.results.is_empty();
    let initialize = find(INITIALIZE).is_some_and(plain);
    let call = match function {
        Some(name) => {
            let Some(ty) = find(name) else {
                return refuse(format!("no exported function {}", printable(name)));
            };
            let args = args.get(1..).unwrap_or_default();
            let function = name.to_owned();
            match allocator_for(&functions, ty).filter(|_| args.is_empty()) {
                Some(allocator) => Call::Bytes { function, allocator },
                None => Call::Numbers { function, args: arguments(path, name, ty, args)? },
            }
        }
        None => match find(START) {
            Some(ty) if plain(ty) => Call::Start,
            Some(ty) => return refuse(format!("{START} has the type {ty}, not () -> ()")),
            None if receives && contract.can_receive() && contract.read => Call::Handler,
            None => return refuse(format!("no exported function {START}")),
        },
    };
    Ok(Entry { initialize, call, contract })
}

/// The allocator of a function whose type is that of one which takes and gives bytes: address and length in, both in one
/// number out.
fn allocator_for(functions: &[(String, FuncType)], ty: &FuncType) -> Option<&'static str> {
    use ValType::{I32, I64};
    if ty.params != [I32, I32] || ty.results != [I64] {
        return None;
    }
    ALLOCATORS.into_iter().find(|name| {
        functions.iter().any(|(export, ty)| export == name && ty.params == [I32] && ty.results == [I32])
    })
}

fn arguments(path: &str, name: &str, ty: &FuncType, args: &[String]) -> Result<Vec<Val>> {
    let refuse = |message: String| {
        Error::new(ErrorKind::Link, format!("module {path}: function {}: {message}", printable(name)))
    };
    if ty.params.contains(&ValType::Other) || ty.results.contains(&ValType::Other) {
        return Err(refuse(format!("cannot be called from outside, its type is {ty}")));
    }
    if ty.params.is_empty() {
        // Its arguments are WASI's, if it looks for them.
        return Ok(Vec::new());
    }
    if ty.params.len() != args.len() {
        return Err(refuse(format!("takes {} arguments, {} are given", ty.params.len(), args.len())));
    }
    ty.params
        .iter()
        .zip(args)
        .map(|(ty, text)| {
            number(*ty, text).ok_or_else(|| refuse(format!("argument {text:?} is no {}", ty.name())))
        })
        .collect()
}

/// A number as an argument: integers signed or unsigned, in decimal.
fn number(ty: ValType, text: &str) -> Option<Val> {
    match ty {
        ValType::I32 => text.parse().ok().or_else(|| text.parse().ok().map(u32::cast_signed)).map(Val::I32),
        ValType::I64 => text.parse().ok().or_else(|| text.parse().ok().map(u64::cast_signed)).map(Val::I64),
        ValType::F32 => text.parse().ok().map(Val::F32),
        ValType::F64 => text.parse().ok().map(Val::F64),
        ValType::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_whole_range_and_no_further() {
        assert_eq!(number(ValType::I32, "-1"), Some(Val::I32(-1)));
        assert_eq!(number(ValType::I32, "4294967295"), Some(Val::I32(-1)));
        assert_eq!(number(ValType::I32, "4294967296"), None);
        assert_eq!(number(ValType::I64, "18446744073709551615"), Some(Val::I64(-1)));
        assert_eq!(number(ValType::F64, "0.5"), Some(Val::F64(0.5)));
        assert_eq!(number(ValType::I32, ""), None);
        assert_eq!(number(ValType::F32, "x"), None);
    }
}
