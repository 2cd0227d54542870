//! Ahead-of-time compilation: bytes of a module in, bytes of a universal Wasm file out.
//!
//! Runs in the runtime's compiler child, which is a sandbox of its own and has LLVM mapped. What comes out
//! is the module itself with native code in a custom section of the engine's, and one of ours ([`Mark`]) that says
//! which engine made it and how: the engine would run code without counters under a limit of instructions, and never stop.

use std::fs::File;
use std::io::Read;

use executor_abi::request::Compile;
use wasmedge_sdk::{CompilerOptimizationLevel, CompilerOutputFormat};
use wasmedge_sys::Compiler;

use crate::engine::{self, Ast, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::{machine_code, module, process};

/// Largest module that is compiled. The runtime has a lower bound of its own.
const MAX_SIZE: u64 = 1 << 30;

/// How much is optimized; the last one also if the engine cannot run what comes of the first, and where nothing shall be optimized.
const LEVELS: [CompilerOptimizationLevel; 2] = [CompilerOptimizationLevel::O2, CompilerOptimizationLevel::O0];

/// What is asked of ahead-of-time code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    /// It counts instructions.
    pub(crate) fuel: bool,
    /// Another thread can stop it.
    pub(crate) interruptible: bool,
}

impl Kind {
    fn words(self) -> &'static str {
        match (self.fuel, self.interruptible) {
            (false, false) => "plain",
            (true, false) => "fuel",
            (false, true) => "interruptible",
            (true, true) => "fuel interruptible",
        }
    }
}

/// How ahead-of-time code was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    engine: String,
    kind: Kind,
}

impl Mark {
    fn new(kind: Kind) -> Self {
        Self { engine: engine::version(), kind }
    }

    pub(crate) fn parse(section: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(section).ok()?;
        let (engine, words) = text.strip_prefix("wasmedge ")?.split_once(' ')?;
        let all = [false, true].map(|fuel| [false, true].map(|interruptible| Kind { fuel, interruptible }));
        let kind = all.into_iter().flatten().find(|kind| kind.words() == words)?;
        Some(Self { engine: engine.to_owned(), kind })
    }

    fn text(&self) -> String {
        format!("wasmedge {} {}", self.engine, self.kind.words())
    }

    /// Whether this engine may run the code where `kind` is asked for. Code with counters stops at its first one where there
    /// is no limit, and code without them never does; code that can be stopped serves also where nobody will.
    pub(crate) fn serves(&self, kind: Kind) -> bool {
        let stops = self.kind.interruptible || !kind.interruptible;
        self.engine == engine::version() && self.kind.fuel == kind.fuel && stops
    }
}

/// Compiles the module of `request`.
///
/// # Errors
/// When the module is none, when the engine refuses it, or when the compiler fails.
pub fn compile(request: &Compile) -> Result<Vec<u8>> {
    engine::capture_log();
    let fd = process::own(request.module_fd).ok_or_else(|| {
        Error::new(ErrorKind::Request, format!("module: no descriptor {}", request.module_fd))
    })?;
    let mut bytes = Vec::new();
    let failed = |what: &'static str| move |error| Error::with(ErrorKind::System, what, error);
    File::from(fd).take(MAX_SIZE).read_to_end(&mut bytes).map_err(failed("read module"))?;
    module::check_head(&bytes)
        .map_err(|reason| Error::new(ErrorKind::Module, format!("module: {reason}")))?;
    check(&bytes)?;
    let out = std::path::Path::new(&request.scratch).join("module.wasm");
    let kind = Kind { fuel: request.fuel, interruptible: request.interruptible };
    let levels = if request.optimize { &LEVELS[..] } else { &LEVELS[1..] };
    for &level in levels {
        let compiled = translate(&bytes, &out, kind, level)
            .and_then(|()| std::fs::read(&out).map_err(failed("read code")));
        let removed = std::fs::remove_file(&out);
        let mut compiled = compiled?;
        removed.map_err(failed("remove temporary file"))?;
        if is_usable(&compiled, kind)? {
            machine_code::relax_checks(&mut compiled);
            append_section(&mut compiled, module::MARK, Mark::new(kind).text().as_bytes());
            return Ok(compiled);
        }
    }
    Err(Error::new(ErrorKind::Engine, "compile module: the engine cannot run the code that it made of it"))
}

