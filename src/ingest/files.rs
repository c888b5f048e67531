//! The files of a source's folder: which there are, the day each arrived, and how to read them decompressed.
//!
//! Only folders beneath the source's own folder tell an arrival date, and names beginning with `.` or `_` are not read
//! (half-written files, markers). What is in the files is no concern of this module.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};

use crate::date::{BizDate, Zone};

/// Folders nested deeper than this beneath a source are taken for a loop of symbolic links.
const MAX_FOLDER_DEPTH: usize = 64;
/// How much is read from disk at once.
const READ_BYTES: usize = 256 * 1024;

/// How a file is compressed, as its suffix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: any suffix but the ones below.
    Plain,
    /// `.gz`, of one member or several.
    Gzip,
    /// `.zst`, of one frame or several.
    Zstd,
}

/// A file of a source, as it was when the folder was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path relative to the source's folder, with `/` between the parts: its name in the lake.
    pub relative: String,
    /// The day it arrived: its deepest folder that is a date, else its modification time in the warehouse zone.
    pub arrival: BizDate,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// Its modification time in epoch milliseconds.
    pub mtime_ms: i64,
    /// How it is compressed.
    pub compression: Compression,
}

/// Lists the files beneath a source's folder, sorted by their relative path, compared by byte.
///
/// # Errors
/// When the folder or one beneath it cannot be read. A file that vanishes meanwhile is left out.
pub fn list_files(root: &Path, zone: Zone) -> Result<Vec<InputFile>> {
    let shown = root.display();
    match fs::metadata(root) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => bail!("source folder `{shown}` is not a folder\n hint: a source's path names the folder of its files"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => bail!(
            "source folder `{shown}` does not exist\n hint: create it, or mend the source's path in conf/warehouse.toml"
        ),
        Err(e) => return Err(e).with_context(|| format!("read source folder `{shown}`")),
    }
    let mut files = Vec::new();
    walk(&Folder { path: root.to_owned(), relative: String::new(), date: None, depth: 0 }, zone, &mut files)?;
    files.sort_unstable_by(|a, b| a.relative.as_bytes().cmp(b.relative.as_bytes()));
    Ok(files)
}

/// Opens a file for reading its decompressed bytes.
///
/// # Errors
/// When it cannot be opened; damage within shows as an error while reading.
pub fn open(file: &InputFile) -> Result<Box<dyn Read + Send>> {
    let stored = File::open(&file.path).with_context(|| format!("open `{}`", file.path.display()))?;
    Ok(match file.compression {
        Compression::Plain => Box::new(stored),
        Compression::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, stored)))
        }
        Compression::Zstd => {
            let frames = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(READ_BYTES, stored));
            Box::new(frames.with_context(|| format!("decompress `{}`", file.path.display()))?)
        }
    })
}

/// Opens a file for reading its decompressed bytes from a place on; beyond its end there is nothing to read.
///
/// # Errors
/// When it cannot be opened, or not be decompressed as far as that.
pub fn open_at(file: &InputFile, offset: u64) -> Result<Box<dyn Read + Send>> {
    let context = || format!("read `{}`", file.path.display());
    if file.compression == Compression::Plain {
        let mut stored = File::open(&file.path).with_context(context)?;
        stored.seek(SeekFrom::Start(offset)).with_context(context)?;
        return Ok(Box::new(stored));
    }
    let mut stream = open(file)?;
    io::copy(&mut (&mut stream).take(offset), &mut io::sink()).with_context(context)?;
    Ok(stream)
}

struct Folder {
    path: PathBuf,
    relative: String,
    date: Option<BizDate>,
    depth: usize,
}

fn walk(folder: &Folder, zone: Zone, files: &mut Vec<InputFile>) -> Result<()> {
    let context = || format!("list `{}`", folder.path.display());
    if folder.depth > MAX_FOLDER_DEPTH {
        bail!(
            "`{}` is nested too deeply\n hint: is there a symbolic link to a folder above it?",
            folder.path.display()
        );
    }
    for entry in fs::read_dir(&folder.path).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") || name.as_bytes().starts_with(b"_") {
            continue;
        }
        let path = folder.path.join(&name);
        // Asked of the open folder, which is half the work of looking the whole path up.
        let of_entry = entry.metadata().and_then(|meta| if meta.is_symlink() { fs::metadata(&path) } else { Ok(meta) });
        let meta = match of_entry {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e).with_context(|| format!("inspect `{}`", path.display())),
        };
        let name = name_text(&name);
        let relative = if folder.relative.is_empty() { name.clone() } else { format!("{}/{name}", folder.relative) };
        if meta.is_dir() {
            let date = BizDate::from_path_component(&name).or(folder.date);
            walk(&Folder { path, relative, date, depth: folder.depth + 1 }, zone, files)?;
        } else if meta.is_file() {
            files.push(input_file(path, relative, &meta, folder.date, zone));
        }
    }
    Ok(())
}

