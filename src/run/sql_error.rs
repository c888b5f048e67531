//! The engine's errors in a model's SQL, told with file, line and column where the engine knows the place.

use anyhow::Error;
use datafusion::error::DataFusionError;

use crate::error::SourceError;

/// The error with its place in the model's file, when it has one.
pub fn located(error: Error, path: &str, sql: &str) -> Error {
    let found = error.chain().find_map(|cause| cause.downcast_ref::<DataFusionError>());
    let Some(cause) = found else { return error };
    let place = cause.diagnostic().and_then(|d| d.span);
    let message = cause.strip_backtrace();
    let message = message.lines().next().unwrap_or_default().to_owned();
    match place.and_then(|span| byte_of(sql, span.start.line, span.start.column)) {
        Some(start) => SourceError::new(path, sql, start..start + 1, message).into(),
        None => error,
    }
}

/// The byte at a line and column, both from 1.
fn byte_of(text: &str, line: u64, column: u64) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?.checked_sub(1)?, usize::try_from(column).ok()?.checked_sub(1)?);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..)?;
    let inside = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    (before + inside < text.len()).then_some(before + inside)
}

#[cfg(test)]
mod tests {
    use super::byte_of;

    #[test]
    fn places_count_characters_and_not_bytes() {
        assert_eq!(byte_of("ab\ncé x\n", 2, 3), Some(6));
        assert_eq!(byte_of("ab\n", 9, 1), None);
    }
}
