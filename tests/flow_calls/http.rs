//! The applet `http`: an application on loopback that answers as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crosspoint::flow::script::{Http, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::flow_support::*;

/// What leads on: by a name, by a status code, else, too late, an error.
const ON_HZ: [f32; 5] = [1_300.0, 1_400.0, 1_500.0, 1_600.0, 1_700.0];

/// An application that answers each request so, after so long; and what it was asked.
async fn application(answer: &'static str, after: Duration) -> (url::Url, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut room = vec![0; 8_192];
                let mut said = Vec::new();
                // One segment or two: the body may come after the head.
                while !is_whole(&said) {
                    let Ok(octets @ 1..) = stream.read(&mut room).await else {
                        return;
                    };
                    said.extend_from_slice(&room[..octets]);
                }
                let said = String::from_utf8_lossy(&said).into_owned();
                heard.lock().expect("requests").push(said);
                tokio::time::sleep(after).await;
                let _gone = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    let url = format!("http://{address}/next?key=1")
        .parse()
        .expect("a URL");
    (url, asked)
}

fn is_whole(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let mut lengths = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= lengths.next().unwrap_or(0)
}

fn asks(url: url::Url) -> Http {
    let branch = [("sales", 1), ("402", 2)];
    let branch: BTreeMap<_, _> = branch.map(|(on, to)| (on.to_owned(), Some(to))).into();
    Http {
        url,
        post: true,
        timeout: ms(5_000),
        filler: None,
        field: "next".to_owned(),
        branch,
        next: Some(3),
        on_timeout: Some(4),
        on_error: Some(5),
    }
}

fn asked(step: Http) -> Vec<Step> {
    let branches = ON_HZ.map(|hz| greeting(hz.into(), 10_000, END));
    let first = std::iter::once(Step::Http(Box::new(step)));
    first.chain(branches).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_leads_on() {
    for (answer, on) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"next\":\"sales\"}",
            0,
        ),
        ("HTTP/1.1 402 Pay\r\nContent-Length: 0\r\n\r\n", 1),
        ("HTTP/1.1 204 No Content\r\n\r\n", 2),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 4),
        ("no HTTP at all\r\n\r\n", 4),
    ] {
        let (url, heard) = application(answer, ms(0)).await;
        let house = House::with(asked(asks(url))).await;
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        caller.is_answered().await;
        caller.voice.hears(ON_HZ[on]).await;
        caller.hangs_up().await;
        let heard = heard.lock().expect("requests").clone();
        let [request] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert!(request.starts_with("POST /next?key=1 "), "{request}");
        for part in [
            "\"from\":\"200\"",
            "\"to\":\"1000\"",
            "\"call_sid\":\"",
            "\"digits\":\"\"",
        ] {
            assert!(request.contains(part), "{part} in {request}");
        }
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_ask_by_get_and_the_answer_may_be_late() {
    let (url, heard) = application("", ms(60_000)).await;
    let mut step = asks(url);
    (step.post, step.timeout) = (false, ms(300));
    let house = House::with(asked(step)).await;
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    caller.is_answered().await;
    caller.voice.hears(ON_HZ[3]).await;
    caller.hangs_up().await;
    let request = heard.lock().expect("requests").remove(0);
    assert!(
        request.starts_with("GET /next?key=1&call_sid="),
        "{request}"
    );
    assert!(request.contains("&from=200&to=1000&digits="), "{request}");
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filler_is_heard_meanwhile() {
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let (url, _) = application(answer, ms(1_000)).await;
    let mut step = asks(url);
    step.filler = Some(prompt(600.0, 250));
    let house = House::with(asked(step)).await;
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(ON_HZ[2]).await;
    let (with, _) = caller.voice.windows_of(0, 600.0);
    assert!((8..=12).contains(&with), "{with} windows of the filler");
    caller.voice.heard_one_stream();
    caller.hangs_up().await;
    house.leave_empty().await;
}

/// After a conversation, whose packets were only relayed, and after a prompt.
#[tokio::test(flavor = "multi_thread")]
async fn no_gap_is_heard_while_an_application_takes_its_time() {
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let (url, _) = application(answer, ms(2_500)).await;
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    let mut talk = connect(&[callee.uri()]);
    talk.answered = Some(2);
    let mut step = asks(url);
    step.next = Some(3);
    house.flow(
        "1000",
        [
            greeting(700.0, 300, Some(1)),
            Step::Connect(Box::new(talk)),
            Step::Http(Box::new(step)),
            greeting(900.0, 5_000, END),
        ],
    );
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    callee.rings().await;
    callee.answers().await;
    caller.voice.hears(800.0).await;
    callee.hangs_up().await;
    caller.voice.hears(900.0).await;
    caller.hangs_up().await;
    caller.voice.heard_one_stream();
    let heard = caller.voice.since(0);
    let steps = heard.windows(2).map(|pair| {
        let (one, other) = (&pair[0].1, &pair[1].1);
        other.timestamp.wrapping_sub(one.timestamp)
    });
    let longest = steps.max().unwrap_or_default();
    assert!(longest <= 320, "{} ms between two packets", longest / 8);
    house.leave_empty().await;
}
