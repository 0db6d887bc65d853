//! Where calls go: users, trunks and addresses.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use rsipstack::dialog::authenticate::Credential;
use rsipstack::sip::headers::make_header;
use rsipstack::sip::{
    Auth, Header, HeadersExt, HostWithPort, Param, Response, Scheme, Transport, Uri,
};
use rsipstack::transport::SipAddr;

use super::config::{NAME_MAX, Trunk};
use super::leg::{LegError, Outgoing};
use super::message;
use super::registrar::Registrar;
use super::session::TARGETS_MAX;
use super::shared::{Core, lock};

/// Longest address that is dialled.
pub(super) const ADDRESS_MAX: usize = 256;

/// One address to try.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) uri: Uri,
    /// The way that its phone registered by.
    pub(super) flow: Option<SipAddr>,
    pub(super) credential: Option<Credential>,
    /// Whose domain From is to be in.
    pub(super) domain: Option<HostWithPort>,
    /// The trunk that it goes over.
    pub(super) trunk: Option<String>,
    /// Somebody sends us there.
    pub(super) sent_by: Option<Sender>,
}

/// Who answered a call with a redirection.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// It is on this machine.
    is_here: bool,
    /// The trunk that the call went over.
    trunk: Option<String>,
}

/// A call, and the addresses to try for it, the best first.
pub(super) struct Plan {
    pub(super) call: Outgoing,
    pub(super) targets: Vec<Target>,
    pub(super) headers: Vec<Header>,
}

impl Plan {
    /// The display name of From, as it may stand between quotes.
    pub(super) fn display(&self) -> Option<String> {
        let display = self.call.display.as_deref().map(message::printable);
        display.filter(|d| !d.is_empty())
    }
}

impl Core {
    /// Where a call is to go.
    ///
    /// # Errors
    /// [`LegError::Nowhere`], and [`LegError::Refused`] of a call that may take no hop more.
    pub(super) fn plan(&self, call: Outgoing) -> Result<Plan, LegError> {
        if call.max_forwards == Some(0) {
            return Err(LegError::Refused(483));
        }
        let targets = self.targets(&call.to)?;
        let headers = call.headers.iter();
        let headers = headers
            .filter_map(|(name, value)| passed(name, value))
            .collect();
        Ok(Plan {
            call,
            targets,
            headers,
        })
    }

    fn targets(&self, to: &str) -> Result<Vec<Target>, LegError> {
        let nowhere = |why: String| Err(LegError::Nowhere(why));
        if to.len() > ADDRESS_MAX {
            return nowhere(format!("an address of more than {ADDRESS_MAX} octets"));
        }
        if to.starts_with("sip:") || to.starts_with("sips:") {
            return match Uri::try_from(to) {
                Ok(uri) => Ok(vec![Target::to(uri)]),
                Err(error) => nowhere(format!("'{to}': {error}")),
            };
        }
        if let Some((number, trunk)) = to.rsplit_once('@') {
            return self.by_trunk(number, trunk).map(|t| vec![t]);
        }
        let registered = lock(&self.registrar).contacts(to);
        let targets: Vec<Target> = registered
            .into_iter()
            .map(|(uri, flow)| Target {
                flow: Some(flow),
                ..Target::at(uri)
            })
            .collect();
        match targets.is_empty() {
            true if self.config.users.iter().any(|u| u.name == to) => {
                nowhere(format!("'{to}' is not registered"))
            }
            true => nowhere(format!("there is no user '{to}'")),
            false => Ok(targets),
        }
    }

    fn by_trunk(&self, number: &str, trunk: &str) -> Result<Target, LegError> {
        let mut trunks = self.config.trunks.iter();
        let Some(trunk) = trunks.find(|t| t.name == trunk) else {
            return Err(LegError::Nowhere(format!("there is no trunk '{trunk}'")));
        };
        let is_sound = !number.is_empty() && number.len() <= NAME_MAX;
        if !is_sound || number.chars().any(char::is_control) {
            return Err(LegError::Nowhere(format!("'{number}' is no number")));
        }
        let mut uri = trunk.address.clone();
        uri.auth = Some(Auth {
            user: number.to_owned(),
            password: None,
        });
        let credential = trunk
            .credential
            .as_ref()
            .map(|(user, password)| Credential {
                username: user.clone(),
                password: password.0.clone(),
                ..Credential::default()
            });
        let domain = credential.is_some().then(|| uri.host_with_port.clone());
        Ok(Target {
            flow: None,
            credential,
            domain,
            trunk: Some(trunk.name.clone()),
            sent_by: None,
            uri,
        })
    }

