//! Over TLS: a good certificate is taken, and a bad one is said to be what it is.
//!
//! The certificates in `tests/fixtures/tls` were made for these tests: an authority of their own, a server's certificate
//! that holds until 2120, and one that ended in 2020, both for `localhost`; and another authority with a certificate for
//! the name of a service, for a proxy that stands in for it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::support::{Folder, Output, finish};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls")).join(name)
}

/// What a program needs in its environment to ask OpenAI's own address here: a proxy that answers in its place, and the
/// authority that vouches for it. Nothing leaves this machine.
pub fn in_place_of_openai() -> [(&'static str, String); 2] {
    let port = start("proxied.pem", true);
    let authority = fixture("ca-proxied.pem").display().to_string();
    [("HTTPS_PROXY", format!("http://127.0.0.1:{port}")), ("SSL_CERT_FILE", authority)]
}

/// Reads the request for a tunnel and grants it.
fn tunnel(socket: &mut TcpStream) -> std::io::Result<()> {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    assert!(seen.starts_with(b"CONNECT api.openai.com:443 "), "{}", String::from_utf8_lossy(&seen));
    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n")
}

/// Answers every connection with one chat completion, with `is_proxy` behind a request for a tunnel; gives the port.
fn start(certificate: &str, is_proxy: bool) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(fixture(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the test process.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, mut session) = (socket.unwrap(), ServerConnection::new(Arc::clone(&config)).unwrap());
            if is_proxy && tunnel(&mut socket).is_err() {
                continue;
            }
            let mut stream = Stream::new(&mut session, &mut socket);
            let mut seen = Vec::new();
            let mut bytes = [0; 4096];
            // The body of a request is JSON and ends with a brace.
            while !seen.ends_with(b"}") {
                match stream.read(&mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => seen.extend_from_slice(&bytes[..n]),
                }
            }
            let body = r#"{"choices":[{"message":{"content":"right"},"finish_reason":"stop"}]}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.flush();
        }
    });
    port
}

/// Runs one question against the server.
fn ask(certificate: &str, trusted: &str) -> (Folder, Output) {
    let port = start(certificate, false);
    let folder = Folder::new();
    folder.write("data.jsonl", "{\"id\": \"a\", \"input\": \"?\", \"target\": \"right\"}\n");
    folder.write(
        "suite.yaml",
        format!(
            "name: tls\ndataset: {{ path: data.jsonl }}\nprompt: {{ user: \"{{{{ input }}}}\" }}\nscorers:\n  - exact: {{}}\n\
             candidates:\n  - id: c\n    openai: {{ model: m, base_url: \"https://localhost:{port}/v1\" }}\n    retries: 0\n"
        ),
    );
    let mut command = folder.evalctl(["run", "suite.yaml", "--out", "run", "-q"]);
    command.env("SSL_CERT_FILE", fixture(trusted));
    (folder, finish(command))
}

/// Expects that nothing was sent, and gives what was said.
#[track_caller]
fn refused(certificate: &str, trusted: &str) -> String {
    let (folder, output) = ask(certificate, trusted);
    let output = output.expect(3);
    assert!(output.err.contains("`c` cannot be reached at https://localhost:"), "{}", output.err);
    assert!(!folder.path().join("run").exists());
    output.err
}

#[test]
fn a_good_certificate_is_taken() {
    let (folder, output) = ask("valid.pem", "ca.pem");
    output.expect(0);
    let record = folder.json("run/records.jsonl");
    assert_eq!(record["answer"]["text"], "right", "{record}");
}

#[test]
fn an_expired_certificate_is_said_to_be_that() {
    let said = refused("expired.pem", "ca.pem");
    assert!(said.contains("certificate") && said.contains("expired"), "{said}");
}

#[test]
fn a_certificate_of_nobody_known_is_said_to_be_that() {
    // The server's own certificate is no authority.
    let said = refused("valid.pem", "expired.pem");
    assert!(said.contains("certificate"), "{said}");
}
