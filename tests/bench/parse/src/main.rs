//! Parses each line of the log files of a folder into a typed struct and writes nothing: the floor beneath any ingest.
//!
//!     parse sonic-rs|simd-json THREADS FOLDER
//!
//! Texts are borrowed from the line where the parser can. Threads take files one by one. Says how many lines there were
//! and the sum of their times, so that no work can be left out.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, io, thread};

use serde::Deserialize;

#[derive(Deserialize)]
#[allow(dead_code, reason = "parsed, and not read but for the time")]
struct Line<'a> {
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    uid: Option<i64>,
    #[serde(borrow)]
    xaid: Option<Cow<'a, str>>,
    platform: Option<i32>,
    #[serde(borrow)]
    ver: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vercode: Option<Cow<'a, str>>,
    net: Option<i32>,
    #[serde(borrow)]
    brand: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    display: Option<Cow<'a, str>>,
    #[serde(borrow)]
    osver: Option<Cow<'a, str>>,
    act: Option<i32>,
    acttime: Option<i64>,
    ad_status: Option<i32>,
    loading_time: Option<i64>,
    goods_id: Option<i64>,
    location: Option<i32>,
    stay_time: Option<i64>,
    loading_type: Option<i32>,
    goods_num: Option<i32>,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [parser, threads, folder] = arguments.as_slice() else {
        panic!("usage: parse sonic-rs|simd-json THREADS FOLDER")
    };
    let simd = match parser.as_str() {
        "sonic-rs" => false,
        "simd-json" => true,
        other => panic!("no parser {other}"),
    };
    let mut files = Vec::new();
    walk(Path::new(folder), &mut files).expect("a readable folder");
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut lines, mut time, mut buffers) = (0_u64, 0_i64, simd_json::Buffers::default());
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut bytes = fs::read(file).expect("a readable file");
            for line in bytes.split_mut(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let parsed: Line = if simd {
                    simd_json::serde::from_slice_with_buffers(line, &mut buffers).expect("a line of JSON")
                } else {
                    sonic_rs::from_slice(line).expect("a line of JSON")
                };
                lines += 1;
                time = time.wrapping_add(parsed.acttime.unwrap_or(0));
            }
        }
        (lines, time)
    };
    let threads: usize = threads.parse().expect("a number of threads");
    let (lines, time) = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .map(|one| one.join().expect("no panic"))
            .fold((0, 0_i64), |a, b| (a.0 + b.0, a.1.wrapping_add(b.1)))
    });
    println!("{lines} {time}");
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
