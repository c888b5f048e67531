//! The binary; see `strata::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    strata::cli::main()
}
