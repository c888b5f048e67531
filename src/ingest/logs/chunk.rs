//! Sixteen bytes at a time: the few questions the JSON scanner asks of its input, answered without a loop over bytes.
//!
//! A chunk is a `u128` whose lowest byte is the first in memory.

/// Loads the sixteen bytes at `at`; what lies beyond the end of `bytes` reads as zero.
#[inline(always)]
pub fn load(bytes: &[u8], at: usize) -> u128 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => load_tail(bytes, at),
    }
}

#[cold]
fn load_tail(bytes: &[u8], at: usize) -> u128 {
    let mut chunk = [0; 16];
    if let Some(rest) = bytes.get(at..) {
        let len = rest.len().min(16);
        chunk[..len].copy_from_slice(&rest[..len]);
    }
    u128::from_le_bytes(chunk)
}

/// The first `len` bytes of a chunk, the others zero; `len` is at most 15.
#[inline(always)]
pub fn head(chunk: u128, len: usize) -> u128 {
    const MASKS: [u128; 16] = {
        let mut masks = [0; 16];
        let mut len = 1;
        while len < 16 {
            masks[len] = u128::MAX >> (128 - 8 * len);
            len += 1;
        }
        masks
    };
    chunk & MASKS[len & 15]
}

/// A bit for every byte at which a JSON string stops being plain: `"`, `\` and the control characters.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn string_stops(chunk: u128) -> u32 {
    use std::arch::x86_64::*;
    // SAFETY: these are SSE2 instructions, which every x86-64 processor has.
    unsafe {
        let bytes = _mm_set_epi64x((chunk >> 64) as i64, chunk as i64);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
    }
}

/// How many of the chunk's first bytes are decimal digits.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn digits(chunk: u128) -> usize {
    use std::arch::x86_64::*;
    // SAFETY: these are SSE2 instructions, which every x86-64 processor has.
    let others = unsafe {
        let bytes = _mm_set_epi64x((chunk >> 64) as i64, chunk as i64);
        let values = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
        let digit = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
        !(_mm_movemask_epi8(digit) as u32)
    };
    others.trailing_zeros() as usize
}

#[cfg(not(target_arch = "x86_64"))]
pub fn string_stops(chunk: u128) -> u32 {
    let stops = |byte: u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    chunk.to_le_bytes().iter().enumerate().map(|(i, byte)| u32::from(stops(*byte)) << i).sum()
}

#[cfg(not(target_arch = "x86_64"))]
pub fn digits(chunk: u128) -> usize {
    chunk.to_le_bytes().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The number written by the chunk's first `len` bytes, which are digits; `len` is 1 to 16.
#[inline(always)]
pub fn decimal(chunk: u128, len: usize) -> u64 {
    const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
    let first = chunk as u64;
    if len <= 8 {
        return eight_digits(first << ((64 - 8 * len) & 63));
    }
    let more = (len - 8) & 15;
    let second = (chunk >> 64) as u64;
    eight_digits(first) * TENS[more.min(8)] + eight_digits(second << ((64 - 8 * more) & 63))
}

/// Eight digits, the first in the lowest byte, combined pairwise (after D. Lemire, "Quickly parsing eight digits").
/// A zero byte counts as the digit 0.
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    let ones = digits & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (ones.wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(42_949_672_960_001) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_at_the_end_reads_zeros() {
        assert_eq!(load(b"ab", 1), u128::from(b'b'));
        assert_eq!(load(b"ab", 2), 0);
        assert_eq!(load(b"ab", 99), 0);
    }

    #[test]
    fn strings_stop_at_quotes_backslashes_and_controls() {
        for byte in 0..=255_u8 {
            let mut bytes = [b'x'; 16];
            bytes[11] = byte;
            let stops = byte == b'"' || byte == b'\\' || byte < 0x20;
            assert_eq!(string_stops(load(&bytes, 0)), u32::from(stops) << 11, "{byte}");
            let expected = if byte.is_ascii_digit() { 12 } else { 11 };
            bytes[..11].fill(b'7');
            assert_eq!(digits(load(&bytes, 0)), expected, "{byte}");
        }
        assert_eq!(digits(load(b"1234567890123456", 0)), 16);
    }

    #[test]
    fn decimals_of_every_length_are_exact() {
        let text = b"9876543210123456";
        for len in 1..=16 {
            let expected: u64 = std::str::from_utf8(&text[..len]).expect("digits").parse().expect("a number");
            let mut padded = *b"xxxxxxxxxxxxxxxx";
            padded[..len].copy_from_slice(&text[..len]);
            assert_eq!(decimal(load(&padded, 0), len), expected);
        }
    }

    #[test]
    fn a_head_keeps_only_its_bytes() {
        assert_eq!(head(load(b"abcdefghijklmnop", 0), 3), load(b"abc", 0));
        assert_eq!(head(load(b"abcdefghijklmnop", 0), 0), 0);
    }
}
