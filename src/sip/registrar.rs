//! Where the phones of our users are (RFC 3261 section 10).

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rsipstack::sip::typed::Contact;
use rsipstack::sip::{Header, HeadersExt, Request, Scheme, Uri};
use rsipstack::transport::SipAddr;

use super::message;
use super::requests::Refusal;

/// Phones of one user.
pub const CONTACTS_MAX: usize = 10;
/// Shortest registration in seconds; shorter ones are refused (423).
const EXPIRES_MIN: u32 = 60;
/// Longest; longer ones are shortened.
const EXPIRES_MAX: u32 = 7200;
/// Where nothing is said.
const EXPIRES_USUAL: u32 = 3600;
/// Longest Contact and Call-ID.
const TEXT_MAX: usize = 512;

/// Where each user's phones are.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    users: HashMap<String, Vec<Binding>>,
    /// The way to a Contact of a live binding.
    flows: HashMap<String, (String, SipAddr)>,
}

/// One phone.
#[derive(Clone, Debug)]
struct Binding {
    contact: Uri,
    flow: SipAddr,
    call_id: String,
    cseq: u32,
    expires: Instant,
}

/// What a REGISTER asks for.
enum Change {
    Query,
    RemoveAll,
    Contacts(Vec<(Uri, u32)>),
}

impl Registrar {
    /// The phones of a user, the one that registered last first.
    pub(super) fn contacts(&self, user: &str) -> Vec<(Uri, SipAddr)> {
        let now = Instant::now();
        let bindings = self.users.get(user).into_iter().flatten().rev();
        let live = bindings.filter(|b| b.expires > now);
        live.map(|b| (b.contact.clone(), b.flow.clone())).collect()
    }

    /// The way to a phone that registered with this Contact.
    pub(super) fn flow(&self, contact: &Uri) -> Option<SipAddr> {
        self.flows.get(&key(contact)).map(|(_, flow)| flow.clone())
    }

    /// Carries out the REGISTER of a user who came by `flow`; gives what is registered now.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(super) fn register(
        &mut self,
        now: Instant,
        user: &str,
        request: &Request,
        flow: &SipAddr,
    ) -> Result<Vec<Header>, Refusal> {
        self.forget_expired(now);
        let change = asked(request)?;
        let bad = || Refusal::bare(400);
        let call_id = request
            .call_id_header()
            .map_err(|_| bad())?
            .value()
            .to_owned();
        let cseq = message::cseq(request).ok_or_else(bad)?;
        let old = self.users.get(user).cloned().unwrap_or_default();
        let is_late = |b: &Binding| b.call_id == call_id && b.cseq >= cseq;
        let mut new = old.clone();
        match change {
            Change::Query => return Ok(self.list(now, user)),
            Change::RemoveAll => {
                if old.iter().any(is_late) {
                    return Err(Refusal::bare(500));
                }
                new.clear();
            }
            Change::Contacts(contacts) => {
                for (contact, expires) in contacts {
                    let same = |b: &Binding| key(&b.contact) == key(&contact);
                    if new.iter().any(|b| same(b) && is_late(b)) {
                        return Err(Refusal::bare(500));
                    }
                    new.retain(|b| !same(b));
                    if expires == 0 {
                        continue;
                    }
                    self.check_owner(user, &contact)?;
                    new.push(Binding {
                        contact,
                        flow: flow.clone(),
                        call_id: call_id.clone(),
                        cseq,
                        expires: now + Duration::from_secs(expires.into()),
                    });
                }
            }
        }
        if new.len() > CONTACTS_MAX {
            return Err(Refusal::bare(403));
        }
        self.replace(user, &old, new);
        Ok(self.list(now, user))
    }

    /// A Contact leads to one user only: nobody takes another's calls by naming its address.
    fn check_owner(&self, user: &str, contact: &Uri) -> Result<(), Refusal> {
        match self.flows.get(&key(contact)) {
            Some((owner, _)) if owner != user => Err(Refusal::bare(403)),
            _ => Ok(()),
        }
    }

    fn replace(&mut self, user: &str, old: &[Binding], new: Vec<Binding>) {
        for binding in old {
            self.flows.remove(&key(&binding.contact));
        }
        for binding in &new {
            let way = (user.to_owned(), binding.flow.clone());
            self.flows.insert(key(&binding.contact), way);
        }
        match new.is_empty() {
            true => self.users.remove(user),
            false => self.users.insert(user.to_owned(), new),
        };
    }

    fn forget_expired(&mut self, now: Instant) {
        let flows = &mut self.flows;
        self.users.retain(|_, bindings| {
            bindings.retain(|b| {
                let is_live = b.expires > now;
                if !is_live {
                    flows.remove(&key(&b.contact));
                }
                is_live
            });
            !bindings.is_empty()
        });
    }

    fn list(&self, now: Instant, user: &str) -> Vec<Header> {
        let bindings = self.users.get(user).into_iter().flatten();
        let contact = |b: &Binding| {
            let seconds = b.expires.saturating_duration_since(now).as_secs();
            Header::Contact(format!("<{}>;expires={seconds}", b.contact).into())
        };
        bindings.map(contact).collect()
    }
}

/// What makes two Contacts the same.
fn key(uri: &Uri) -> String {
    let user = uri
        .auth
        .as_ref()
        .map(|a| a.user.as_str())
        .unwrap_or_default();
    let host = uri.host_with_port.to_string().to_ascii_lowercase();
    format!("{user}@{host}")
}

fn asked(request: &Request) -> Result<Change, Refusal> {
    let bad = || Refusal::bare(400);
    let headers = request.contact_headers();
    if headers
        .iter()
        .any(|h| h.value().len() > TEXT_MAX * CONTACTS_MAX)
    {
        return Err(bad());
    }
    let contacts = request.typed_contact_headers().map_err(|_| bad())?;
    let usual = request
        .expires_header()
        .and_then(|e| e.value().trim().parse().ok());
    if contacts.is_empty() {
        return Ok(Change::Query);
    }
    let is_star = |c: &Contact| matches!(&c.uri.scheme, Some(Scheme::Other(s)) if s == "*");
    if contacts.iter().any(is_star) {
        return match (contacts.len(), usual) {
            (1, Some(0)) => Ok(Change::RemoveAll),
            _ => Err(bad()),
        };
    }
    if contacts.len() > CONTACTS_MAX {
        return Err(Refusal::bare(403));
    }
    let mut wanted = Vec::new();
    for contact in contacts {
        let uri = message::readable(contact.uri.clone());
        let is_sip = matches!(uri.scheme, Some(Scheme::Sip | Scheme::Sips));
        if !is_sip || uri.to_string().len() > TEXT_MAX {
            return Err(bad());
        }
        let expires = contact.expires().or(usual).unwrap_or(EXPIRES_USUAL);
        if expires != 0 && expires < EXPIRES_MIN {
            let min = Header::MinExpires(EXPIRES_MIN.to_string().into());
            return Err(Refusal::of(423, vec![min]));
        }
        wanted.push((uri, expires.min(EXPIRES_MAX)));
    }
    Ok(Change::Contacts(wanted))
}
