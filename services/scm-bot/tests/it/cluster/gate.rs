//! What is between a replica and the API server: it may break, or hold a request back.

use std::sync::{Arc, Mutex};

use kube::{Client, Error, client::Body};
use tokio::sync::Notify;

use super::server::Place;

/// How a request breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// It is not sent.
    Before,
    /// It is done, and nobody hears of that.
    After,
}

#[derive(Default)]
struct State {
    /// Requests so far.
    count: usize,
    /// This one breaks, and all after it.
    breaks: Option<(usize, Break)>,
    /// Nothing gets through any more.
    cut: bool,
    /// Nor does anybody hear of that.
    frozen: bool,
    /// This one is held back.
    holds: Option<usize>,
}

/// What is between a replica and the API server.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    held: Notify,
    released: Notify,
}

impl Gate {
    /// From the `number`th request from now on nothing gets through.
    pub(crate) fn break_at(&self, number: usize, how: Break) {
        let mut state = self.state.lock().unwrap();
        (state.count, state.breaks) = (0, Some((number, how)));
    }

    /// From the `number`th request from now on nothing comes back: whoever asks is as good as dead. `held` tells.
    pub(crate) fn freeze_at(&self, number: usize, how: Break) {
        self.break_at(number, how);
        self.state.lock().unwrap().frozen = true;
    }

    /// Holds back the `number`th request from now on.
    pub(crate) fn hold_at(&self, number: usize) {
        let mut state = self.state.lock().unwrap();
        (state.count, state.holds) = (0, Some(number));
    }

    /// Until a request is held back.
    pub(crate) async fn held(&self) {
        self.held.notified().await;
    }

    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.state.lock().unwrap().cut = cut;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().unwrap().cut
    }

    async fn pass(&self, client: &Client, request: http::Request<Body>) -> Result<http::Response<Body>, Error> {
        let (breaks, holds, cut, frozen) = {
            let mut state = self.state.lock().unwrap();
            state.count += 1;
            let number = state.count;
            let breaks = state.breaks.filter(|(at, _)| *at == number).map(|(_, how)| how);
            let cut = state.cut;
            state.cut |= breaks.is_some();
            (breaks, state.holds == Some(number), cut, state.frozen)
        };
        let away = async || {
            if frozen {
                self.held.notify_one();
                std::future::pending::<()>().await;
            }
            Err(Error::Service("planted".into()))
        };
        if cut {
            return away().await;
        }
        if holds {
            self.held.notify_one();
            self.released.notified().await;
        }
        match breaks {
            None => client.send(request).await,
            Some(Break::Before) => away().await,
            Some(Break::After) => {
                client.send(request).await?;
                away().await
            }
        }
    }
}

/// A client of the bot behind a gate.
pub(crate) async fn client(place: &Place, gate: &Arc<Gate>) -> Client {
    let inner = Client::try_from(place.config().await).unwrap();
    let gate = Arc::clone(gate);
    let through = tower::service_fn(move |request: http::Request<Body>| {
        let (inner, gate) = (inner.clone(), Arc::clone(&gate));
        async move { gate.pass(&inner, request).await }
    });
    Client::new(through, place.namespace.clone())
}
