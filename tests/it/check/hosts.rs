//! What `check` says of the hosts of the list that are not used.

use super::check;
use crate::support::pair::Pair;
use std::net::{Ipv4Addr, TcpListener};

#[tokio::test]
async fn the_other_hosts_are_looked_at_too() {
    let pair = Pair::start().await;
    check(&pair.cluster.ini(&[1, 0], "")).await.assert_clean();
    pair.cluster.execute_on(1, "SET GLOBAL sync_binlog = 0; SET GLOBAL read_only = OFF").await;
    let nobody = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let ports = [pair.cluster.access(0).port, pair.cluster.access(1).port, nobody];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(", ");
    let checked = check(&pair.cluster.ini_for(&hosts, "")).await;
    let replica = format!("remark: of the other hosts, 127.0.0.1:{}: ", ports[1]);
    checked.assert_finding(
        &format!("{replica}it takes writes"),
        "on all servers but the primary:\nSET GLOBAL read_only = ON;",
    );
    assert!(checked.stdout.contains(&format!("{replica}sync_binlog is 0: ")), "{checked}");
    checked.assert_finding(
        &format!("remark: of the other hosts, 127.0.0.1:{nobody}: cannot connect to 127.0.0.1:{nobody}: "),
        "start the server, or mend [db] `host: …` and `port: …`",
    );
    checked.assert_ends(0, "0 faults, 3 remarks");
}
