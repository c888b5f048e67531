//! What the library is told to log in: address, user, password, TLS.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use mysql_async::{OptsBuilder, SslOpts};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{MysqlPlace, Password, Tls};
use crate::error::{Advice, Exit};

/// No password comes near it.
const PASSWORD_BYTES: u64 = 4096;

/// The options for a place, its password included.
///
/// # Errors
/// When the password file or the authority's file cannot be used.
pub fn options(place: &MysqlPlace) -> Result<OptsBuilder> {
    let password = match &place.password_file {
        Some(file) => Some(from_file(file).exit(Exit::Usage)?),
        None => place.password.clone(),
    };
    let options = OptsBuilder::default()
        .ip_or_hostname(place.host.clone())
        .tcp_port(place.port)
        .user((!place.user.is_empty()).then(|| place.user.clone()))
        .pass(password.map(|password| password.reveal().to_owned()))
        .db_name(Some(place.database.clone()))
        // Otherwise a connection to this machine would silently become another one, by the server's socket.
        .prefer_socket(false)
        .socket(place.socket.as_ref().map(|path| path.to_string_lossy().into_owned()))
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .connect_attribute("program_name", "strata");
    Ok(options.ssl_opts(encryption(place)?))
}

fn encryption(place: &MysqlPlace) -> Result<Option<SslOpts>> {
    if place.tls == Tls::Off {
        return Ok(None);
    }
    // Two providers are in the build, so that rustls cannot choose; whoever was first is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if place.tls == Tls::Encrypt {
        return Ok(Some(SslOpts::default().with_danger_accept_invalid_certs(true)));
    }
    let Some(file) = &place.tls_ca else { return Ok(Some(SslOpts::default())) };
    let authority = fs::read(file)
        .with_context(|| format!("read the authority's certificate {}", file.display()))
        .hint("`tls_ca` is a PEM file, relative to the project's folder")
        .exit(Exit::Usage)?;
    if !is_certificate(&authority) {
        return Err(anyhow!("`tls_ca`: {} is no certificate", file.display()))
            .hint("it is a PEM file, and begins with -----BEGIN CERTIFICATE-----")
            .exit(Exit::Usage);
    }
    let own_only = SslOpts::default().with_disable_built_in_roots(true);
    Ok(Some(own_only.with_root_certs(vec![authority.into()])))
}

/// Whether a file holds certificates that can be trusted, as PEM or one alone as DER, and nothing that cannot be read.
fn is_certificate(file: &[u8]) -> bool {
    let Ok(mut found) = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>() else { return false };
    if found.is_empty() {
        found.push(CertificateDer::from(file));
    }
    let mut store = RootCertStore::empty();
    found.into_iter().all(|certificate| store.add(certificate).is_ok())
}

/// The password in a file: its first line.
fn from_file(path: &Path) -> Result<Password> {
    let shown = path.display();
    let mut file = fs::File::open(path)
        .with_context(|| format!("read the password file {shown}"))
        .hint("`password_file` holds the password and nothing else, and only its owner may read it")?;
    let meta = file.metadata().with_context(|| format!("inspect the password file {shown}"))?;
    if !meta.is_file() {
        return Err(anyhow!("the password file {shown} is no file"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        let mode = meta.permissions().mode() & 0o777;
        let error = anyhow!("the password file {shown} may be read by others (mode {mode:04o})");
        return Err(error).hint(format!("chmod 600 {shown}"));
    }
    // Where there is no /proc, the mode alone must do.
    if let Some(me) = fs::metadata("/proc/self").ok().map(|own| own.uid()).filter(|me| *me != meta.uid()) {
        let error = anyhow!("the password file {shown} belongs to another user ({}, and this is {me})", meta.uid());
        return Err(error).hint(format!("chown {me} {shown}"));
    }
    let mut text = String::new();
    let read = file.by_ref().take(PASSWORD_BYTES).read_to_string(&mut text);
    read.with_context(|| format!("read the password file {shown}"))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        return Err(anyhow!("the password file {shown} is empty"));
    }
    Ok(Password::new(password))
}