    /// Where a redirection of `target`, which was reached at `from`, leads; the most wanted first.
    ///
    /// A user of ours is looked up, and a number at the same trunk goes over that trunk. Elsewhere
    /// credentials stay behind, and [`Core::is_guarded`] says where it may not lead.
    pub(super) fn redirected(
        &self,
        response: &Response,
        target: &Target,
        from: &SipAddr,
    ) -> Vec<Target> {
        let mut contacts = response.typed_contact_headers().unwrap_or_default();
        contacts.truncate(TARGETS_MAX);
        let wanted = |q: Option<f32>| q.unwrap_or(1.0).clamp(0.0, 1.0);
        contacts.sort_by(|a, b| wanted(b.q()).total_cmp(&wanted(a.q())));
        let sender = Sender {
            is_here: address(from).is_some_and(|ip| ip.is_loopback()),
            trunk: target.trunk.clone(),
        };
        let leads = |uri: Uri| match self.dialled_as(uri.clone(), None).as_deref() {
            Ok(at) if at.starts_with("sip:") || at.starts_with("sips:") => vec![Target {
                sent_by: Some(sender.clone()),
                ..Target::to(uri)
            }],
            Ok(at) => match at.rsplit_once('@') {
                Some((number, trunk)) if sender.trunk.as_deref() == Some(trunk) => {
                    self.by_trunk(number, trunk).into_iter().collect()
                }
                Some(_) => Vec::new(),
                None => self.targets(at).unwrap_or_default(),
            },
            Err(_) => Vec::new(),
        };
        let uris = contacts.into_iter().map(|c| c.uri);
        let is_sip = |u: &Uri| matches!(u.scheme, Some(Scheme::Sip | Scheme::Sips));
        uris.filter(is_sip).flat_map(leads).collect()
    }

    /// Whether a redirection may not lead there: to this machine, unless it came from here, and to
    /// trunks, unless the call went over that one. Trunks know us by our address, so that whoever
    /// we call could call anybody at our expense.
    pub(super) fn is_guarded(&self, target: &Target, to: &SipAddr) -> bool {
        let (Some(sender), Some(ip)) = (&target.sent_by, address(to)) else {
            return false;
        };
        let is_own = |l: &SipAddr| l.addr == to.addr;
        let listens = self.endpoint.transport_layer.get_listen_addrs();
        let is_trunk = |t: &&Trunk| {
            let at = t.address.host_with_port.host.to_string();
            at == ip.to_string() || t.from.iter().any(|n| n.contains(ip))
        };
        let trunk = self.config.trunks.iter().find(is_trunk);
        (ip.is_loopback() && !sender.is_here)
            || listens.iter().any(is_own)
            || trunk.is_some_and(|t| Some(&t.name) != sender.trunk.as_ref())
    }

    /// The address that a target's requests are sent to; connects where that needs a connection.
    /// `None`: there is no way.
    pub(super) async fn reach(&self, target: &Target) -> Option<SipAddr> {
        let address = target.flow.clone().or_else(|| next_hop(&target.uri))?;
        let layer = &self.endpoint.transport_layer;
        match layer.lookup(&address, None).await {
            Ok((_, reached)) => Some(reached),
            Err(error) => {
                tracing::debug!(%error, to = %target.uri, "no way to the next hop");
                None
            }
        }
    }
}

/// The IP address of one that was looked up.
fn address(of: &SipAddr) -> Option<IpAddr> {
    Some(of.get_socketaddr().ok()?.ip().to_canonical())
}

impl Target {
    /// As it was written.
    fn to(uri: Uri) -> Self {
        Self::at(message::readable(uri))
    }

    fn at(mut uri: Uri) -> Self {
        uri.headers.clear();
        Self {
            uri,
            flow: None,
            credential: None,
            domain: None,
            trunk: None,
            sent_by: None,
        }
    }
}

