//! What the receiver does with a request: a plain answer, a late one, or one of the ways to misbehave.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One answer, with what it waits for first.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) reply: Reply,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Well-formed; the connection is kept.
    Whole { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Nothing, until the client goes away.
    Never,
    /// These bytes as they are, then a close.
    Raw(Vec<u8>),
    /// These bytes as they are, one each so often, then a close.
    Trickle { bytes: Vec<u8>, every: Duration },
    /// An answer's head, then its body for as long as the client reads.
    Endless,
    /// Many header lines, made once: the receiver shares its processors with those that a test measures.
    HeaderLines(Arc<[u8]>),
    /// A TCP reset.
    Reset,
}

impl Answer {
    /// 200 and a line of text.
    pub fn ok() -> Answer {
        Answer::status(200).body("done\n")
    }

    /// A well-formed answer without a body.
    pub fn status(status: u16) -> Answer {
        Answer::of(Reply::Whole { status, headers: Vec::new(), body: Vec::new() })
    }

    /// A redirect.
    pub fn redirect(status: u16, location: impl Into<String>) -> Answer {
        Answer::status(status).header("Location", location)
    }

    /// Reads the request and never answers.
    pub fn never() -> Answer {
        Answer::of(Reply::Never)
    }

    /// Closes before the answer.
    pub fn close() -> Answer {
        Answer::raw("")
    }

    /// Closes in the middle of a header line.
    pub fn close_mid_header() -> Answer {
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Le")
    }

    /// Closes after fewer bytes of body than it promised.
    pub fn close_mid_body() -> Answer {
        Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    }

    /// Bytes that are no HTTP.
    pub fn garbage() -> Answer {
        Answer::raw(b"\x00\xff\x13 this is no HTTP\r\n\r\n".as_slice())
    }

    /// Any bytes, then a close.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
        Answer::of(Reply::Raw(bytes.into()))
    }

    /// A reset (RST) instead of an answer.
    pub fn reset() -> Answer {
        Answer::of(Reply::Reset)
    }

    /// A whole answer, a byte at a time.
    pub fn trickle_body(body: impl AsRef<[u8]>, every: Duration) -> Answer {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.as_ref().len());
        Answer::trickle([head.as_bytes(), body.as_ref()].concat(), every)
    }

    /// Any bytes, one at a time, then a close.
    pub fn trickle(bytes: impl Into<Vec<u8>>, every: Duration) -> Answer {
        Answer::of(Reply::Trickle { bytes: bytes.into(), every })
    }

    /// A body without end, as fast as the client reads.
    pub fn endless() -> Answer {
        Answer::of(Reply::Endless)
    }

    /// A 200 with so many header lines.
    pub fn header_lines(lines: usize) -> Answer {
        let lines: Vec<String> = (0..lines).map(|line| format!("X-Line-{line}: so it goes\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", lines.concat());
        Answer::of(Reply::HeaderLines(head.into_bytes().into()))
    }

    /// Adds a header to a well-formed answer.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Answer {
        let Reply::Whole { headers, .. } = &mut self.reply else { panic!("no headers on {:?}", self.reply) };
        headers.push((name.into(), value.into()));
        self
    }

    /// Gives a well-formed answer its body.
    #[must_use]
    pub fn body(mut self, text: impl Into<Vec<u8>>) -> Answer {
        let Reply::Whole { body, .. } = &mut self.reply else { panic!("no body on {:?}", self.reply) };
        *body = text.into();
        self
    }

    /// Answers so much later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }

    /// Answers when the gate is open.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Answer {
        self.gate = Some(gate.clone());
        self
    }

    fn of(reply: Reply) -> Answer {
        Answer { reply, delay: Duration::ZERO, gate: None }
    }
}

/// Holds answers back until it is opened.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Gate {
        Gate(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Holds what comes from now on.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    pub(super) async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What the receiver does on one path.
pub(super) enum Script {
    /// One after the other; the last for ever.
    Turns(Vec<Answer>),
    /// As the closure says.
    Decided(Decide),
}

pub(super) type Decide = Arc<dyn Fn(&super::Received) -> Answer + Send + Sync>;

impl Script {
    /// The answer to a request; uses up a turn.
    pub(super) fn answer(&mut self, request: &super::Received) -> Answer {
        match self {
            Script::Turns(turns) if turns.len() > 1 => turns.remove(0),
            Script::Turns(turns) => turns.first().cloned().unwrap_or_else(Answer::ok),
            Script::Decided(decide) => decide(request),
        }
    }
}
