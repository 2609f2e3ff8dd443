//! Addresses that are never called, however a job or a redirect comes to them.

use super::{Rig, Seen};
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};

fn assert_denied(seen: &Seen, address: &str) {
    seen.assert_permanent();
    let fault = format!("the address {address} is in one of the deny_networks of the settings");
    assert_eq!(seen.last_message(), format!("Job failed permanently: {fault}"), "{}", seen.url);
}

#[tokio::test]
async fn link_local_and_metadata_addresses_are_denied_as_it_stands_however_they_are_written() {
    let rig = Rig::start("").await;
    let told = [
        ("169.254.169.254", "169.254.169.254"),
        ("2852039166", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("0xa9.0xfe.43518", "169.254.169.254"),
        ("169.254.169.254.", "169.254.169.254"),
        ("①⑥⑨.254.169.254", "169.254.169.254"),
        ("[::ffff:169.254.169.254]", "::ffff:169.254.169.254"),
        ("[64:ff9b::169.254.169.254]", "64:ff9b::a9fe:a9fe"),
        ("[fe80::1]", "fe80::1"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
        ("[FD00:0ec2:0:0::0254]", "fd00:ec2::254"),
        ("[fd20:ce::254]", "fd20:ce::254"),
        ("100.100.100.200", "100.100.100.200"),
    ];
    for (host, address) in told {
        let seen = rig.finish(job().url(format!("http://{host}/latest/meta-data/"))).await;
        assert_denied(&seen, address);
    }
}

#[tokio::test]
async fn private_networks_are_called_as_it_stands() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    rig.finish(job().url(receiver.url("/"))).await.assert_done();
}

#[tokio::test]
async fn an_address_that_leads_to_this_machine_is_denied_with_loopback() {
    let receiver = Receiver::start().await;
    let rig = Rig::start("[http]\ndeny_networks: 127.0.0.0/8, ::1\n").await;
    let told = ["127.0.0.1", "0.0.0.0", "0", "127.1", "2130706433", "0177.0.0.1", "[::1]", "[::]", "[::ffff:7f00:1]"];
    for host in told {
        let seen = rig.finish(job().url(format!("http://{host}:{}/", receiver.address().port()))).await;
        seen.assert_permanent();
        assert!(seen.response.ends_with("is in one of the deny_networks of the settings"), "{host}: {}", seen.response);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_is_denied_when_all_its_addresses_are() {
    let receiver = Receiver::start().await;
    let rig = Rig::start("[http]\ndeny_networks: 127.0.0.0/8, ::1\n").await;
    let seen = rig.finish(job().url(format!("http://localhost:{}/", receiver.address().port()))).await;
    seen.assert_permanent();
    assert!(seen.response.ends_with("is in one of the deny_networks of the settings"), "{}", seen.response);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_redirect_to_a_denied_address_is_not_followed() {
    let rig = Rig::start("[http]\ndeny_networks: 127.0.0.1, ::1\n").await;
    let (here, there) = (Receiver::start_on([127, 0, 0, 2]).await, Receiver::start().await);
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        for status in [302, 307] {
            here.on("/", Answer::redirect(status, format!("http://{host}:{}/", there.address().port())));
            let seen = rig.finish(job().url(here.url("/"))).await;
            seen.assert_permanent();
            assert!(seen.response.ends_with("is in one of the deny_networks of the settings"), "{}", seen.response);
        }
    }
    let between = Receiver::start_on([127, 0, 0, 3]).await;
    between.on("/", Answer::redirect(307, there.url("/")));
    here.on("/", Answer::redirect(302, between.url("/")));
    let seen = rig.finish(job().url(here.url("/"))).await;
    seen.assert_permanent();
    assert!(seen.response.ends_with("is in one of the deny_networks of the settings"), "{}", seen.response);
    assert_eq!(between.count(), 1);
    here.on("/", Answer::redirect(302, "http://169.254.169.254/"));
    rig.finish(job().url(here.url("/end"))).await.assert_done();
    assert_eq!(there.connections(), 0);
}

#[tokio::test]
async fn a_job_that_was_moved_to_a_denied_address_is_not_called_there() {
    let rig = Rig::start("[http]\ndeny_networks: 127.0.0.1, ::1\n").await;
    let (here, there) = (Receiver::start_on([127, 0, 0, 2]).await, Receiver::start().await);
    here.on("/", Answer::status(503).header("x-bitlancer-url", there.url("/")));
    let seen = rig.finish(job().url(here.url("/")).retry_delay(0)).await;
    assert_eq!((seen.state.as_str(), seen.result_code, seen.attempt), ("discarded", Some(1), 2));
    assert!(seen.response.ends_with("is in one of the deny_networks of the settings"), "{}", seen.response);
    assert_eq!((here.count(), there.connections()), (1, 0));
}
