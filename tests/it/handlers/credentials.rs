//! Who gets which credentials: ours go to the hosts that the settings list, a URL's own to its host, and none
//! is carried over to another host.

use super::Rig;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Received, Receiver};

const OURS: &str = "[api]\nuser: queue\npasswd: s3cret: %1\n";
/// `queue:s3cret: %1` in base64.
const OURS_SENT: &str = "Basic cXVldWU6czNjcmV0OiAlMQ==";
/// `ann:p@ss` in base64.
const HERS_SENT: &str = "Basic YW5uOnBAc3M=";

async fn sent(rig: &Rig, receiver: &Receiver, url: &str) -> Option<String> {
    rig.finish(job().url(url)).await.assert_done();
    authorization(&receiver.requests().pop().unwrap())
}

fn authorization(request: &Received) -> Option<String> {
    request.header("Authorization").map(str::to_owned)
}

/// A receiver's URL, with its host as it is or by name, and with a user.
fn url(receiver: &Receiver, user: &str, host: &str) -> String {
    format!("http://{user}{host}:{}/", receiver.address().port())
}

#[tokio::test]
async fn our_credentials_go_to_every_host_as_it_stands() {
    let (rig, receiver) = (Rig::start(OURS).await, Receiver::start().await);
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(sent(&rig, &receiver, &url(&receiver, "", host)).await.as_deref(), Some(OURS_SENT));
    }
}

#[tokio::test]
async fn our_credentials_go_to_no_host_that_the_settings_do_not_list() {
    let receiver = Receiver::start().await;
    let port = receiver.address().port();
    let rig = Rig::start(&format!("{OURS}hosts: LOCALHOST:{port}, example.com, 127.0.0.1:9\n")).await;
    assert_eq!(sent(&rig, &receiver, &url(&receiver, "", "localhost")).await.as_deref(), Some(OURS_SENT));
    assert_eq!(sent(&rig, &receiver, &url(&receiver, "", "127.0.0.1")).await, None);
}

#[tokio::test]
async fn a_urls_own_credentials_go_before_ours() {
    let (rig, receiver) = (Rig::start(OURS).await, Receiver::start().await);
    let own = url(&receiver, "ann:p%40ss@", "127.0.0.1");
    assert_eq!(sent(&rig, &receiver, &own).await.as_deref(), Some(HERS_SENT));
    assert_eq!(receiver.requests()[0].path, "/");
    // `ann:` in base64.
    let user_alone = url(&receiver, "ann@", "127.0.0.1");
    assert_eq!(sent(&rig, &receiver, &user_alone).await.as_deref(), Some("Basic YW5uOg=="));
}

#[tokio::test]
async fn no_credentials_are_carried_over_to_another_host() {
    let (rig, here, there) = (Rig::start(OURS).await, Receiver::start().await, Receiver::start().await);
    for user in ["", "ann:p%40ss@"] {
        // Another port is another host, and so is another name.
        for target in [there.url("/"), url(&here, "", "localhost") + "there"] {
            for status in [302, 307] {
                here.on("/", Answer::redirect(status, &target));
                rig.finish(job().url(url(&here, user, "127.0.0.1"))).await.assert_done();
            }
        }
    }
    let told: Vec<_> = here.requests_for("/").iter().map(authorization).collect();
    assert!(told.iter().all(Option::is_some) && told.len() == 8, "{told:?}");
    let carried: Vec<_> = there.requests().iter().chain(&here.requests_for("/there")).map(authorization).collect();
    assert_eq!(carried, vec![None; 8]);
}

#[tokio::test]
async fn credentials_that_were_dropped_do_not_come_back_with_the_first_host() {
    let (rig, here, there) = (Rig::start(OURS).await, Receiver::start().await, Receiver::start().await);
    here.on("/", Answer::redirect(307, there.url("/")));
    there.on("/", Answer::redirect(307, here.url("/back")));
    rig.finish(job().url(here.url("/"))).await.assert_done();
    assert_eq!(authorization(&here.requests_for("/back")[0]), None);
}

/// Nor where the other host redirects to itself, as one does for want of a slash.
#[tokio::test]
async fn credentials_that_were_dropped_are_not_given_to_a_host_that_redirects_once_more() {
    let (rig, here, there) = (Rig::start(OURS).await, Receiver::start().await, Receiver::start().await);
    for status in [302, 307, 308] {
        here.on("/", Answer::redirect(status, there.url("/first")));
        there.on("/first", Answer::redirect(status, "/second"));
        there.on("/second", Answer::redirect(status, there.url("/third")));
        rig.finish(job().url(here.url("/"))).await.assert_done();
    }
    let carried: Vec<_> = there.requests().iter().map(authorization).collect();
    assert_eq!(carried, vec![None; 9]);
}

/// Nor those that a host would have us use for another.
#[tokio::test]
async fn credentials_in_a_redirect_are_not_used() {
    let (rig, here, there) = (Rig::start(OURS).await, Receiver::start().await, Receiver::start().await);
    here.on("/", Answer::redirect(307, there.url("/").replace("://", "://mallory:secret@")));
    rig.finish(job().url(here.url("/"))).await.assert_done();
    assert_eq!(authorization(&there.requests()[0]), None);
}

#[tokio::test]
async fn a_redirect_within_the_host_keeps_its_credentials() {
    let (rig, receiver) = (Rig::start(OURS).await, Receiver::start().await);
    receiver.on("/", Answer::redirect(307, "/there"));
    assert_eq!(sent(&rig, &receiver, &receiver.url("/")).await.as_deref(), Some(OURS_SENT));
}
