//! Settings of any kind: nothing panics, what is written is what is read, and no password is shown.

use super::networks::parse as network;
use super::statuses::parse_range;
use super::{Config, ConfigError, Secret};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("db.ini"), text, &|_| None)
}

/// All that a person gets to see.
fn shown(result: &Result<Config, ConfigError>) -> String {
    match result {
        Ok(config) => format!("{config:?} {config:#?} {:?}", config.warnings),
        Err(error) => format!("{error} {error:?} {error:#?}"),
    }
}

/// A line of settings: real ones, misspelt ones, and anything.
fn line() -> impl Strategy<Value = String> {
    let name = "\\[?(db|api|http|dispatch|retry|sweep|binlog|db-test|bd)\\]?";
    let setting = "(host|port|user|passwd|db|hosts|max_in_flight|jitter|deny_networks|retry_statuses|pasword)";
    prop_oneof![
        name.prop_map(|name| name),
        (setting, "[:=]? ?", "[ -~]{0,12}").prop_map(|(key, sign, value)| key + &sign + &value),
        "[ \t]{0,3}[#;]?\\PC{0,20}",
        "(?s).{0,10}",
    ]
}

/// A line that holds the password, written as it should be or nearly so.
fn password_line(secret: &str) -> impl Strategy<Value = String> + use<> {
    let secret = secret.to_owned();
    ("[ \t]{0,2}", "(passwd|Passwd|pass|pasword|passwd_|passwd)", "( ?[:=] ?|:\n  |:\n\n )", "[\"' %$\\\\]{0,2}")
        .prop_map(move |(indent, key, sign, mark)| format!("{indent}{key}{sign}{mark}{secret}{mark}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_read_or_told_what_is_wrong_with_it(lines in vec(line(), 0..12)) {
        let result = parse(&lines.join("\n"));
        if let Err(error) = result {
            prop_assert!(!error.problems.is_empty());
            for problem in &error.problems {
                let text = problem.to_string();
                prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    }

    #[test]
    fn no_password_is_shown_however_it_is_written(
        (secret, password) in "[A-Z]{12}".prop_flat_map(|secret| (Just(secret.clone()), password_line(&secret))),
        before in vec(line(), 0..3),
        section in "\\[(db|api|bd)\\]",
        after in vec(line(), 0..3),
    ) {
        let text = format!("{}\n{section}\nhost: a\n{password}\n{}", before.join("\n"), after.join("\n"));
        let shown = shown(&parse(&text)).to_lowercase();
        prop_assert!(!shown.contains(&secret.to_lowercase()), "{text}\nis answered\n{shown}");
    }

    #[test]
    fn values_are_read_as_they_are_written(
        user in "[!-~é]([ -~é]{0,20}[!-~é])?", password in "[!-~é]([ -~é]{0,20}[!-~é])?", sign in ": ?|= ?| = ",
    ) {
        let text = format!("[db]\nhost: a\ndb: q\nuser{sign}{user}\npasswd{sign}{password}\n");
        let config = parse(&text).unwrap().database;
        prop_assert_eq!(config.user, user);
        prop_assert_eq!(config.password, Some(Secret::new(password)));
    }

    #[test]
    fn a_secret_is_shown_in_no_form(secret in "[^*]{1,20}") {
        let wrapped = Secret::new(secret.clone());
        prop_assert_eq!(format!("{wrapped} {wrapped:?} {wrapped:#?} {:?}", Some(&wrapped)), "*** *** *** Some(***)");
        prop_assert_eq!(wrapped.reveal(), secret);
    }

    #[test]
    fn a_range_of_statuses_holds_what_it_says_and_nothing_impossible(text in "[0-9]{0,4}-?[0-9]{0,4}|\\PC{0,8}") {
        if let Some(range) = parse_range(&text) {
            prop_assert!(*range.start() >= 200 && *range.end() <= 599 && range.start() <= range.end());
            let (first, last) = text.split_once('-').unwrap_or((&text, &text));
            prop_assert_eq!((first.parse(), last.parse()), (Ok(*range.start()), Ok(*range.end())));
        }
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it(base in any::<u32>(), other in any::<u32>(), bits in 0_u32..=32) {
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        for address in [other, base ^ (other & !mask), base ^ 1_u32.rotate_right(bits)] {
            let expected = address & mask == base & mask;
            let set = network(&format!("{}/{bits}", Ipv4Addr::from(base))).unwrap();
            let written = Ipv4Addr::from(address);
            for address in [IpAddr::V4(written), IpAddr::V6(written.to_ipv6_mapped())] {
                prop_assert_eq!(super::networks::of(vec![set]).contains(address), expected, "{} {}", address, set);
            }
        }
    }

    #[test]
    fn what_is_a_network_can_be_written_again(text in "[0-9a-f:./]{0,20}|\\PC{0,12}") {
        if let Some(parsed) = network(&text) {
            prop_assert_eq!(network(&parsed.to_string()), Some(parsed));
        }
    }
}
