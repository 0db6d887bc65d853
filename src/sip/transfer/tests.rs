use super::*;

fn replaces(value: &str) -> Option<Replaces> {
    Replaces::parse(value)
}

#[test]
fn what_is_replaced_is_read_and_written() {
    let read = replaces("a@b; from-tag = f ;to-tag=t;x=y;Early-Only").expect("in order");
    assert_eq!(read.call_id, "a@b");
    assert_eq!((read.to_tag.as_str(), read.from_tag.as_str()), ("t", "f"));
    assert!(read.early_only);
    assert_eq!(read.to_string(), "a@b;to-tag=t;from-tag=f;early-only");
    assert_eq!(replaces(&read.to_string()), Some(read));
}

#[test]
fn what_names_no_single_dialog_is_refused() {
    let cases = [
        "",
        "a",
        "a;to-tag=t",
        "a;from-tag=f",
        ";to-tag=t;from-tag=f",
        "a;to-tag=;from-tag=f",
        "a;to-tag;from-tag=f",
        "a;to-tag=t;from-tag=f;to-tag=u",
        "a;to-tag=t;from-tag=f,b;to-tag=t;from-tag=f",
        "a,b;to-tag=t;from-tag=f",
        "a b;to-tag=t;from-tag=f",
        "a;to-tag=t;from-tag=f;x=y,z",
    ];
    for case in cases {
        assert_eq!(replaces(case), None, "{case}");
    }
    let of = |n: usize| format!("{};to-tag=t;from-tag=f", "c".repeat(n));
    assert!(replaces(&of(FIELD_MAX)).is_some());
    assert!(replaces(&of(FIELD_MAX + 1)).is_none());
}

#[test]
fn addresses_to_refer_to_are_read() {
    let sip = |value: &str| match Target::parse(value).expect(value).uri {
        Address::Sip(uri) => uri.to_string(),
        Address::Number(number) => format!("tel:{number}"),
    };
    assert_eq!(sip("\"A Name\" <sip:1@h:5;x=y>;z"), "sip:1@h:5;x=y");
    assert_eq!(sip("sip:1@h;x"), "sip:1@h");
    assert_eq!(sip("<SIPS:a@h>"), "sips:a@h");
    assert_eq!(
        sip("<sip:a%40b%23@h;method=INVITE>"),
        "sip:a%40b%23@h;method=INVITE"
    );
    assert_eq!(sip("<tel:+49-(30).12;phone-context=x>"), "tel:+493012");
    let target = Target::parse("<sip:1@h?Replaces=a%40b%3Bto-tag%3Dt%3Bfrom-tag%3Df&X=y>");
    let replaced = target.expect("in order").replaces.expect("a dialog");
    assert_eq!(replaced.to_string(), "a@b;to-tag=t;from-tag=f");
}

#[test]
fn addresses_to_refer_to_that_are_wrong_are_refused() {
    let long = |n: usize| format!("<sip:{}@h>", "1".repeat(n - "<sip:@h>".len()));
    let cases = [
        ("", 400),
        ("<sip:1@h", 400),
        ("1@h", 400),
        ("<sip:1@>", 400),
        ("<sip:1@h:99999>", 400),
        ("<tel:>", 400),
        ("<tel:anna>", 400),
        ("<mailto:a@b>", 416),
        ("<http://h/>", 416),
        ("<sip:1@h;method=BYE>", 501),
        ("<sip:1@h;method=NONE>", 400),
        ("<sip:1@h?Replaces=a>", 400),
        ("<sip:1@h?Replaces=>", 400),
        (
            "<sip:1@h?Replaces=a%3Bto-tag%3Dt%3Bfrom-tag%3Df\
             &replaces=a%3Bto-tag%3Dt%3Bfrom-tag%3Df>",
            400,
        ),
        (&long(FIELD_MAX + 1), 400),
    ];
    for (value, code) in cases {
        assert_eq!(Target::parse(value), Err(Cause(code)), "{value}");
    }
    assert!(Target::parse(&long(FIELD_MAX)).is_ok());
}

#[test]
fn nothing_of_ours_can_be_taken_for_something_else() {
    assert_eq!(ours("1000".into()), Ok("1000".into()));
    for odd in [
        "",
        "1@trunk",
        "sip:1",
        "local:1",
        "<1",
        &"1".repeat(ADDRESS_MAX + 1),
    ] {
        assert_eq!(ours(odd.to_owned()), Err(Cause(404)), "{odd}");
    }
    assert!(ours("1".repeat(ADDRESS_MAX)).is_ok());
}

#[test]
fn hosts_are_the_same_with_the_same_port() {
    let is = |uri: &str, here: &str| {
        let uri = Uri::try_from(uri).expect("a URI");
        is_same(&uri, &HostWithPort::try_from(here).expect("a host"))
    };
    assert!(is("sip:a@H.example", "h.example:5060"));
    assert!(is("sips:a@h", "h:5061"));
    assert!(!is("sip:a@127.0.0.1:5070", "127.0.0.1"));
    assert!(!is("sip:a@g", "h"));
}
