//! The `evalctl` program: parse, call the library, print the error, return the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use evalctl::cli::Cli;
use evalctl::commands::{World, carry_out};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // A closed pipe leaves nothing to say it to.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let environment = |name: &str| std::env::var(name).ok();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut world = World { environment: &environment, out: &mut out, err: &mut err };
    match carry_out(cli, &mut world) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
