//! What is said when the process ends other than by finishing: on Ctrl-C or a kill, and should the program have a bug.

use std::io::Write;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::session::Session;
use super::terminal::Terminal;
use crate::config::redact;
use crate::error::Exit;

/// Ends the process on Ctrl-C or SIGTERM. No cleaning up is needed: what was not committed was never visible.
pub fn on_signal(session: &Session) {
    let terminal = Arc::clone(&session.terminal);
    // Without the thread the signals end the process as well, only without a word.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || wait(&terminal));
}

fn wait(terminal: &Terminal) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let (word, exit) = tokio::select! {
            _ = interrupt.recv() => ("interrupted", Exit::Interrupted),
            _ = terminate.recv() => ("terminated", Exit::Terminated),
        };
        terminal.clear();
        terminal.farewell(&format!("{word}: what was not committed was never visible; it is safe to run again"));
        std::process::exit(i32::from(exit.code()));
    });
}

/// Makes a panic, which is a bug, ask to be reported instead of showing Rust's own words.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("unknown");
        let place = panic.location().map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        let text = format!(
            "error: this is a bug in strata {}: {message}{place}\n hint: please report it with the command you ran; \
             running again is safe",
            env!("CARGO_PKG_VERSION")
        );
        // A closed stderr cannot be told anything.
        let _ = writeln!(std::io::stderr().lock(), "{}", redact(&text));
    }));
}
