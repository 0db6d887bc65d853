//! Transfers that a party asks for (RFC 3515, 3891, 3892): what is asked, and what is said of it.

#[cfg(test)]
mod tests;

use std::fmt;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{Header, HostWithPort, Method, Param, Request, Scheme, Uri};
use rsipstack::transaction::key::TransactionRole;
use tokio::sync::{oneshot, watch};

use super::cause::Cause;
use super::leg::LegId;
use super::message;
use super::route::ADDRESS_MAX;
use super::shared::Core;
use super::sound::FIELD_MAX;

/// A party wants to be transferred away: whoever it talks with is to talk with another one.
#[derive(Debug)]
pub struct TransferAsked {
    /// Whom to call instead, as [`Outgoing::to`](super::Outgoing::to) takes it: a number or a user
    /// where the address is ours (one that we listen on, what the party called us by, or our
    /// realm), `NUMBER@TRUNK` where it is a trunk's, a `sip:` or `sips:` URI
    /// else. Whether that may be called is for the owner to say: it is the party's word alone.
    pub to: String,
    /// The dialog that the new call takes the place of (attended transfer): mostly another leg of
    /// ours, see [`UserAgent::find_replaced`](super::UserAgent::find_replaced).
    pub replaces: Option<Replaces>,
    /// Who asks, in its own words: the value of Referred-By.
    pub referred_by: Option<String>,
    /// What becomes of it. Dropping it declines with 603.
    pub reply: TransferReply,
}

/// The answer to a [`TransferAsked`].
#[derive(Debug)]
pub struct TransferReply(oneshot::Sender<Decision>);

/// Accepted, with what is to be told; or why not.
pub(super) type Decision = Result<watch::Receiver<Cause>, Cause>;

impl TransferReply {
    pub(super) fn new() -> (Self, oneshot::Receiver<Decision>) {
        let (reply, decided) = oneshot::channel();
        (Self(reply), decided)
    }

    /// Accepts (202), and tells the party that it is tried.
    #[must_use]
    pub fn accept(self) -> TransferProgress {
        let (progress, told) = watch::channel(Cause(100));
        // An error is a leg that has ended: nobody is there to be told.
        let _ended = self.0.send(Ok(told));
        TransferProgress(progress)
    }

    /// Declines, with 603 where the cause is no failure.
    pub fn decline(self, cause: Cause) {
        let _ended = self.0.send(Err(cause));
    }
}

/// How an accepted transfer goes, for the party that asked. Dropping it before a final status tells
/// that it failed (500).
#[derive(Debug)]
pub struct TransferProgress(watch::Sender<Cause>);

impl TransferProgress {
    /// Tells a status: 101–199 on the way, 200–699 at the end, after which nothing more is told.
    /// Of several in a row the latest is told. Returns at once.
    pub fn tell(&self, status: Cause) {
        self.0.send_if_modified(|told| {
            let is_news = told.0 < 200 && (101..700).contains(&status.0) && *told != status;
            if is_news {
                *told = status;
            }
            is_news
        });
    }
}

/// A dialog that a call takes the place of (RFC 3891), as whoever is in it with us names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of the end that is asked: ours, where the leg is ours.
    pub to_tag: String,
    /// The tag of the other end.
    pub from_tag: String,
    /// Only where it is not answered yet.
    pub early_only: bool,
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call_id, to_tag, from_tag) = (&self.call_id, &self.to_tag, &self.from_tag);
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}")?;
        match self.early_only {
            true => f.write_str(";early-only"),
            false => Ok(()),
        }
    }
}

impl Replaces {
    /// Reads the value of the header. `None`: it is malformed.
    fn parse(value: &str) -> Option<Self> {
        let is_word = |text: &str| {
            let fits = |c: char| c.is_ascii_graphic() && c != ',';
            !text.is_empty() && text.len() <= FIELD_MAX && text.chars().all(fits)
        };
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|c| is_word(c))?.to_owned();
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let tag = match name.trim().to_ascii_lowercase().as_str() {
                "to-tag" => &mut to_tag,
                "from-tag" => &mut from_tag,
                "early-only" => {
                    early_only = true;
                    continue;
                }
                _ if part.contains(',') => return None,
                _ => continue,
            };
            let value = value.trim();
            if tag.is_some() || !is_word(value) {
                return None;
            }
            *tag = Some(value.to_owned());
        }
        Some(Self {
            call_id,
            to_tag: to_tag?,
            from_tag: from_tag?,
            early_only,
        })
    }

    /// What an INVITE is to take the place of.
    ///
    /// # Errors
    /// 400: it names more than one dialog, or none.
    fn of(request: &Request) -> Result<Option<Self>, Cause> {
        let mut values = request.headers.iter().filter_map(|h| match h {
            Header::Replaces(value) => Some(value.value()),
            _ => None,
        });
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::parse(value).map(Some).ok_or(Cause(400)),
            (Some(_), Some(_)) => Err(Cause(400)),
        }
    }
}

