//! Over TLS: a good certificate is taken, and a bad one is said to be what it is.
//!
//! The certificates in `tests/fixtures/tls` were made for these tests: an authority of their own, a server's certificate
//! that holds until 2120, and one that ended in 2020, both for `localhost`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::support::{Folder, finish};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls")).join(name)
}

/// Answers every connection with one chat completion; gives the port.
fn start(certificate: &str) -> u16 {
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

/// Runs one question against the server; gives its record.
fn ask(certificate: &str, trusted: &str) -> serde_json::Value {
    let port = start(certificate);
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
    finish(command).expect(0);
    folder.json("run/records.jsonl")
}

#[test]
fn a_good_certificate_is_taken() {
    let record = ask("valid.pem", "ca.pem");
    assert_eq!(record["answer"]["text"], "right", "{record}");
}

#[test]
fn an_expired_certificate_is_a_failure_that_says_so() {
    let record = ask("expired.pem", "ca.pem");
    let said = record["failure"]["connection"]["detail"].as_str().unwrap_or_else(|| panic!("{record}"));
    assert!(said.contains("certificate") && said.contains("expired"), "{said}");
}

#[test]
fn a_certificate_of_nobody_known_is_a_failure_that_says_so() {
    // The server's own certificate is no authority.
    let record = ask("valid.pem", "expired.pem");
    let said = record["failure"]["connection"]["detail"].as_str().unwrap_or_else(|| panic!("{record}"));
    assert!(said.contains("certificate"), "{said}");
}
