//! Flows are read whole, and every mistake is told with its place.

use std::path::PathBuf;

use super::*;

const FILE: &str = "flows/main.toml";

/// A flow whose applet `a` is where it starts.
fn flow(applets: &str) -> String {
    format!("numbers = [\"1000\"]\nstart = \"a\"\n{applets}")
}

fn read(text: &str) -> Result<Parsed, Vec<ScriptError>> {
    parse("main", FILE, text, &[])
}

fn fine(applets: &str) -> Flow {
    let text = flow(applets);
    match read(&text) {
        Ok(parsed) => parsed.flow,
        Err(errors) => panic!("{text}\n{}", lines(&errors)),
    }
}

fn lines(errors: &[ScriptError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What is wrong with a text, a line for each mistake.
fn wrong(text: &str) -> String {
    let errors = read(text).map(|parsed| parsed.flow).unwrap_err();
    lines(&errors)
}

/// What is wrong with applets; their first line is 3.
fn wrong_applets(applets: &str) -> String {
    wrong(&flow(applets))
}

/// The fields of an applet `a` are right with one value, and are not with another.
fn limit(fields: &str, at: impl std::fmt::Display, beyond: impl std::fmt::Display) {
    let with = |value: &dyn std::fmt::Display| {
        let fields = fields.replace("$", &value.to_string());
        flow(&format!("[applet.a]\n{fields}"))
    };
    if let Err(errors) = read(&with(&at)) {
        panic!("{fields} with {at}: {}", lines(&errors));
    }
    assert!(read(&with(&beyond)).is_err(), "{fields} with {beyond}");
}

#[test]
fn a_flow_is_read_with_its_defaults() {
    let text = r#"
numbers = ["1000", "*"]
start = "welcome"
[status-callback]
url = "https://example.com/calls"
events = ["answered", "terminal"]
format = "json"
[applet.welcome]
applet = "greeting"
prompt = "builtin:welcome"
ring-seconds = 1.5
next = "menu"
[applet.menu]
applet = "menu"
prompt = ["builtin:again", "builtin:menu"]
keys = { 1 = "call", "*" = "hangup", d = "menu" }
on-timeout = "bye"
[applet.call]
applet = "connect"
to = "anna"
busy = "bye"
[applet.bye]
applet = "hangup"
"#;
    let parsed = read(text).unwrap();
    assert_eq!(parsed.warnings, []);
    let flow = parsed.flow;
    assert_eq!((flow.name.as_str(), flow.start), ("main", 0));
    assert_eq!(flow.numbers, ["1000", ANY_NUMBER]);
    assert_eq!(flow.transfer, Transfers::Users);
    let callback = flow.callback.unwrap();
    let events = callback.events;
    assert_eq!(
        (events.ringing, events.answered, events.terminal),
        (false, true, true)
    );
    assert!(callback.json);
    let names: Vec<&str> = flow.applets.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["welcome", "menu", "call", "bye"]);
    let Step::Greeting { prompt, ring, next } = &flow.applets[0].step else {
        panic!("{:?}", flow.applets[0]);
    };
    assert_eq!((prompt.len(), *next), (1, Some(1)));
    assert_eq!(*ring, Duration::from_millis(1_500));
    let Step::Menu(menu) = &flow.applets[1].step else {
        panic!("{:?}", flow.applets[1]);
    };
    assert_eq!(menu.prompt.len(), 2);
    let keys: Vec<_> = menu.keys.iter().map(|(key, next)| (*key, *next)).collect();
    assert_eq!(keys, [('*', None), ('1', Some(2)), ('D', Some(1))]);
    assert_eq!((menu.timeout, menu.retries), (Duration::from_secs(5), 2));
    assert_eq!((menu.on_timeout, menu.on_invalid), (Some(3), None));
    let Step::Connect(connect) = &flow.applets[2].step else {
        panic!("{:?}", flow.applets[2]);
    };
    assert!(connect.parallel && !connect.record && connect.music.is_none());
    assert_eq!(connect.ring_timeout, Duration::from_secs(30));
    assert_eq!(connect.time_limit, Duration::from_secs(14_400));
    assert_eq!((connect.busy, connect.failed), (Some(3), None));
}

#[test]
fn who_may_transfer_is_read() {
    let with = |word: &str| {
        let applet = "[applet.a]\napplet = \"hangup\"\n";
        read(&format!("transfer = {word}\nstart = \"a\"\n{applet}"))
    };
    for (word, who) in [
        ("\"users\"", Transfers::Users),
        ("\"all\"", Transfers::All),
        ("\"none\"", Transfers::Nobody),
    ] {
        assert_eq!(with(word).unwrap().flow.transfer, who);
    }
    let told = lines(&with("\"anybody\"").unwrap_err());
    assert!(
        told.contains(":1:12: transfer: 'anybody' is none of users, all, none"),
        "{told}"
    );
    assert!(with("true").is_err());
}

#[test]
fn every_other_applet_is_read() {
    let flow = fine(
        r##"
[applet.a]
applet = "gather"
prompt = "https://example.com/number.wav"
digits = 6
digits-min = 4
finish-key = ""
type-ahead = false
next = "b"
[applet.b]
applet = "queue"
name = "sales"
agents = ["anna", "0041791234567@trunk", "local:1002"]
music = "builtin:music"
priority = -3
leave-key = "*"
on-leave = "c"
on-timeout = "d"
[applet.c]
applet = "voicemail"
prompt = "builtin:message"
beep = false
finish-key = "1"
next = "p"
[applet.p]
applet = "playback"
recording = "c"
next = "d"
[applet.d]
applet = "hours"
zone = "UTC"
week = { mon = ["09:00-12:00", "13:00-17:30"], sun = "00:00-24:00" }
holidays = ["2026-12-25", 2027-01-01]
open = "e"
closed = "f"
[applet.e]
applet = "record"
on = false
next = "f"
[applet.f]
applet = "tone"
tone = "400*25/400/200/400/2000"
seconds = 2
next = "g"
[applet.g]
applet = "http"
url = "http://127.0.0.1:8080/next?key=1"
method = "GET"
branch = { sales = "h", 404 = "i" }
next = "h"
[applet.h]
applet = "mask"
number = "+911140001000"
next = "j"
[applet.i]
applet = "echo"
next = "k"
[applet.j]
applet = "forward"
to = "{digits}@trunk"
[applet.k]
applet = "play"
prompt = "builtin:goodbye"
times = 2
seconds = 9
next = "m"
[applet.m]
applet = "sticky"
agents = ["anna", "local:2001"]
ring-timeout = 12
no-answer = "b"
none = "l"
[applet.l]
applet = "missed-call"
"##,
    );
    let step = |name: &str| {
        let found = flow.applets.iter().find(|a| a.name == name);
        &found.unwrap_or_else(|| panic!("{name}")).step
    };
    let Step::Gather(gather) = step("a") else {
        panic!()
    };
    assert_eq!((gather.digits_max, gather.digits_min), (6, 4));
    assert_eq!((gather.finish, gather.type_ahead), (None, false));
    let Step::Queue(queue) = step("b") else {
        panic!()
    };
    assert_eq!(
        (queue.priority, queue.max_size, queue.agents.len()),
        (-3, 100, 3)
    );
    assert_eq!(queue.leave_key.map(Digit::as_char), Some('*'));
    let Step::Voicemail(voicemail) = step("c") else {
        panic!()
    };
    assert_eq!(voicemail.finish.map(Digit::as_char), Some('1'));
    let Step::Hours(hours) = step("d") else {
        panic!()
    };
    assert_eq!(hours.week[0], [(540, 720), (780, 1_050)]);
    assert_eq!(hours.week[6], [(0, 1_440)]);
    assert!(hours.week[1..6].iter().all(Vec::is_empty));
    assert_eq!(hours.holidays.len(), 2);
    let Step::Http(http) = step("g") else {
        panic!()
    };
    assert!(!http.post && http.field == "next");
    let (h, i) = (http.branch["sales"].unwrap(), http.branch["404"].unwrap());
    assert_eq!(
        (flow.applets[h].name.as_str(), flow.applets[i].name.as_str()),
        ("h", "i")
    );
    assert!(matches!(step("l"), Step::MissedCall { rings: 2 }));
    let Step::Sticky(sticky) = step("m") else {
        panic!()
    };
    assert_eq!(sticky.agents, ["anna", "local:2001"]);
    assert_eq!(sticky.call.ring_timeout.as_secs(), 12);
    let name = |next: Next| next.map(|ix| flow.applets[ix].name.as_str());
    assert_eq!(
        (name(sticky.none), name(sticky.call.no_answer)),
        (Some("l"), Some("b"))
    );
    assert_eq!((sticky.call.answered, sticky.call.busy), (None, None));
    let Step::Connect(forward) = step("j") else {
        panic!()
    };
    assert_eq!((forward.to.len(), forward.answered), (1, None));
    let cause = |next: Next| match flow.applets[next.unwrap()].step {
        Step::Hangup { cause } => cause.unwrap().0,
        _ => panic!("{next:?}"),
    };
    let causes = [forward.busy, forward.no_answer, forward.failed].map(cause);
    assert_eq!(causes, [486, 480, 503]);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = r#"numbers = ["1000", "1000", "a b"]
start = "wellcome"
retry = 3

[status-callback]
url = "ftp://example.com"
events = ["anwsered"]

[applet.welcome]
applet = "greeting"
promt = "builtin:welcom"
next = "menue"

[applet.menu]
applet = "menu"
prompt = ["builtin:menu", "", 7]
timeout = 601
retries = "two"
keys = { 12 = "welcome", a = "hangup", A = "hangup" }

[applet.voice]
applet = "stream"
url = "wss://example.com"

[applet.hangup]
applet = "hangup"
cause = 302

[applet.call]
applet = "conect"
"#;
    let expected = r#"flows/main.toml:1:20: numbers: '1000' is there twice
flows/main.toml:1:28: numbers: 'a b' is no number
flows/main.toml:2:9: start: there is no applet 'wellcome', did you mean 'welcome'?
flows/main.toml:3:1: unknown field 'retry', there are FIELDS
flows/main.toml:6:7: status-callback.url: 'ftp://example.com' is no http or https URL
flows/main.toml:7:11: status-callback.events: 'anwsered' is no event, did you mean 'answered'?
flows/main.toml:9:1: applet.welcome: prompt is missing
flows/main.toml:11:1: applet.welcome: unknown field 'promt', did you mean 'prompt'?
flows/main.toml:12:8: applet.welcome.next: there is no applet 'menue', did you mean 'menu'?
flows/main.toml:16:27: applet.menu.prompt: '' is no sound
flows/main.toml:16:31: applet.menu.prompt: expected a string, found integer
flows/main.toml:17:11: applet.menu.timeout: not 1 to 600 seconds
flows/main.toml:18:11: applet.menu.retries: expected a whole number, found string
flows/main.toml:19:15: applet.menu.keys.12: '12' is no key
flows/main.toml:19:44: applet.menu.keys.A: the key 'A' is there twice
flows/main.toml:22:10: applet.voice.applet: 'stream' is reserved, and not there yet
flows/main.toml:25:1: applet.hangup: this name is taken: it hangs up wherever an applet is named
flows/main.toml:27:9: applet.hangup.cause: 302 ends no call: 200 or 400 to 699 do
flows/main.toml:30:10: applet.call.applet: there is no applet 'conect', did you mean 'connect'?"#
        .replace(
            "FIELDS",
            "numbers, start, status-callback, transfer, applet",
        );
    assert_eq!(wrong(text), expected);
}

#[test]
fn what_is_no_toml_is_told_by_line() {
    let told = wrong("start = \"a\"\n[applet.a\napplet = \"hangup\"\nstart = ");
    assert!(told.starts_with("flows/main.toml:2:"), "{told}");
    assert!(told.lines().count() >= 2, "all of it: {told}");
    let twice = wrong_applets("[applet.a]\napplet = \"hangup\"\napplet = \"echo\"");
    assert!(twice.starts_with("flows/main.toml:5:"), "{twice}");
    assert!(wrong("").contains("start is missing"));
    assert!(wrong("").contains("[applet.NAME] is missing"));
    assert!(wrong("start = 1\napplet = 2").contains("applet: expected a table, found integer"));
    assert!(wrong("start = \"a\"\napplet.a = 2").contains("is no table"));
    // Neither deep nesting nor odd characters are more than a mistake.
    let deep = format!("start = {}", "[".repeat(100_000));
    assert!(!wrong(&deep).is_empty());
    assert!(wrong("start = \"ä\u{202e}\"").contains("there is no applet 'ä\\u{202e}'"));
}

#[test]
fn circles_that_wait_for_nothing_are_refused() {
    let told = wrong_applets(
        r#"[applet.a]
applet = "hours"
zone = "UTC"
week = {}
open = "b"
closed = "c"
[applet.b]
applet = "connect"
to = "anna"
answered = "b"
busy = "a"
[applet.c]
applet = "record"
next = "c"
"#,
    );
    assert_eq!(
        told,
        "flows/main.toml:13:8: applet.b.busy: runs in a circle without waiting: a → b → a\n\
         flows/main.toml:16:8: applet.c.next: runs in a circle without waiting: c → c"
    );
    fine(
        "[applet.a]\napplet = \"hours\"\nzone = \"UTC\"\nweek = {}\nopen = \"b\"\n[applet.b]\n\
          applet = \"tone\"\ntone = \"busy\"\nseconds = 1\nnext = \"a\"",
    );
}

#[test]
fn applets_that_nothing_leads_to_are_warned_of() {
    let text = flow(
        "[applet.a]\napplet = \"echo\"\n[applet.b]\napplet = \"echo\"\nnext = \"c\"\n\
         [applet.c]\napplet = \"echo\"\nnext = \"b\"",
    );
    assert_eq!(
        lines(&read(&text).unwrap().warnings),
        "flows/main.toml:5:1: applet.b: nothing leads to it\n\
         flows/main.toml:8:1: applet.c: nothing leads to it"
    );
}

#[test]
fn what_is_played_back_must_be_a_voicemail() {
    let told = wrong_applets("[applet.a]\napplet = \"playback\"\nrecording = \"a\"");
    assert_eq!(
        told,
        "flows/main.toml:3:1: applet.a.recording: there is no voicemail 'a'"
    );
}

#[test]
fn prompts_are_found_beside_the_flow_then_elsewhere_and_must_be_audio() {
    let root = std::env::temp_dir().join(format!("script-{:016x}", fastrand::u64(..)));
    let (own, other) = (root.join("flows"), root.join("prompts"));
    std::fs::create_dir_all(&own).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    let tone = include_bytes!("../../../testdata/clips/tone-8000-mono.mp3");
    for path in [
        own.join("both.mp3"),
        other.join("both.mp3"),
        other.join("far.mp3"),
    ] {
        std::fs::write(path, tone).unwrap();
    }
    std::fs::write(root.join("secret.mp3"), tone).unwrap();
    std::fs::write(own.join("text.mp3"), "no audio").unwrap();
    let roots = [own.clone(), other.clone()];
    let with = |name: &str| {
        let text = flow(&format!(
            "[applet.a]\napplet = \"greeting\"\nprompt = {name:?}"
        ));
        let parsed = parse("main", FILE, &text, &roots);
        parsed.map(|parsed| match &parsed.flow.applets[0].step {
            Step::Greeting { prompt, .. } => prompt.clone(),
            other => panic!("{other:?}"),
        })
    };
    let at = |path: PathBuf| Ok(vec![Source::File(path)]);
    assert_eq!(with("both.mp3"), at(own.join("both.mp3")));
    assert_eq!(with("far.mp3"), at(other.join("far.mp3")));
    let absolute = other.join("far.mp3");
    assert_eq!(with(absolute.to_str().unwrap()), at(absolute));
    let text = flow("[applet.a]\napplet = \"play\"\nprompt = \"tone-8000-mono.mp3\"");
    let parsed = parse("main", FILE, &text, &[own.clone(), "testdata/clips".into()]);
    let Step::Play { prompt, .. } = &parsed.unwrap().flow.applets[0].step else {
        panic!("it plays");
    };
    assert_eq!(*prompt, [Source::File("tone-8000-mono.mp3".into())]);
    let why = |name: &str| lines(&with(name).unwrap_err());
    assert!(
        why("gone.mp3").contains("gone.mp3: No such file"),
        "{}",
        why("gone.mp3")
    );
    assert!(
        why("text.mp3").contains("not WAV, MP3 or Ogg Opus"),
        "{}",
        why("text.mp3")
    );
    for outside in ["../secret.mp3", "/etc/passwd"] {
        assert!(
            why(outside).contains("not below a prompt directory"),
            "{}",
            why(outside)
        );
    }
    assert!(why("").contains("'' is no sound"));
    assert!(why("ftp://example.com/a.wav").contains("ftp://example.com/a.wav"));
    assert!(why("builtin:musik").contains("did you mean 'music'?"));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn numbers_of_applets_have_limits() {
    let greeting = "applet = \"greeting\"\nprompt = \"builtin:menu\"\n";
    limit(&format!("{greeting}ring-seconds = $"), 0, -1);
    limit(
        &format!("{greeting}ring-seconds = $"),
        RING_SECONDS_MAX,
        120.001,
    );
    let menu = "applet = \"menu\"\nprompt = \"builtin:menu\"\nkeys.1 = \"a\"\n";
    limit(&format!("{menu}retries = $"), 7, 8);
    let gather = "applet = \"gather\"\nprompt = \"builtin:menu\"\n";
    limit(&format!("{gather}digits = $"), 1, 0);
    limit(&format!("{gather}digits = $"), 64, 65);
    limit(&format!("{gather}digits = 5\ndigits-min = $"), 5, 6);
    limit(&format!("{gather}digits = 5\ndigits-min = $"), 1, 0);
    let gather = format!("{gather}digits = 5\n");
    let connect = "applet = \"connect\"\nto = \"anna\"\n";
    limit(
        &format!("{connect}caller-id = \"$\""),
        "1".repeat(NUMBER_LEN_MAX),
        "1".repeat(65),
    );
    let queue = "applet = \"queue\"\nagents = \"anna\"\nmusic = \"builtin:music\"\n";
    limit(
        &format!("{queue}name = \"$\""),
        "n".repeat(NAME_LEN_MAX),
        "n".repeat(65),
    );
    let queue = format!("{queue}name = \"q\"\n");
    limit(
        &format!("{queue}priority = $"),
        PRIORITY_MAX,
        PRIORITY_MAX + 1,
    );
    limit(
        &format!("{queue}priority = $"),
        -PRIORITY_MAX,
        -PRIORITY_MAX - 1,
    );
    limit(
        &format!("{queue}max-size = $"),
        QUEUE_SIZE_MAX,
        QUEUE_SIZE_MAX + 1,
    );
    let voicemail = "applet = \"voicemail\"\nprompt = \"builtin:menu\"\n";
    // Seconds, from … to.
    let times: [(&str, &str, u64, u64); 10] = [
        (menu, "timeout", 1, 600),
        (&gather, "timeout", 1, 600),
        (&gather, "key-timeout", 1, 600),
        (connect, "ring-timeout", 1, 600),
        (connect, "time-limit", 1, SECONDS_MAX),
        (&queue, "announce-every", 1, SECONDS_MAX),
        (&queue, "max-wait", 1, 600),
        (&queue, "ring-timeout", 1, 600),
        (&queue, "wrap-up", 0, SECONDS_MAX),
        (voicemail, "silence", 1, 3_600),
    ];
    for (applet, field, from, to) in times {
        let field = format!("{applet}{field} = $");
        limit(&field, from, f64::from(u32::try_from(from).unwrap()) - 0.01);
        limit(&field, to, to + 1);
    }
    limit(&format!("{voicemail}max-seconds = $"), 3_600, 3_601);
    let play = "applet = \"play\"\nprompt = \"builtin:menu\"\n";
    limit(&format!("{play}times = $"), TIMES_MAX, TIMES_MAX + 1);
    limit(
        "applet = \"missed-call\"\nrings = $",
        RINGS_MAX,
        RINGS_MAX + 1,
    );
    limit("applet = \"http\"\nurl = \"http://h\"\ntimeout = $", 60, 61);
    limit("applet = \"hangup\"\ncause = $", 699, 700);
    limit("applet = \"hangup\"\ncause = $", 400, 399);
    limit(
        "applet = \"tone\"\nseconds = 1\ntone = \"$\"",
        "in-busy",
        "in-bussy",
    );
    let long = |bytes: usize| format!("http://h/{}", "a".repeat(bytes - "http://h/".len()));
    let http = "applet = \"http\"\nurl = \"$\"";
    limit(http, long(TEXT_LEN_MAX), long(TEXT_LEN_MAX + 1));
}

#[test]
fn lists_of_applets_have_limits() {
    let list = |count: usize, each: &dyn Fn(usize) -> String| {
        let all: Vec<String> = (0..count).map(|n| format!("\"{}\"", each(n))).collect();
        all.join(", ")
    };
    let user = |n: usize| format!("u{n}");
    let users = |count: usize| list(count, &user);
    limit("applet = \"connect\"\nto = [$]", users(1), "");
    limit(
        "applet = \"connect\"\nto = [$]",
        users(PARALLEL_MAX),
        users(PARALLEL_MAX + 1),
    );
    let sequential = "applet = \"connect\"\nring = \"sequential\"\nto = [$]";
    limit(sequential, users(TARGETS_MAX), users(TARGETS_MAX + 1));
    limit("applet = \"forward\"\nto = [$]", users(1), users(2));
    let queue = "applet = \"queue\"\nname = \"q\"\nmusic = \"builtin:music\"\nagents = [$]";
    limit(queue, users(QUEUE_AGENTS_MAX), users(QUEUE_AGENTS_MAX + 1));
    let sticky = "applet = \"sticky\"\nagents = [$]";
    limit(sticky, users(QUEUE_AGENTS_MAX), users(QUEUE_AGENTS_MAX + 1));
    let sound = |_| "builtin:menu".to_owned();
    let sounds = |count: usize| list(count, &sound);
    let play = "applet = \"play\"\nprompt = [$]";
    limit(
        play,
        sounds(PROMPT_SOUNDS_MAX),
        sounds(PROMPT_SOUNDS_MAX + 1),
    );
    let hours = "applet = \"hours\"\nzone = \"UTC\"\n";
    let span = |n: usize| format!("{n:02}:00-{n:02}:30");
    let spans = |count: usize| list(count, &span);
    limit(
        &format!("{hours}week.mon = [$]"),
        spans(SPANS_MAX),
        spans(SPANS_MAX + 1),
    );
    let day = |_| "2026-12-25".to_owned();
    let days = |count: usize| list(count, &day);
    let holidays = format!("{hours}week = {{}}\nholidays = [$]");
    limit(&holidays, days(HOLIDAYS_MAX), days(HOLIDAYS_MAX + 1));
    let branches = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!("b{n} = \"hangup\"")).collect();
        all.join("\n")
    };
    let http = "applet = \"http\"\nurl = \"http://h\"\n[applet.a.branch]\n$";
    limit(http, branches(BRANCHES_MAX), branches(BRANCHES_MAX + 1));
}