/// A header of the owner's for an INVITE: none that the stack makes, none that breaks out.
fn passed(name: &str, value: &str) -> Option<Header> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'+%`".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_token) {
        return None;
    }
    let value: String = value.chars().filter(|c| !c.is_control()).collect();
    let header = make_header(name, value);
    let is_free = matches!(
        header,
        Header::Other(..)
            | Header::Subject(_)
            | Header::Reason(_)
            | Header::Diversion(_)
            | Header::HistoryInfo(_)
            | Header::PAssertedIdentity(_)
            | Header::PPreferredIdentity(_)
            | Header::Privacy(_)
            | Header::UserToUser(_)
            | Header::ReferredBy(_)
            | Header::Replaces(_)
            | Header::CallInfo(_)
            | Header::AlertInfo(_)
    );
    is_free.then_some(header)
}

/// The address in a URI, with its transport and port said (RFC 3263 without its DNS records).
pub(super) fn next_hop(uri: &Uri) -> Option<SipAddr> {
    let mut address = SipAddr::try_from(uri).ok()?;
    let transport = address.r#type.unwrap_or(match uri.scheme {
        Some(Scheme::Sips) => Transport::Tls,
        _ => Transport::Udp,
    });
    // sips: with tcp is TLS over TCP (RFC 3261 section 26.2.2).
    let transport = match (&uri.scheme, transport) {
        (Some(Scheme::Sips), Transport::Tcp) => Transport::Tls,
        (_, other) => other,
    };
    address.r#type = Some(transport);
    if address.addr.port.is_none() {
        address.addr.port = Some(transport.default_port());
    }
    for param in &uri.params {
        if let Param::Maddr(host) = param {
            address.addr.host = host.value().parse().ok()?;
        }
    }
    Some(address)
}

/// Tells the stack where requests go: to a registered phone by the way that it registered, for its
/// Contact may be an address behind a NAT, or none at all (WebSocket).
pub(super) struct Locator(pub(super) Arc<Mutex<Registrar>>);

#[async_trait::async_trait]
impl rsipstack::transaction::endpoint::TargetLocator for Locator {
    async fn locate(&self, uri: &Uri) -> rsipstack::Result<SipAddr> {
        let flow = lock(&self.0).flow(uri);
        let nowhere = || rsipstack::Error::Error(format!("no way to {uri}"));
        flow.or_else(|| next_hop(uri)).ok_or_else(nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{SipConfig, SipSettings, UserAgent};

    #[tokio::test]
    async fn redirections_do_not_lead_to_this_machine_or_to_other_trunks() {
        let settings = "listen = [\"udp:127.0.0.1:0\"]\n[[trunk]]\nname = \"a\"\n\
            address = \"sip:192.0.2.1\"\nfrom = [\"198.51.100.0/24\"]\n";
        let settings: SipSettings = toml::from_str(settings).expect("settings");
        let config = SipConfig::new(settings).expect("settings in order");
        let (agent, _calls) = UserAgent::start(config, 1).await.expect("it listens");
        let listens = agent.listens()[0].address;
        let guarded = |is_here: bool, trunk: Option<&str>, to: &str| {
            let mut target = Target::to(Uri::try_from("sip:x@h").expect("a URI"));
            let trunk = trunk.map(str::to_owned);
            target.sent_by = Some(Sender { is_here, trunk });
            let uri = Uri::try_from(format!("sip:x@{to}").as_str()).expect("a URI");
            agent
                .core
                .is_guarded(&target, &next_hop(&uri).expect("a hop"))
        };
        assert!(guarded(false, None, "127.0.0.1:5070"));
        assert!(guarded(false, None, "[::ffff:127.0.0.1]:5070"));
        assert!(guarded(false, None, "[::1]:5070"));
        assert!(!guarded(true, None, "127.0.0.1:5070"));
        assert!(guarded(true, None, &listens.to_string()));
        assert!(!guarded(false, None, "203.0.113.1"));
        for trunk in ["192.0.2.1:5070", "198.51.100.77"] {
            assert!(guarded(false, None, trunk), "{trunk}");
            assert!(guarded(false, Some("b"), trunk), "{trunk}");
            assert!(!guarded(false, Some("a"), trunk), "{trunk}");
        }
        let dialled = Target::to(Uri::try_from("sip:x@127.0.0.1").expect("a URI"));
        let hop = next_hop(&dialled.uri).expect("a hop");
        assert!(
            !agent.core.is_guarded(&dialled, &hop),
            "nobody sent us there"
        );
    }
}
