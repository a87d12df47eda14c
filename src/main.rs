//! The program; all of it is in the library.

fn main() -> std::process::ExitCode {
    espalier::cli::main(std::env::args_os(), std::io::stdout()).into()
}