#[test]
fn files_have_limits() {
    let hangup = "applet = \"hangup\"\n";
    let applets = |count: usize| {
        let rest = (1..count).map(|n| format!("[applet.n{n}]\n{hangup}"));
        flow(&format!("[applet.a]\n{hangup}{}", rest.collect::<String>()))
    };
    let parsed = read(&applets(APPLETS_MAX)).unwrap();
    assert_eq!(parsed.flow.applets.len(), APPLETS_MAX);
    assert!(wrong(&applets(APPLETS_MAX + 1)).contains("has 513 entries, at most 512"));

    let numbers = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!("\"{n}\"")).collect();
        let all = all.join(", ");
        format!("numbers = [{all}]\nstart = \"a\"\n[applet.a]\n{hangup}")
    };
    assert!(read(&numbers(NUMBERS_MAX)).is_ok());
    assert!(wrong(&numbers(NUMBERS_MAX + 1)).contains("1 to 1000 are possible"));

    let whole = flow(&format!("[applet.a]\n{hangup}"));
    let padded = |bytes: usize| format!("{whole}#{}", " ".repeat(bytes - whole.len() - 1));
    assert!(read(&padded(SCRIPT_BYTES_MAX)).is_ok());
    assert!(wrong(&padded(SCRIPT_BYTES_MAX + 1)).contains("larger than 262144 bytes"));

    let unknown = |count: usize| {
        let all = (0..count).map(|n| format!("zz{n} = 1\n"));
        flow(&format!("[applet.a]\n{hangup}{}", all.collect::<String>()))
    };
    assert_eq!(wrong(&unknown(ERRORS_MAX)).lines().count(), ERRORS_MAX);
    let told = wrong(&unknown(ERRORS_MAX + 1));
    assert_eq!(
        told.lines().last(),
        Some("flows/main.toml: 1 more mistakes")
    );

    assert!(is_name(&"n".repeat(NAME_LEN_MAX)) && !is_name(&"n".repeat(NAME_LEN_MAX + 1)));
    assert!(parse("a b", FILE, &whole, &[]).is_err());
}

