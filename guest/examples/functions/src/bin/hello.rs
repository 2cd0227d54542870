//! Prints `hello`; with `--wait` it then waits for the end of its standard input.

fn main() -> std::io::Result<()> {
    println!("hello");
    if std::env::args().any(|argument| argument == "--wait") {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    }
    Ok(())
}
