//! The applet `http`: an application says where to go on.

use std::sync::OnceLock;
use std::time::Duration;

use super::Over;
use super::live::Live;
use crate::flow::script::{Http, Next};

/// Longest answer that is read, in octets.
const ANSWER_MAX: usize = 64 << 10;
/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 3;

/// What an application answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Its status code and its body.
    Said(u16, Vec<u8>),
    /// Nothing in time.
    Late,
    /// Nothing that can be read.
    Failed,
}

pub(super) async fn http(live: &Live, http: &Http) -> Result<Next, Over> {
    if let Some(filler) = &http.filler {
        live.answer().await?;
        live.play_on(filler, Duration::ZERO).await?;
    } else {
        live.fill();
    }
    let answer = match tokio::time::timeout(http.timeout, ask(live, http)).await {
        Ok(answer) => answer,
        Err(_late) => Answer::Late,
    };
    if http.filler.is_some() {
        live.hush().await;
    }
    Ok(lead(http, &answer))
}

/// Where an answer leads.
fn lead(http: &Http, answer: &Answer) -> Next {
    let (code, body) = match answer {
        Answer::Said(code, body) => (*code, body),
        Answer::Late => return http.on_timeout,
        Answer::Failed => return http.on_error,
    };
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let field = json.as_ref().and_then(|json| json.get(&http.field));
    let value = field.and_then(|field| match field {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(field.to_string()),
        _ => None,
    });
    let named = value.and_then(|value| http.branch.get(&value));
    match named.or_else(|| http.branch.get(&code.to_string())) {
        Some(next) => *next,
        None if (200..300).contains(&code) => http.next,
        None => http.on_error,
    }
}

async fn ask(live: &Live, http: &Http) -> Answer {
    let Some(client) = client() else {
        return Answer::Failed;
    };
    let digits = live.digits();
    let data = [
        ("call_sid", live.sid.as_str()),
        ("from", &live.from),
        ("to", &live.to),
        ("digits", &digits),
    ];
    let request = if http.post {
        let members = data.map(|(name, value)| (name.to_owned(), value.into()));
        let body = serde_json::Value::Object(members.into_iter().collect()).to_string();
        let json = "application/json";
        client
            .post(http.url.clone())
            .header("content-type", json)
            .body(body)
    } else {
        let mut url = http.url.clone();
        url.query_pairs_mut().extend_pairs(data);
        client.get(url)
    };
    match read(request).await {
        Ok(answer) => answer,
        Err(error) => {
            // The URL may have secrets in its query.
            let error = error.without_url();
            tracing::warn!(call_id = %live.sid, %error, "http");
            Answer::Failed
        }
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let code = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Ok(Answer::Failed);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer::Said(code, body))
}

/// One for all calls: it keeps connections.
fn client() -> Option<&'static reqwest::Client> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let redirects = reqwest::redirect::Policy::limited(REDIRECTS_MAX);
        let made = reqwest::Client::builder().redirect(redirects).build();
        made.inspect_err(|error| tracing::error!(%error, "no HTTP client"))
            .ok()
    });
    made.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leads_by_its_field_then_its_code() {
        let http = Http {
            url: "http://127.0.0.1/".parse().unwrap(),
            post: true,
            timeout: Duration::from_secs(1),
            filler: None,
            field: "next".to_owned(),
            branch: [("sales", 1), ("402", 2), ("7", 3)]
                .map(|(name, ix)| (name.to_owned(), Some(ix)))
                .into(),
            next: Some(4),
            on_timeout: Some(5),
            on_error: Some(6),
        };
        let said = |code: u16, body: &str| lead(&http, &Answer::Said(code, body.into()));
        assert_eq!(said(200, r#"{"next":"sales"}"#), Some(1));
        assert_eq!(said(402, r#"{"next":"other"}"#), Some(2));
        assert_eq!(said(200, r#"{"next":7}"#), Some(3));
        assert_eq!(said(204, ""), Some(4));
        assert_eq!(said(500, "no JSON"), Some(6));
        assert_eq!(lead(&http, &Answer::Late), Some(5));
        assert_eq!(lead(&http, &Answer::Failed), Some(6));
    }
}
