//! Turns at the driver: its packets come from one pool of the process, and two threads that take from it at once cost each
//! other a fifth of their time. Whoever waits for the network holds no turn.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

/// Who may work with the driver.
#[derive(Default)]
pub struct Turns(Mutex<()>);

/// A future that takes a turn whenever it goes on.
struct InTurn<'t, F> {
    turns: &'t Turns,
    inner: Pin<Box<F>>,
}

impl Turns {
    /// The future, so that it never goes on beside another one of these turns.
    pub fn take<F: Future>(&self, inner: F) -> impl Future<Output = F::Output> {
        InTurn { turns: self, inner: Box::pin(inner) }
    }
}

impl<F: Future> Future for InTurn<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let _turn = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.as_mut().poll(cx)
    }
}
