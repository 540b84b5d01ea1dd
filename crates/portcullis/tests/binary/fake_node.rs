//! A node that knows its chain id, and one token's symbol and decimals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

/// Answers on the returned address for as long as the test lives: `eth_chainId` is that of the local
/// chain, and every call returns `decimals`.
pub(crate) fn fake_node(decimals: u8) -> SocketAddr {
    node_that_answers(format!("0x{decimals:064x}"))
}

/// The same chain without any contract.
pub(crate) fn empty_node() -> SocketAddr {
    node_that_answers("0x".to_owned())
}

/// `USDC`, as contracts return text.
const SYMBOL: &str = "0x\
    0000000000000000000000000000000000000000000000000000000000000020\
    0000000000000000000000000000000000000000000000000000000000000004\
    5553444300000000000000000000000000000000000000000000000000000000";

fn node_that_answers(result: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that goes away ends its own connection only.
            let _ended = serve(&stream, &result);
        }
    });
    address
}

/// One request a connection.
fn serve(mut stream: &TcpStream, result: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body)?;
    let answer = match &request {
        Value::Array(items) => items.iter().map(|item| answer(item, result)).collect(),
        single => answer(single, result),
    };
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn answer(request: &Value, result: &str) -> Value {
    let result = match request["method"].as_str() {
        Some("eth_chainId") => "0x7a69",
        // `symbol()` where there is a token at all.
        _ if request.to_string().contains("0x95d89b41") && result != "0x" => SYMBOL,
        _ => result,
    };
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
}
