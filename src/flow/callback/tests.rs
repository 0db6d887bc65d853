use super::*;

#[test]
fn signatures_are_hmac_sha256_over_time_and_body() {
    let secret = Secret::new("Jefe");
    // As `printf '1795507200.{"a":1}' | openssl dgst -sha256 -hmac Jefe` prints it.
    let expected = "4448cbe981e31578621f1fb6602a77539487e974f835bf9fca2956e0ae85cd2e";
    let signed = secret.sign(1_795_507_200, br#"{"a":1}"#);
    assert_eq!(signed, format!("t=1795507200,v1={expected}"));
    assert_eq!(format!("{secret:?}"), "Secret");
}

#[test]
fn pauses_double_until_the_longest_and_end_after_a_day() {
    let retry = Retry::default();
    let next = |attempts, now| retry.next_ms(attempts, 0, now);
    assert_eq!(next(1, 0), Some(1_000));
    assert_eq!(next(2, 500), Some(2_500));
    assert_eq!(next(9, 0), Some(256_000));
    assert_eq!(next(10, 0), Some(300_000));
    assert_eq!(next(u32::MAX, 0), Some(300_000));
    let day = 24 * 3_600 * 1_000;
    assert_eq!(next(1, day - 1_000), Some(day));
    assert_eq!(next(1, day - 999), None);
}
