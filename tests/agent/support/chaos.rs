//! A network that breaks and lies: a proxy in front of a real HTTP server, which it asks whatever it is asked.
//!
//! It forwards real bytes in both directions, and every now and then a fault takes place: by chance, as a `Plan` says, or
//! because a test asked for it. It counts those that did. The sequence of chances follows from the seed; which request
//! meets which, where several are under way, does not. It speaks HTTP/1.1 without TLS, and knows no chunked uploads.

mod answer;
mod exchange;
mod head;
mod memory;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Seed;
use super::server::free_address;
use exchange::serve;
use head::Head;
use memory::Memory;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The connection is reset: in the middle of an upload, after a request was done, or in the middle of an answer.
    Reset,
    /// 500 or 503 instead of an answer. What the request asked for may have been done.
    ServerError,
    /// No more bytes come, before an answer or in the middle of it, until the client has enough of it.
    Stall,
    /// The connection is closed in good order before the body is as long as announced.
    Truncate,
    /// One bit of a body is another.
    FlipBit,
    /// The body is that of another object, of the same length.
    OtherObject,
    /// The answer is one given earlier to the same question, when the object was another, or not there.
    OldContent,
    /// 200 and an HTML page, as hotels and gateways do.
    HtmlPage,
    /// The range in `Content-Range` is not the one that was asked for.
    WrongRange,
    /// The whole object comes although a range was asked for.
    WholeObject,
    /// A body comes byte by byte, one a second.
    Trickle,
}

impl Fault {
    /// All but the one that takes hours.
    pub(crate) const ALL: [Self; 10] = [
        Self::Reset,
        Self::ServerError,
        Self::Stall,
        Self::Truncate,
        Self::FlipBit,
        Self::OtherObject,
        Self::OldContent,
        Self::HtmlPage,
        Self::WrongRange,
        Self::WholeObject,
    ];

    /// Whether it can happen to such a request at all.
    fn suits(self, request: &Head) -> bool {
        let (is_get, is_head) = (request.method() == "GET", request.method() == "HEAD");
        match self {
            Self::Reset | Self::ServerError | Self::Stall => true,
            Self::HtmlPage => is_get || is_head,
            Self::Truncate | Self::FlipBit | Self::OtherObject | Self::OldContent | Self::Trickle => is_get,
            Self::WrongRange | Self::WholeObject => is_get && request.field("range").is_some(),
        }
    }
}

/// Which faults happen by chance, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<Fault>,
    /// Requests out of a thousand that meet one.
    pub(crate) per_mille: u64,
}

impl Plan {
    /// Nothing happens by chance.
    pub(crate) fn calm() -> Self {
        Self { seed: 0, kinds: Vec::new(), per_mille: 0 }
    }

    /// One fault happens to every request that it can happen to.
    pub(crate) fn always(fault: Fault) -> Self {
        Self { seed: 0, kinds: vec![fault], per_mille: 1000 }
    }
}

/// A proxy. Dropping it closes its connections, also those that stall.
#[derive(Debug)]
pub(crate) struct Chaos {
    address: SocketAddr,
    proxy: Arc<Proxy>,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Chaos {
    /// A proxy that forwards to `server`.
    pub(crate) fn in_front_of(server: SocketAddr, plan: Plan) -> Self {
        let listener = TcpListener::bind(free_address()).expect("a free address");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let proxy = Arc::new(Proxy { server, state: Mutex::new(State::new(plan)) });
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&proxy);
        let thread = std::thread::spawn(move || run(listener, &shared, stopped));
        Self { address, proxy, thread: Some((stop, thread)) }
    }

    /// Where it is, as the start of a URL without a slash at the end.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the next `times` requests that it can happen to meet `fault`.
    pub(crate) fn set(&self, fault: Fault, times: usize) {
        self.proxy.with(|state| state.due.extend(std::iter::repeat_n(fault, times)));
    }

    /// Another plan from now on; what was set and is still due is forgotten.
    pub(crate) fn plan(&self, plan: Plan) {
        self.proxy.with(|state| {
            state.chance = Seed::quiet(plan.seed);
            state.due.clear();
            state.plan = plan;
            state.next = None;
        });
    }

    /// Another plan once so many requests from now have passed.
    pub(crate) fn plan_after(&self, requests: u64, plan: Plan) {
        self.proxy.with(|state| state.next = Some((requests, plan)));
    }

    /// How often a fault really happened.
    pub(crate) fn count(&self, fault: Fault) -> usize {
        self.proxy.with(|state| state.happened.iter().filter(|&&happened| happened == fault).count())
    }

    /// How many faults happened in all.
    pub(crate) fn total(&self) -> usize {
        self.proxy.with(|state| state.happened.len())
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic there has been printed, and one in here would hide it.
            drop(thread.join());
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Proxy {
    server: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    chance: Seed,
    plan: Plan,
    /// Faults that a test asked for.
    due: Vec<Fault>,
    happened: Vec<Fault>,
    memory: Memory,
    /// The plan that follows after so many requests.
    next: Option<(u64, Plan)>,
}

/// A fault that is to happen to a request.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    fault: Fault,
    was_due: bool,
}

impl State {
    fn new(plan: Plan) -> Self {
        let chance = Seed::quiet(plan.seed);
        let (due, happened, memory) = (Vec::new(), Vec::new(), Memory::default());
        Self { chance, plan, due, happened, memory, next: None }
    }

    fn draw(&mut self, request: &Head) -> Option<Drawn> {
        match &mut self.next {
            Some((0, plan)) => {
                (self.chance, self.plan) = (Seed::quiet(plan.seed), plan.clone());
                self.next = None;
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        if let Some(index) = self.due.iter().position(|fault| fault.suits(request)) {
            return Some(Drawn { fault: self.due.remove(index), was_due: true });
        }
        if self.chance.below(1000) >= self.plan.per_mille {
            return None;
        }
        let suitable: Vec<_> = self.plan.kinds.iter().copied().filter(|fault| fault.suits(request)).collect();
        let fault = *suitable.get(self.index(suitable.len())?)?;
        Some(Drawn { fault, was_due: false })
    }

    /// An index into so many, if there are any.
    fn index(&mut self, len: usize) -> Option<usize> {
        let limit = u64::try_from(len).ok().filter(|&limit| limit > 0)?;
        usize::try_from(self.chance.below(limit)).ok()
    }

    /// It did not happen after all: one that was asked for stays due.
    fn put_back(&mut self, drawn: Drawn) {
        if drawn.was_due {
            self.due.insert(0, drawn.fault);
        }
    }
}

impl Proxy {
    fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        action(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A choice of two.
    fn toss(&self) -> bool {
        self.with(|state| state.chance.below(2) == 0)
    }

    /// A place below `limit`; 0 if there is none.
    fn place(&self, limit: u64) -> u64 {
        self.with(|state| if limit == 0 { 0 } else { state.chance.below(limit) })
    }

    fn happened(&self, fault: Fault) {
        self.with(|state| state.happened.push(fault));
    }
}

/// Accepts until the sender of `stopped` is gone; the runtime's end is the end of all connections.
fn run(listener: TcpListener, proxy: &Arc<Proxy>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let accept = async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        loop {
            let (client, _) = listener.accept().await.expect("accept");
            tokio::spawn(serve(client, Arc::clone(proxy)));
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {}
            () = accept => {}
        }
    });
}