/// How far a leg is that may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// We dialled it, and it rings.
    Rings,
    Answered,
}

impl Core {
    /// The leg that an INVITE is to take the place of (RFC 3891 section 3).
    ///
    /// # Errors
    /// 400, 481: there is none, 486: it was answered before.
    pub(super) fn replaced_by(&self, invite: &Request) -> Result<Option<LegId>, Cause> {
        let Some(replaces) = Replaces::of(invite)? else {
            return Ok(None);
        };
        match self.replaced(&replaces) {
            None => Err(Cause(481)),
            Some((_, Stage::Answered)) if replaces.early_only => Err(Cause(486)),
            Some((leg, _)) => Ok(Some(leg)),
        }
    }

    /// The leg whose dialog it is.
    pub(super) fn replaced(&self, replaces: &Replaces) -> Option<(LegId, Stage)> {
        let id = DialogId {
            call_id: replaces.call_id.clone(),
            local_tag: replaces.to_tag.clone(),
            remote_tag: replaces.from_tag.clone(),
        };
        self.legs.get(&id).map(|leg| *leg)
    }

    /// The leg of ours that is at the other end of this one. It looks at all dialogs: transfers are
    /// seldom.
    pub(super) fn other_end(&self, leg: LegId) -> Option<LegId> {
        let near = self.legs.iter().find(|entry| entry.value().0 == leg);
        let far = near.map(|entry| {
            let id = entry.key();
            DialogId {
                call_id: id.call_id.clone(),
                local_tag: id.remote_tag.clone(),
                remote_tag: id.local_tag.clone(),
            }
        })?;
        self.legs.get(&far).map(|entry| entry.0)
    }

    /// What a REFER within `dialog` asks for.
    ///
    /// # Errors
    /// What it is refused with.
    pub(super) fn asked(
        &self,
        refer: &Request,
        dialog: &InviteDialog,
        reply: TransferReply,
    ) -> Result<TransferAsked, Cause> {
        let (mut refer_to, mut referred_by) = (Vec::new(), Vec::new());
        for header in refer.headers.iter() {
            match header {
                Header::ReferTo(value) => refer_to.push(value.value()),
                Header::ReferredBy(value) => referred_by.push(value.value()),
                _ => {}
            }
        }
        let [refer_to] = refer_to[..] else {
            return Err(Cause(400));
        };
        if referred_by.len() > 1 || referred_by.iter().any(|v| v.len() > FIELD_MAX) {
            return Err(Cause(400));
        }
        let Target { uri, replaces } = Target::parse(refer_to)?;
        let here = match dialog.role() {
            TransactionRole::Server => Some(dialog.initial_request().uri.host_with_port),
            TransactionRole::Client => None,
        };
        Ok(TransferAsked {
            to: match uri {
                Address::Sip(uri) => self.dialled_as(uri, here.as_ref())?,
                Address::Number(number) => ours(number)?,
            },
            replaces,
            referred_by: referred_by.first().map(|v| message::plain(v)),
            reply,
        })
    }

    /// What to dial for an address that a party knows us, a trunk or somebody else by; `here`: what
    /// it called us by.
    ///
    /// # Errors
    /// 404: nothing of ours has such a name, 400: it is too long.
    pub(super) fn dialled_as(
        &self,
        mut uri: Uri,
        here: Option<&HostWithPort>,
    ) -> Result<String, Cause> {
        let user = message::user(&uri);
        let trunk = |t: &&super::config::Trunk| {
            is_same(&uri, &t.address.host_with_port) && !user.is_empty()
        };
        if let Some(trunk) = self.config.trunks.iter().find(trunk) {
            return Ok(format!("{user}@{}", trunk.name));
        }
        let listens = self.endpoint.transport_layer.get_listen_addrs();
        let mut heres = listens.iter().map(|l| &l.addr).chain(here);
        let realm = &self.config.realm;
        let host = uri.host_with_port.host.to_string();
        if heres.any(|h| is_same(&uri, h)) || host.eq_ignore_ascii_case(realm) {
            return ours(user);
        }
        uri.headers.clear();
        uri.params.retain(|p| !matches!(p, Param::Method(_)));
        let text = uri.to_string();
        match text.len() <= ADDRESS_MAX {
            true => Ok(text),
            false => Err(Cause(400)),
        }
    }
}

