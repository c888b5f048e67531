//! Lists the repository's own project (conf/ and sql/) for `strata init` to carry along.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for folder in ["conf", "sql"] {
        println!("cargo:rerun-if-changed={folder}");
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut code = String::from("const FILES: &[(&str, &str)] = &[\n");
    for file in files {
        let name = file.strip_prefix(&root).expect("it was found beneath the root");
        writeln!(code, "    ({name:?}, include_str!({file:?})),").expect("a string takes any text");
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("project_files.rs"), code)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match path.extension().and_then(|e| e.to_str()) {
            _ if hidden => {}
            _ if path.is_dir() => collect(&path, files)?,
            Some("toml" | "sql" | "csv") => files.push(path),
            _ => {}
        }
    }
    Ok(())
}
