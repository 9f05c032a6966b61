//! An S3 server in this process that verifies signatures, keeps a log of what it was asked, and can misbehave.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kfops_settings::HumanDuration;
use kfops_store::{CredentialFiles, Store, StoreOptions};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};

pub(crate) const BUCKET: &str = "kfops-test";
const ID: &str = "test-id";
const KEY: &str = "test-secret-key";

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

/// What it does instead of answering well.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers this, and does nothing.
    Answer { status: u16, code: &'static str, header: Option<(&'static str, String)> },
    /// Does it, and answers 500.
    Lose,
    /// Gives the first bytes of the body, then breaks the connection.
    Cut(usize),
    /// Never answers.
    Hang,
}

impl Fault {
    pub(crate) fn answer(status: u16, code: &'static str) -> Self {
        Self::Answer { status, code, header: None }
    }
}

type Matches = Box<dyn Fn(&Asked) -> bool + Send>;

#[derive(Default)]
struct State {
    log: Vec<Asked>,
    rules: Vec<(Matches, usize, Fault)>,
    /// Added to the `Date` of every answer, seconds.
    ahead: i64,
}

pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data").join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path().join("data")).unwrap());
        builder.set_auth(SimpleAuth::from_single(ID, KEY));
        let service = builder.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, state) = (service.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(service.clone(), Arc::clone(&state), request));
                    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    http.serve_connection(TokioIo::new(stream), answer).await.ok();
                });
            }
        });
        Self { endpoint, state, folder, task }
    }

    /// Settings of a store in it.
    pub(crate) fn options(&self, prefix: &str) -> StoreOptions {
        StoreOptions {
            endpoint: Some(self.endpoint.clone()),
            allow_http: true,
            timeout: HumanDuration::from_secs(2),
            credentials: Some(self.keys(ID, KEY)),
            ..StoreOptions::at(format!("s3://{BUCKET}/{prefix}"))
        }
    }

    pub(crate) fn store(&self, prefix: &str) -> Store {
        Store::open(kfops_store::StoreSettings(self.options(prefix))).unwrap()
    }

    /// A store for much work on a busy machine.
    pub(crate) fn patient(&self, prefix: &str) -> Store {
        let options = StoreOptions { timeout: HumanDuration::from_secs(60), ..self.options(prefix) };
        Store::open(kfops_store::StoreSettings(options)).unwrap()
    }

    /// Files with these keys.
    pub(crate) fn keys(&self, id: &str, key: &str) -> CredentialFiles {
        let at = |name: &str, text: &str| -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, format!("{text}\n")).unwrap();
            path
        };
        CredentialFiles {
            access_key_id_file: at(&format!("id-{id}"), id),
            secret_access_key_file: at(&format!("key-{id}-{key}"), key),
            session_token_file: None,
        }
    }

    /// The next `times` requests of this kind go wrong.
    pub(crate) fn fault(&self, times: usize, fault: Fault, matches: impl Fn(&Asked) -> bool + Send + 'static) {
        self.state.lock().unwrap().rules.push((Box::new(matches), times, fault));
    }

    pub(crate) fn shift_date(&self, seconds: i64) {
        self.state.lock().unwrap().ahead = seconds;
    }

    /// What it was asked so far.
    pub(crate) fn log(&self) -> Vec<Asked> {
        self.state.lock().unwrap().log.clone()
    }

    /// Files of uploads that nobody has ended.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.path().join("data")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".upload")).count()
    }
}

async fn answer(
    service: S3Service,
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let asked = Asked {
        method: request.method().clone(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: request.headers().clone(),
    };
    let (fault, ahead) = {
        let mut state = state.lock().unwrap();
        let rule = state.rules.iter_mut().find(|(matches, times, _)| *times > 0 && matches(&asked));
        let fault = rule.map(|(_, times, fault)| {
            *times -= 1;
            fault.clone()
        });
        state.log.push(asked);
        (fault, state.ahead)
    };
    let mut response = match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Answer { status, code, header }) => {
            // A client that still sends its body would take an early end for a broken connection.
            request.into_body().collect().await.ok();
            refusal(status, code, header)
        }
        Some(Fault::Lose) => {
            serve(&service, request).await;
            refusal(500, "InternalError", None)
        }
        Some(Fault::Cut(at)) => serve(&service, request).await.map(|body| cut(body, at)),
        None => serve(&service, request).await,
    };
    let now = time::OffsetDateTime::from(SystemTime::now()) + time::Duration::seconds(ahead);
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    response.headers_mut().insert(http::header::DATE, HeaderValue::from_str(&now.format(&format).unwrap()).unwrap());
    Ok(response)
}

async fn serve(service: &S3Service, request: Request<Incoming>) -> Response<Body> {
    match service.call(request.map(s3s::Body::from)).await {
        Ok(response) => response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()),
        Err(error) => panic!("the S3 server failed: {error:?}"),
    }
}

fn refusal(status: u16, code: &str, header: Option<(&'static str, String)>) -> Response<Body> {
    let xml = match code {
        "" => String::new(),
        code => {
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>because of {code}</Message></Error>")
        }
    };
    let mut response = Response::builder().status(status);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(xml)).map_err(|never| match never {}).boxed_unsync()).unwrap()
}

fn cut(body: Body, at: usize) -> Body {
    let mut left = at;
    let pieces = body.into_data_stream().map(move |piece| {
        let piece = piece?;
        if left == 0 {
            return Err(std::io::Error::other("cut off"));
        }
        let piece = piece.slice(..piece.len().min(left));
        left -= piece.len();
        Ok(Frame::data(piece))
    });
    StreamBody::new(pieces).boxed_unsync()
}
