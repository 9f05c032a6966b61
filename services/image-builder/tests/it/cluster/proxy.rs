//! An HTTP proxy for a service outside of the cluster: what it calls as pods do is reached by the loopback address.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// Starts it; its address. `hosts` are the names in the cluster, with where they are reached.
pub(super) async fn start(hosts: BTreeMap<String, String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hosts = hosts.clone();
            tokio::spawn(async move { forward(stream, &hosts).await.ok() });
        }
    });
    address
}

/// One request a connection.
async fn forward(stream: TcpStream, hosts: &BTreeMap<String, String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let refused = || std::io::Error::other("no such host");
    let [method, url, version] = line.split_whitespace().collect::<Vec<_>>()[..] else { return Err(refused()) };
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(refused)?;
    let mut head = format!("{method} /{path} {version}\r\n");
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let name = header.split(':').next().unwrap_or_default().to_lowercase();
        if header == "\r\n" || header.is_empty() {
            head.push_str("Connection: close\r\n\r\n");
            break;
        }
        if !["connection", "proxy-connection", "keep-alive"].contains(&name.as_str()) {
            head.push_str(&header);
        }
    }
    let mut upstream = TcpStream::connect(hosts.get(host).ok_or_else(refused)?).await?;
    upstream.write_all(head.as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}
