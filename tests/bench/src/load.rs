//! The load generator: a closed loop over connections that stay open, with a histogram of latencies.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::webhook::Signed;

/// What came of a round.
#[derive(Debug)]
pub struct Report {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Latencies in microseconds.
    pub latencies: Histogram<u64>,
    /// How many answers had which status; 0: none.
    pub statuses: BTreeMap<u16, u64>,
}

impl Report {
    /// Good answers a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let good: u64 = self.statuses.iter().filter(|(status, _)| (200..300).contains(*status)).map(|(_, n)| n).sum();
        good as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile, in milliseconds.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Sends all of them, `connections` at the same time. Blocks this thread.
pub fn run(address: SocketAddr, path: &str, webhooks: &[Signed], connections: usize) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let next = Rc::new(Cell::new(0));
        let seen = Rc::new(RefCell::new((Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?, BTreeMap::new())));
        let webhooks: Rc<[Signed]> = webhooks.to_vec().into();
        let path: Rc<str> = path.into();
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (next, seen, webhooks, path) =
                (Rc::clone(&next), Rc::clone(&seen), Rc::clone(&webhooks), Rc::clone(&path));
            tasks.push(tokio::task::spawn_local(async move {
                let mut connection = None;
                loop {
                    let index = next.replace(next.get() + 1);
                    let Some(webhook) = webhooks.get(index) else { return anyhow::Ok(()) };
                    let sent = Instant::now();
                    let status = send(&mut connection, address, &path, webhook).await.map_or(0, |(status, _)| status);
                    let mut seen = seen.borrow_mut();
                    seen.0.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
                    *seen.1.entry(status).or_insert(0) += 1;
                }
            }));
        }
        for task in tasks {
            task.await??;
        }
        let elapsed = begun.elapsed();
        let (latencies, statuses) = Rc::into_inner(seen).context("a connection is still open")?.into_inner();
        Ok(Report { elapsed, latencies, statuses })
    })
}

/// Sends them one after the other; how many the gateway calls duplicates.
pub fn duplicates(address: SocketAddr, path: &str, webhooks: &[Signed]) -> Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (mut connection, mut known) = (None, 0);
        for webhook in webhooks {
            let (_, body) = send(&mut connection, address, path, webhook).await?;
            known += usize::from(serde_json::from_slice::<Value>(&body)?["duplicate"] == true);
        }
        Ok(known)
    })
}

async fn send(
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    address: SocketAddr,
    path: &str,
    webhook: &Signed,
) -> Result<(u16, Bytes)> {
    let mut sender = match connection.take() {
        Some(sender) if !sender.is_closed() => sender,
        _ => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::task::spawn_local(driver);
            sender
        }
    };
    sender.ready().await?;
    let request = Request::post(path)
        .header("host", address.to_string())
        .header("user-agent", "GitHub-Hookshot/0000000")
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .header("x-github-delivery", &webhook.delivery)
        .header("x-github-event", "issue_comment")
        .header("x-github-hook-id", "1")
        .header("x-hub-signature-256", &webhook.signature)
        .body(Full::new(webhook.body.clone()))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    *connection = Some(sender);
    Ok((status, body))
}
