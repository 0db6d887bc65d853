//! Digests right and wrong, nonces old and used, and locking out.

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn digests() -> (Digests, Instant) {
    let now = Instant::now();
    let lock_out = Duration::from_secs(60);
    (Digests::new("r", "secret".into(), 3, lock_out, now), now)
}

fn password(user: &str) -> Option<Secret> {
    (user == "anna").then(|| Secret::from("right"))
}

fn nonce(digests: &mut Digests, now: Instant, source: IpAddr) -> String {
    let challenge = digests.challenge(now, source, false).value().to_owned();
    let (_, rest) = challenge.split_once("nonce=\"").expect("a nonce");
    rest.split('"').next().expect("its end").to_owned()
}

/// An `Authorization` as RFC 2617 section 3.2.2.1 makes it.
fn header(user: &str, password: &str, nonce: &str, nc: u32) -> String {
    let sealed = format!("{nonce}:{nc:08x}:cn:auth");
    let response = compute_digest(
        user,
        password,
        "r",
        &sealed,
        &Method::Register,
        "sip:r",
        Algorithm::Md5,
        None,
    );
    format!(
        "Digest username=\"{user}\",realm=\"r\",nonce=\"{nonce}\",uri=\"sip:r\",\
         response=\"{response}\",algorithm=MD5,cnonce=\"cn\",qop=auth,nc={nc:08x}"
    )
}

fn judge(digests: &mut Digests, now: Instant, header: Option<&str>) -> Verdict {
    digests.judge(now, HERE, Method::Register, header, password)
}

#[test]
fn the_hash_is_that_of_rfc_2617() {
    let given = header("anna", "right", "n0", 10);
    let given = Given::read(&given).expect("it is one");
    // By `printf … | md5sum`, with nc=0000000a.
    assert_eq!(given.response, "5d167e10f5e782a33601bc6c1b0af746");
    assert_eq!(
        given.response_with("right", Method::Register),
        given.response
    );
    assert_ne!(given.response_with("right", Method::Invite), given.response);
    assert_ne!(
        given.response_with("wrong", Method::Register),
        given.response
    );
    assert_eq!(given.count(), 10);
}

#[test]
fn a_right_digest_is_its_users_and_counts_go_up() {
    let (mut digests, now) = digests();
    assert_eq!(judge(&mut digests, now, None), Verdict::Missing);
    let nonce = nonce(&mut digests, now, HERE);
    for nc in [1, 2, 9, 10, 255, 256] {
        let header = header("anna", "right", &nonce, nc);
        let verdict = judge(&mut digests, now, Some(&header));
        assert_eq!(verdict, Verdict::Right("anna".into()), "{nc}");
        let replayed = judge(&mut digests, now, Some(&header));
        assert_eq!(replayed, Verdict::Stale, "{nc}");
    }
}

#[test]
fn two_phones_of_one_address_have_nonces_of_their_own() {
    let (mut digests, now) = digests();
    let (one, other) = (
        nonce(&mut digests, now, HERE),
        nonce(&mut digests, now, HERE),
    );
    for nonce in [&one, &other] {
        let header = header("anna", "right", nonce, 1);
        let verdict = judge(&mut digests, now, Some(&header));
        assert_eq!(verdict, Verdict::Right("anna".into()));
    }
}

#[test]
fn nonces_are_of_their_time_and_their_address() {
    let (mut digests, now) = digests();
    let nonce = nonce(&mut digests, now, HERE);
    let header = header("anna", "right", &nonce, 1);
    let other = "192.0.2.2".parse().expect("an address");
    let elsewhere = digests.judge(now, other, Method::Register, Some(&header), password);
    assert_eq!(elsewhere, Verdict::Stale);
    let old = now + NONCE_LIFE + Duration::from_secs(1);
    assert_eq!(judge(&mut digests, old, Some(&header)), Verdict::Stale);
    let good = now + NONCE_LIFE;
    assert_eq!(
        judge(&mut digests, good, Some(&header)),
        Verdict::Right("anna".into())
    );
    let forged = header.replace(&nonce, &"0".repeat(56));
    assert_eq!(judge(&mut digests, now, Some(&forged)), Verdict::Stale);
}

#[test]
fn an_address_is_locked_out_at_the_limit_and_for_its_time() {
    let (mut digests, now) = digests();
    let nonce = nonce(&mut digests, now, HERE);
    let wrong = header("anna", "wrong", &nonce, 1);
    let unknown = header("bert", "-", &nonce, 1);
    let right = header("anna", "right", &nonce, 7);
    for guess in [&wrong, &unknown] {
        assert_eq!(judge(&mut digests, now, Some(guess)), Verdict::Wrong);
    }
    // Two of three: not yet, and forgiven by a right one.
    assert_eq!(
        judge(&mut digests, now, Some(&right)),
        Verdict::Right("anna".into())
    );
    for _ in 0..3 {
        assert_eq!(judge(&mut digests, now, Some(&wrong)), Verdict::Wrong);
    }
    assert_eq!(judge(&mut digests, now, Some(&right)), Verdict::LockedOut);
    let other = "192.0.2.2".parse().expect("an address");
    let elsewhere = digests.judge(now, other, Method::Register, None, password);
    assert_eq!(elsewhere, Verdict::Missing);
    let later = now + Duration::from_secs(60);
    assert_eq!(judge(&mut digests, later, None), Verdict::Missing);
}

#[test]
fn what_is_no_digest_is_wrong_and_what_is_too_long_is_none() {
    let (_, now) = digests();
    for text in [
        "",
        "Basic YTpi",
        "Digest",
        "Digest username=anna",
        "Digest x",
        "Digest a=\"",
    ] {
        let (mut digests, _) = digests();
        assert_eq!(
            judge(&mut digests, now, Some(text)),
            Verdict::Wrong,
            "{text}"
        );
    }
    let (mut digests, _) = digests();
    let long = "x".repeat(HEADER_MAX + 1);
    assert_eq!(judge(&mut digests, now, Some(&long)), Verdict::Missing);
    assert_eq!(judge(&mut digests, now, Some(&long[1..])), Verdict::Wrong);
}

#[test]
fn what_is_kept_of_nonces_and_addresses_is_bounded() {
    let (mut digests, now) = digests();
    for n in 0..NONCES_MAX {
        assert!(digests.is_first_use(&n.to_string(), 1, now));
    }
    assert!(!digests.is_first_use("one more", 1, now));
    let later = now + NONCE_LIFE;
    assert!(
        digests.is_first_use("one more", 1, later),
        "old ones are forgotten"
    );
    for n in 0..u32::try_from(SOURCES_MAX).expect("small") {
        let source = IpAddr::V4(n.into());
        assert_eq!(digests.failed(now, source), Verdict::Wrong);
    }
    assert_eq!(digests.failed(now, HERE), Verdict::LockedOut);
    assert_eq!(digests.failed(now + FAILURES_LIFE, HERE), Verdict::Wrong);
}

#[test]
fn an_ipv6_network_is_one_place() {
    let (a, b): (IpAddr, IpAddr) = (
        "2001:db8::1".parse().expect("an address"),
        "2001:db8::ffff:2".parse().expect("an address"),
    );
    assert_eq!(network(a), network(b));
    let mapped = "::ffff:192.0.2.1".parse().expect("an address");
    assert_eq!(network(mapped), HERE);
}