/// Whether the engine would run the code, and can.
///
/// For some arithmetic its optimizer calls functions of the C library, such as `fmaxf` for a maximum in a function that was inlined.
/// Nobody binds such a call. Where the function's name begins with an `f` or a `t`, the engine also takes it for one of the
/// module's, and leaves all of the code unused, if the numbers do not happen to fit.
fn is_usable(compiled: &[u8], kind: Kind) -> Result<bool> {
    let config = engine::config(settings(kind.fuel))?;
    engine::take_log();
    Ast::parse(&config, compiled).map_err(|stop| {
        Error::new(ErrorKind::Engine, format!("compile module: its code is invalid: {}", stop.message()))
    })?;
    let used = !engine::leaves_code_unused(&engine::take_log());
    Ok(used && machine_code::executable(compiled).is_some_and(|all| all.len() == 1))
}

fn settings(fuel: bool) -> Settings {
    Settings { aot: true, max_pages: 65_536, fuel }
}

/// Parses and validates first: the compiler's own messages do not say what is wrong.
fn check(bytes: &[u8]) -> Result<()> {
    let config = engine::config(settings(false))?;
    let refused =
        |stop: engine::Stop| Error::new(ErrorKind::Invalid, format!("module: invalid: {}", stop.message()));
    let ast = Ast::parse(&config, bytes).map_err(refused)?;
    ast.validate(&config).map_err(refused)
}

fn translate(
    bytes: &[u8],
    out: &std::path::Path,
    kind: Kind,
    level: CompilerOptimizationLevel,
) -> Result<()> {
    let mut config = engine::config(settings(kind.fuel))?;
    config.set_aot_compiler_output_format(CompilerOutputFormat::Wasm);
    config.set_aot_optimization_level(level);
    config.dump_ir(false);
    config.generic_binary(false);
    config.interruptible(kind.interruptible);
    let failed = |error| {
        let log = engine::take_log().join("; ");
        Error::with(ErrorKind::Engine, format!("compile module ({log})"), error)
    };
    let compiler = Compiler::create(Some(&config)).map_err(failed)?;
    compiler.compile_from_bytes(bytes, out).map_err(failed)
}

/// Appends a custom section (section 5.5.3 of the core specification).
fn append_section(module: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut body = Vec::new();
    leb128(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(contents);
    module.push(0);
    leb128(module, body.len());
    module.extend_from_slice(&body);
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::Outline;

    const KINDS: [Kind; 4] = [
        Kind { fuel: false, interruptible: false },
        Kind { fuel: false, interruptible: true },
        Kind { fuel: true, interruptible: false },
        Kind { fuel: true, interruptible: true },
    ];

    #[test]
    fn a_mark_survives_its_section() {
        for kind in KINDS {
            let mark = Mark::new(kind);
            let mut module = b"\0asm\x01\0\0\0".to_vec();
            append_section(&mut module, module::MARK, mark.text().as_bytes());
            let read = Outline::of(&module).mark.expect("the section");
            assert_eq!(Mark::parse(&read), Some(mark));
        }
    }

    #[test]
    fn code_serves_what_it_was_made_for_and_another_engines_serves_nothing() {
        for made in KINDS {
            for asked in KINDS {
                let serves = made.fuel == asked.fuel && made.interruptible >= asked.interruptible;
                assert_eq!(Mark::new(made).serves(asked), serves, "{made:?} {asked:?}");
            }
            let foreign = Mark { engine: "0.0.1".to_owned(), kind: made };
            assert!(!foreign.serves(made));
        }
        assert_eq!(Mark::parse(b"wasmedge 1 fast"), None);
        assert_eq!(Mark::parse(b"\xff"), None);
    }

    #[test]
    fn lengths_of_every_size_are_encoded() {
        for (value, bytes) in
            [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (624_485, &[0xe5, 0x8e, 0x26])]
        {
            let mut out = Vec::new();
            leb128(&mut out, value);
            assert_eq!(out, bytes);
        }
    }
}