/// A number or a user of ours: nothing that could be taken for an address or for another trunk's.
fn ours(user: String) -> Result<String, Cause> {
    let is_sound = !user.is_empty() && user.len() <= ADDRESS_MAX;
    match is_sound && !user.contains(['@', ':', '<', '>', '/']) {
        true => Ok(user),
        false => Err(Cause(404)),
    }
}

/// Whether an address is at this host and port.
fn is_same(uri: &Uri, here: &HostWithPort) -> bool {
    let usual = match uri.scheme {
        Some(Scheme::Sips) => 5061,
        _ => 5060,
    };
    let port = |at: &HostWithPort| at.port.as_ref().map_or(usual, |p| p.0);
    let host = |at: &HostWithPort| at.host.to_string().to_ascii_lowercase();
    let theirs = &uri.host_with_port;
    host(theirs) == host(here) && port(theirs) == port(here)
}

/// Reads what names others in a request, whatever it is (for `hostile`).
pub(super) fn read(request: &Request) {
    for header in request.headers.iter() {
        match header {
            Header::ReferTo(value) => {
                if let Ok(Target { uri, replaces }) = Target::parse(value.value()) {
                    let user = match uri {
                        Address::Sip(uri) => message::user(&uri),
                        Address::Number(number) => number,
                    };
                    if let Ok(user) = ours(user) {
                        assert!(!user.contains(['@', ':']), "{user}");
                    }
                    let text = replaces.as_ref().map(Replaces::to_string);
                    assert_eq!(text.and_then(|t| Replaces::parse(&t)), replaces);
                }
            }
            Header::Replaces(value) => {
                let _read = Replaces::parse(value.value());
            }
            _ => {}
        }
    }
}

/// What Refer-To names.
#[derive(Debug, PartialEq)]
struct Target {
    uri: Address,
    replaces: Option<Replaces>,
}

#[derive(Debug, PartialEq)]
enum Address {
    Sip(Uri),
    /// Of a `tel:` URI.
    Number(String),
}

impl Target {
    /// Reads the value of Refer-To, with names already made readable.
    ///
    /// # Errors
    /// 400: malformed or too long, 416: of another scheme, 501: not to be called (RFC 3515 section
    /// 2.1 allows other methods).
    fn parse(value: &str) -> Result<Self, Cause> {
        let malformed = Cause(400);
        if value.len() > FIELD_MAX {
            return Err(malformed);
        }
        let address = match value.split_once('<') {
            Some((_, rest)) => rest.split_once('>').ok_or(malformed)?.0,
            None => value.split(';').next().unwrap_or_default(),
        };
        let address = address.trim();
        let (scheme, rest) = address.split_once(':').ok_or(malformed)?;
        match scheme.to_ascii_lowercase().as_str() {
            "sip" | "sips" => {}
            "tel" => {
                let digits = rest.split(';').next().unwrap_or_default();
                let number: String = digits.chars().filter(|c| !"-.()".contains(*c)).collect();
                let fits = |c: char| c.is_ascii_hexdigit() || "+*#".contains(c);
                if number.is_empty() || !number.chars().all(fits) {
                    return Err(malformed);
                }
                return Ok(Self {
                    uri: Address::Number(number),
                    replaces: None,
                });
            }
            _ => return Err(Cause(416)),
        }
        let uri = Uri::try_from(address).map_err(|_| malformed)?;
        for param in &uri.params {
            if matches!(param, Param::Method(method) if *method != Method::Invite) {
                return Err(Cause(501));
            }
        }
        let named = uri.headers.iter();
        let mut named = named.filter(|(name, _)| name.eq_ignore_ascii_case("Replaces"));
        let replaces = match (named.next(), named.next()) {
            (None, _) => None,
            (Some((_, value)), None) => {
                let value = message::unescaped(value);
                Some(Replaces::parse(&value).ok_or(malformed)?)
            }
            (Some(_), Some(_)) => return Err(malformed),
        };
        let uri = Address::Sip(message::readable(uri));
        Ok(Self { uri, replaces })
    }
}
