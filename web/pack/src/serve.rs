//! A plain static file server, reachable only from this machine.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tiny_http::{Header, Request, Response, Server};

/// Serves a folder at 127.0.0.1 until the program ends, and prints the address. Port 0 picks a free port.
pub fn serve(folder: &Path, port: u16) -> Result<(), Box<dyn Error>> {
    let server = Server::http(("127.0.0.1", port)).map_err(|error| format!("port {port}: {error}"))?;
    let address = server.server_addr().to_ip().ok_or("no address")?;
    println!("http://{address}/");
    for request in server.incoming_requests() {
        // Ignore browsers that have disconnected.
        let _ = answer(folder, request);
    }
    Ok(())
}

fn answer(folder: &Path, request: Request) -> std::io::Result<()> {
    match wanted(folder, request.url()).and_then(|path| Some((fs::read(&path).ok()?, path))) {
        Some((bytes, path)) => {
            let mime = Header::from_bytes("Content-Type", mime(&path)).expect("plain words");
            let cache = Header::from_bytes("Cache-Control", "no-cache").expect("plain words");
            request.respond(Response::from_data(bytes).with_header(mime).with_header(cache))
        }
        None => request.respond(Response::from_string("no such file").with_status_code(404)),
    }
}

/// The file for a URL path, if it is inside the folder.
fn wanted(folder: &Path, url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() };
    let plain = path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\\'));
    plain.then(|| folder.join(path))
}

fn mime(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some("bin") => "application/octet-stream",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_folder() {
        let of = |url| wanted(Path::new("dist"), url).map(|path| path.display().to_string());
        assert_eq!(of("/"), Some("dist/index.html".into()));
        assert_eq!(of("/pictures/a.svg?x=1#y"), Some("dist/pictures/a.svg".into()));
        for outside in ["/../secret", "/a/../../b", "//etc/passwd", "/a//b", "/a\\..\\b"] {
            assert_eq!(of(outside), None, "{outside}");
        }
    }
}
