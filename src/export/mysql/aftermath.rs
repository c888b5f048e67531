//! What a failed export leaves in the target, in words that are true.

use anyhow::Error;

use crate::error::find;

/// What a failure left in the target that came with the COMMIT or after it; before it, nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// The answer to COMMIT was lost and could not be looked up.
    Unknown,
    /// It took effect; tables that were made anew have not got their names.
    Unnamed,
}

impl Aftermath {
    /// What a failed export left, in the words of a step's end.
    pub fn of(error: &Error) -> &'static str {
        match find::<Self>(error) {
            None => "failed; the rows of the target are as they were",
            Some(Self::Unknown) => "failed; the target has its old or its new rows, whole",
            Some(Self::Unnamed) => "failed; the rows are committed, and new tables wait for their names",
        }
    }
}

impl std::fmt::Display for Aftermath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the answer to COMMIT was lost, and whether it took effect is not known",
            Self::Unnamed => "all rows are committed, but new tables wait for their names",
        })
    }
}

impl std::error::Error for Aftermath {}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::error::Advice;

    #[test]
    fn the_end_of_a_failed_export_says_what_is_true_of_the_target() {
        let of = |aftermath: Aftermath| {
            let error = Err::<(), _>(anyhow!("gone").context(aftermath)).hint("wait").expect_err("it failed");
            Aftermath::of(&error.context("export metrics"))
        };
        assert!(of(Aftermath::Unknown).contains("old or its new rows"));
        assert!(of(Aftermath::Unnamed).contains("the rows are committed"));
        assert!(Aftermath::of(&anyhow!("gone")).contains("as they were"));
    }
}
