//! One connection of HTTP/2: many requests at once, each answered as its script says.

use super::answer::Reply;
use super::{Answer, Received, Shared};
use bytes::Bytes;
use h2::server::{SendResponse, handshake};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

pub(super) async fn serve(wire: TlsStream<TcpStream>, shared: Arc<Shared>, number: usize) {
    let Ok(mut connection) = handshake(wire).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(exchange(request, respond, Arc::clone(&shared), number));
    }
}

/// Ends early when the client gives up.
async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
    number: usize,
) -> Result<(), h2::Error> {
    let request = receive(request, number).await?;
    let answer = shared.answer(&request);
    let _in_flight = shared.record(request);
    let ready = async {
        if let Some(gate) = &answer.gate {
            gate.passed().await;
        }
        tokio::time::sleep(answer.delay).await;
    };
    tokio::select! {
        biased;
        () = ready => (),
        gone = std::future::poll_fn(|context| respond.poll_reset(context)) => return gone.map(|_| ()),
    }
    send(answer, respond).await
}

async fn receive(request: Request<RecvStream>, connection: usize) -> Result<Received, h2::Error> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Received {
        at: Instant::now(),
        method: head.method.to_string(),
        path: path.to_owned(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
        connection,
    })
}

async fn send(answer: Answer, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    match answer.reply {
        Reply::Whole { status, headers, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in &headers {
                response = response.header(name.to_lowercase(), value);
            }
            let mut stream = respond.send_response(response.body(()).unwrap(), body.is_empty())?;
            if !body.is_empty() {
                stream.send_data(body.into(), true)?;
            }
            Ok(())
        }
        Reply::Never => std::future::poll_fn(|context| respond.poll_reset(context)).await.map(|_| ()),
        Reply::Reset => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        other => panic!("no such answer over HTTP/2: {other:?}"),
    }
}