/// The blocks of the document that are flows.
fn documented() -> Vec<&'static str> {
    let document = include_str!("../../../docs/flows.md");
    let blocks = document.split("\n```toml\n").skip(1);
    blocks
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

#[test]
fn the_flows_of_the_document_are_right() {
    let blocks = documented();
    assert!(blocks.len() >= 7, "{}", blocks.len());
    for block in blocks {
        match read(block) {
            Ok(parsed) => assert_eq!(parsed.warnings, [], "{block}"),
            Err(errors) => panic!("{block}\n{}", lines(&errors)),
        }
    }
}

/// What is unknown is answered by a list of all there is, of which the document has each.
#[test]
fn the_document_names_every_applet_and_every_field() {
    let document = include_str!("../../../docs/flows.md");
    let applets = wrong_applets("[applet.a]\napplet = \"\"");
    let (_, applets) = applets.split_once("there are ").unwrap();
    assert_eq!(applets.split(", ").count(), 18);
    for applet in applets.split(", ") {
        let title = |line: &&str| line.starts_with("### ") && line.contains(&format!("`{applet}`"));
        let from = document
            .lines()
            .find(title)
            .unwrap_or_else(|| panic!("{applet}"));
        let (_, section) = document.split_once(from).unwrap();
        let section = section.split("\n#").next().unwrap();
        let told = wrong_applets(&format!("[applet.a]\napplet = \"{applet}\"\nzzzzzzzz = 1"));
        let fields = told
            .lines()
            .find_map(|line| line.split_once("'zzzzzzzz', there are "));
        let (_, fields) = fields.unwrap_or_else(|| panic!("{told}"));
        for field in fields.split(", ").filter(|field| *field != "applet") {
            assert!(
                section.contains(&format!("| `{field}` |")),
                "{applet}: {field}"
            );
        }
    }
}

/// What files are made of, and what they are not.
const PIECES: &[&str] = &[
    "[applet.a]\n",
    "[applet.b]\n",
    "applet = ",
    "\"menu\"\n",
    "\"connect\"\n",
    "\"hours\"\n",
    "prompt = ",
    "keys = ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "1",
    "-1",
    "1e309",
    "\n",
    "a",
    "=",
    ",",
    "to = ",
    "\"\\u0000\"",
    "start = \"a\"\n",
    "numbers",
    ".",
    "2026-12-25",
    "week.mon = ",
    "\"10:00-11:00\"\n",
    "ä",
    "seconds = ",
    "nan\n",
    "0x7fffffffffffffffff\n",
    "next = \"a\"\n",
];

proptest::proptest! {
    /// Whatever a file holds, it is read or refused.
    #[test]
    fn no_text_is_too_odd(pieces in proptest::collection::vec(
        proptest::sample::select(PIECES),
        0..40,
    )) {
        let text = pieces.concat();
        if let Err(errors) = read(&text) {
            proptest::prop_assert!(!errors.is_empty());
        }
    }
}
