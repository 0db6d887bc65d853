//! Settings as users write them, and what they are told of mistakes.

use super::*;

fn config(text: &str) -> Result<SipConfig, SipConfigError> {
    let settings: SipSettings = toml::from_str(text).expect("TOML of known fields");
    SipConfig::new(settings)
}

#[test]
fn without_settings_it_listens_on_loopback_and_lets_in_who_is_there() {
    let config = config("").expect("defaults are in order");
    let listens: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listens, ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]);
    assert_eq!(config.strangers, Strangers::Loopback);
    assert_eq!(config.pass_headers, ["X-Exotel-CallSid", "X-Exotel-LegSid"]);
    assert_eq!(config.realm, "crosspoint");
    assert_eq!(config.t1, Duration::from_millis(500));
    assert_eq!(config.session_min, Duration::from_secs(90));
}

const WHOLE: &str = r#"
    listen = ["udp:[::1]:5070", "ws:127.0.0.1:8088"]
    strangers = false
    pass-headers = []
    [[user]]
    name = "anna"
    password = "s3cret"
    [[trunk]]
    name = "carrier"
    address = "sip:sbc.example.com:5080;transport=tcp"
    from = ["192.0.2.0/24", "2001:db8::1"]
    username = "us"
    password = "hush"
    register = true
"#;

#[test]
fn everything_can_be_set() {
    let config = config(WHOLE).expect("it is in order");
    assert_eq!(config.strangers, Strangers::Refused);
    assert!(config.pass_headers.is_empty());
    assert_eq!(config.users[0].name, "anna");
    let trunk = &config.trunks[0];
    assert!(trunk.register);
    assert!(trunk.from[0].contains("192.0.2.77".parse().expect("an address")));
    assert!(!trunk.from[0].contains("192.0.3.77".parse().expect("an address")));
    assert!(trunk.from[0].contains("::ffff:192.0.2.7".parse().expect("an address")));
    assert!(trunk.from[1].contains("2001:db8::1".parse().expect("an address")));
    assert!(!trunk.from[1].contains("2001:db8::2".parse().expect("an address")));
}

#[test]
fn passwords_are_not_shown() {
    let settings: SipSettings = toml::from_str(WHOLE).expect("TOML");
    let shown = format!("{settings:?} {:?}", SipConfig::new(settings.clone()));
    assert!(shown.contains("anna"), "{shown}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("hush"),
        "{shown}"
    );
}

#[test]
fn mistakes_are_named_with_their_place() {
    let trunk = |rest: &str| format!("[[trunk]]\nname = \"t\"\n{rest}");
    let mistakes = [
        (
            "listen = [\"5060\"]".to_owned(),
            "sip.listen[0]: '5060' is not",
        ),
        (
            "listen = [\"sctp:127.0.0.1:1\"]".to_owned(),
            "sip.listen[0]: 'sctp' is not",
        ),
        (
            "listen = [\"tls:127.0.0.1:1\"]".to_owned(),
            "sip.certificate: tls needs one",
        ),
        ("realm = \"a\\\"b\"".to_owned(), "sip.realm: "),
        ("t1 = 9".to_owned(), "sip.t1: 9 is not within 10–5000"),
        (
            "calls-per-second = 0".to_owned(),
            "sip.calls-per-second: 0 is not within",
        ),
        (
            "pass-headers = [\"A:\"]".to_owned(),
            "sip.pass-headers[0]: 'A:' is not a name",
        ),
        (
            trunk("address = \"host\""),
            "sip.trunk[0].address: 'host' begins with neither",
        ),
        (trunk("address = \"sip:a b\""), "sip.trunk[0].address: "),
        (
            trunk("address = \"sip:h\"\nfrom = [\"1.2.3.4/33\"]"),
            "sip.trunk[0].from[0]: '/33' is not /0 to /32",
        ),
        (
            trunk("address = \"sip:h\"\nusername = \"u\""),
            "sip.trunk[0].password: a username needs one",
        ),
        (
            trunk("address = \"sip:h\"\nregister = true"),
            "sip.trunk[0].register: it needs",
        ),
        (
            "[[user]]\nname=\"a\"\npassword=\"x\"\n[[user]]\nname=\"a\"\npassword=\"y\"".to_owned(),
            "sip.user[1].name: 'a' stands there twice",
        ),
        (
            "[[user]]\nname=\"a\"\npassword=\"\"".to_owned(),
            "sip.user[0].password: it is empty",
        ),
    ];
    for (text, wanted) in mistakes {
        let error = config(&text).expect_err(&text).to_string();
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    let listens = |n: usize| {
        let texts: Vec<String> = (1..=n).map(|p| format!("\"udp:127.0.0.1:{p}\"")).collect();
        config(&format!("listen = [{}]", texts.join(",")))
    };
    assert!(listens(LISTENS_MAX).is_ok());
    assert!(listens(LISTENS_MAX + 1).is_err());
    let headers = |n: usize| {
        let texts: Vec<String> = (0..n).map(|i| format!("\"X-{i}\"")).collect();
        config(&format!("pass-headers = [{}]", texts.join(",")))
    };
    assert!(headers(PASSED_HEADERS_MAX).is_ok());
    assert!(headers(PASSED_HEADERS_MAX + 1).is_err());
    let realm = |n: usize| config(&format!("realm = \"{}\"", "r".repeat(n)));
    assert!(realm(NAME_MAX).is_ok());
    assert!(realm(NAME_MAX + 1).is_err());
}