fn input_file(path: PathBuf, relative: String, meta: &Metadata, date: Option<BizDate>, zone: Zone) -> InputFile {
    let mtime_ms = mtime_ms(meta);
    let arrival = date.or_else(|| zone.day_of_ms(mtime_ms)).unwrap_or(BizDate::from_days(0));
    let compression = match path.extension() {
        Some(suffix) if suffix.eq_ignore_ascii_case("gz") => Compression::Gzip,
        Some(suffix) if suffix.eq_ignore_ascii_case("zst") => Compression::Zstd,
        _ => Compression::Plain,
    };
    InputFile { path, relative, arrival, size: meta.len(), mtime_ms, compression }
}

/// The modification time in epoch milliseconds; 0 where the file system keeps none.
fn mtime_ms(meta: &Metadata) -> i64 {
    let Ok(mtime) = meta.modified() else { return 0 };
    match mtime.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// The name as text; bytes that are not UTF-8 are written `%FF`, so that two files never share a name in the lake.
fn name_text(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shanghai() -> Zone {
        "Asia/Shanghai".parse().expect("a zone")
    }

    fn source(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temp dir");
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        dir
    }

    fn names(files: &[InputFile]) -> Vec<&str> {
        files.iter().map(|f| f.relative.as_str()).collect()
    }

    fn content(file: &InputFile) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open(file).expect("opens").read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn files_are_listed_by_relative_path_without_hidden_ones() {
        let dir = source(&[
            ("b/1.log", b""),
            ("a.log", b""),
            ("a/2.log", b""),
            (".hidden/x.log", b""),
            ("b/_SUCCESS", b""),
            ("b/.1.log.swp", b""),
            ("_tmp/x.log", b""),
        ]);
        let files = list_files(dir.path(), shanghai()).expect("lists");
        assert_eq!(names(&files), ["a.log", "a/2.log", "b/1.log"]);
    }

    #[test]
    fn the_deepest_folder_that_is_a_real_date_is_the_arrival_date() {
        let dir = source(&[
            ("2026-01-02/app/20260103/dt=2026-01-04/h=07/x.log", b""),
            ("2026-01-02/2026-02-30/x.log", b""),
            ("20260105/2026-01-09.log", b""),
        ]);
        let arrivals: Vec<String> =
            list_files(dir.path(), shanghai()).expect("lists").iter().map(|f| f.arrival.to_string()).collect();
        assert_eq!(arrivals, ["2026-01-02", "2026-01-04", "2026-01-05"]);
    }

    #[test]
    fn without_a_dated_folder_the_modification_time_in_the_zone_is_the_arrival() {
        // The source's own folder is named as a date on purpose: it does not count.
        let dir = source(&[("2020-01-01/x.log", b"")]);
        let root = dir.path().join("2020-01-01");
        let file = File::options().write(true).open(root.join("x.log")).expect("opens");
        // 2026-01-01T16:00:00Z is midnight of the 2nd in Shanghai.
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_millis(1_767_283_200_000)).expect("sets");
        let files = list_files(&root, shanghai()).expect("lists");
        assert_eq!(files[0].arrival.to_string(), "2026-01-02");
        assert_eq!(files[0].mtime_ms, 1_767_283_200_000);
    }

    #[test]
    fn a_missing_folder_is_an_error_with_a_hint() {
        let dir = source(&[]);
        let error = list_files(&dir.path().join("nowhere"), shanghai()).expect_err("missing").to_string();
        assert!(error.contains("nowhere` does not exist") && error.contains("hint:"), "{error}");
        assert!(list_files(dir.path(), shanghai()).expect("an empty folder is fine").is_empty());
    }

    #[test]
    fn gz_members_and_zst_frames_are_read_one_after_another() {
        let gz = |text: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(text).expect("writes");
            out.finish().expect("finishes")
        };
        let zst = |text: &[u8]| zstd::encode_all(text, 1).expect("compresses");
        let dir = source(&[
            ("1.log.gz", &[gz(b"one\n"), gz(b"two\n")].concat()),
            ("2.log.zst", &[zst(b"one\n"), zst(b"two\n")].concat()),
            ("3.log", b"one\ntwo\n"),
            ("4.log.gz", &gz(b"one\n")[..12]),
            ("5.log.zst", b"not zstd"),
        ]);
        let files = list_files(dir.path(), shanghai()).expect("lists");
        for file in &files[..3] {
            assert_eq!(content(file).expect("reads"), b"one\ntwo\n", "{}", file.relative);
            let mut rest = Vec::new();
            open_at(file, 5).expect("opens").read_to_end(&mut rest).expect("reads");
            assert_eq!(rest, b"wo\n", "{}", file.relative);
        }
        assert!(content(&files[3]).is_err() && content(&files[4]).is_err());
    }
}
