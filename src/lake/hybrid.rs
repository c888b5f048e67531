//! Small numbers as Parquet stores levels and places in a dictionary: runs of one number, and groups of eight that are packed.

/// Appends numbers of so many bits.
pub fn put_numbers(numbers: &[u32], width: u8, out: &mut Vec<u8>) {
    // Numbers from here on are not written yet; when a run is, they are whole groups.
    let (mut from, mut at) = (0, 0);
    while at < numbers.len() {
        let run = numbers[at..].iter().take_while(|number| **number == numbers[at]).count();
        // A run begins where a group would.
        let filling = (at - from).next_multiple_of(8) - (at - from);
        if run >= filling + 8 || run == numbers.len() {
            put_packed(&numbers[from..at + filling], width, out);
            put_run(numbers[at], run - filling, width, out);
            from = at + run;
        }
        at += run;
    }
    put_packed(&numbers[from..], width, out);
}

/// Appends a number so many times.
pub fn put_run(number: u32, times: usize, width: u8, out: &mut Vec<u8>) {
    put_varint(times << 1, out);
    out.extend_from_slice(&number.to_le_bytes()[..usize::from(width).div_ceil(8)]);
}

/// Groups of eight numbers, the last filled up with zeros.
fn put_packed(numbers: &[u32], width: u8, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    put_varint(numbers.len().div_ceil(8) << 1 | 1, out);
    out.reserve(numbers.len().div_ceil(8) * usize::from(width) + 8);
    for group in numbers.chunks(8) {
        let (mut bits, mut filled) = (0_u64, 0);
        for place in 0..8 {
            bits |= u64::from(group.get(place).copied().unwrap_or(0)) << filled;
            filled += u32::from(width);
            if filled >= 32 {
                out.extend_from_slice(&(bits as u32).to_le_bytes());
                (bits, filled) = (bits >> 32, filled - 32);
            }
        }
        out.extend_from_slice(&bits.to_le_bytes()[..filled as usize / 8]);
    }
}

fn put_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
