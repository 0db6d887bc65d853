//! The verbs of ng, and what each cannot do without.

use super::super::flags::Name;

/// A verb of ng.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "the verbs are the protocol's; Command::name spells them"
)]
#[non_exhaustive]
pub enum Command {
    Ping,
    Offer,
    Answer,
    Delete,
    Query,
    List,
    StartRecording,
    StopRecording,
    PauseRecording,
    StartForwarding,
    StopForwarding,
    BlockDtmf,
    UnblockDtmf,
    BlockMedia,
    UnblockMedia,
    SilenceMedia,
    UnsilenceMedia,
    PlayMedia,
    StopMedia,
    PlayDtmf,
    Statistics,
    Publish,
    SubscribeRequest,
    SubscribeAnswer,
    Unsubscribe,
    InjectStart,
    InjectStop,
    Connect,
    Mesh,
    Create,
    CreateAnswer,
    Transform,
    Cli,
}

impl Command {
    /// The verb of a name, in any spelling.
    pub fn find(name: &[u8]) -> Option<Self> {
        let name = Name::new(name)?;
        COMMANDS
            .iter()
            .find(|(_, spelled, _)| {
                Name::new(spelled.as_bytes()).is_some_and(|n| n.bytes() == name.bytes())
            })
            .map(|(command, _, _)| *command)
    }

    /// The protocol's own spelling.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    pub(super) fn needs(self) -> &'static [Need] {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, &'static [Need]) {
        COMMANDS
            .iter()
            .find(|(command, _, _)| *command == self)
            .expect("a test finds every command in the table")
    }
}

/// What a request cannot do without, in the order in which the lack is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Sdp,
    CallId,
    FromTag,
    ToTag,
}

/// The frequent ones come first.
pub(super) const COMMANDS: &[(Command, &str, &[Need])] = &[
    (
        Command::Offer,
        "offer",
        &[Need::Sdp, Need::CallId, Need::FromTag],
    ),
    (
        Command::Answer,
        "answer",
        &[Need::Sdp, Need::CallId, Need::FromTag, Need::ToTag],
    ),
    (Command::Delete, "delete", &[Need::CallId]),
    (Command::Ping, "ping", &[]),
    (Command::Query, "query", &[Need::CallId]),
    (Command::List, "list", &[]),
    (Command::StartRecording, "start recording", &[Need::CallId]),
    (Command::StopRecording, "stop recording", &[Need::CallId]),
    (Command::PauseRecording, "pause recording", &[Need::CallId]),
    (
        Command::StartForwarding,
        "start forwarding",
        &[Need::CallId],
    ),
    (Command::StopForwarding, "stop forwarding", &[Need::CallId]),
    (Command::BlockDtmf, "block DTMF", &[Need::CallId]),
    (Command::UnblockDtmf, "unblock DTMF", &[Need::CallId]),
    (Command::BlockMedia, "block media", &[Need::CallId]),
    (Command::UnblockMedia, "unblock media", &[Need::CallId]),
    (Command::SilenceMedia, "silence media", &[Need::CallId]),
    (Command::UnsilenceMedia, "unsilence media", &[Need::CallId]),
    (Command::PlayMedia, "play media", &[Need::CallId]),
    (Command::StopMedia, "stop media", &[Need::CallId]),
    (Command::PlayDtmf, "play DTMF", &[Need::CallId]),
    (Command::Statistics, "statistics", &[]),
    (Command::Publish, "publish", &[Need::Sdp]),
    (
        Command::SubscribeRequest,
        "subscribe request",
        &[Need::CallId],
    ),
    (
        Command::SubscribeAnswer,
        "subscribe answer",
        &[Need::Sdp, Need::CallId, Need::ToTag],
    ),
    (
        Command::Unsubscribe,
        "unsubscribe",
        &[Need::CallId, Need::ToTag],
    ),
    (
        Command::InjectStart,
        "inject start",
        &[Need::CallId, Need::ToTag],
    ),
    (
        Command::InjectStop,
        "inject stop",
        &[Need::CallId, Need::ToTag],
    ),
    (
        Command::Connect,
        "connect",
        &[Need::CallId, Need::FromTag, Need::ToTag],
    ),
    (Command::Mesh, "mesh", &[]),
    (Command::Create, "create", &[]),
    (
        Command::CreateAnswer,
        "create answer",
        &[Need::Sdp, Need::CallId, Need::FromTag],
    ),
    (Command::Transform, "transform", &[]),
    (Command::Cli, "cli", &[]),
];
