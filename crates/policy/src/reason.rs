//! Every reason for a decision, one line each; shown by `mirrord explain` and in the session's ledger.

macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// Why a name is local or remote.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $text])+ $name,)+
        }

        impl Reason {
            /// The reason as half a sentence.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Reason::$name => concat!($($text),+).trim_ascii(),)+
                }
            }

            /// All reasons.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];
        }
    };
}

reasons! {
    /// the feature is switched off by the configuration
    FeatureOff,
    /// the remote root is not available on this machine
    NoRemoteRoot,
    /// it matches the configuration's `not_found` list
    ListedNotFound,
    /// it matches the configuration's `read_only` list
    ListedReadOnly,
    /// it matches the configuration's `local` list
    ListedLocal,
    /// it holds cloud or cluster credentials of this machine's user
    LocalCredentials,
    /// it is a file of the pod that names depend on (resolver, hosts, certificates)
    PodIdentity,
    /// it is part of the program's own environment by its ending (libraries, sources)
    LocalEnding,
    /// it lies in a folder of the operating system that stays local
    LocalFolder,
    /// it lies in the folder where the session was started
    WorkingDirectory,
    /// it belongs to the program that runs, or to its installation
    ProgramFile,
    /// it lies in the temporary folder
    TemporaryFile,
    /// it is a dot-file of the user
    UserDotFile,
    /// a folder that stays local lies below it
    AboveLocalFolder,
    /// the mode keeps everything local that no list names
    ModeLocalWithOverrides,
    /// the mode reads from the target
    ModeRead,
    /// the mode keeps writes local
    ModeReadWritesLocal,
    /// loopback stays on this machine by configuration
    LoopbackIgnored,
    /// it is the target's own loopback
    TargetLoopback,
    /// it has no meaning in another network (unspecified, multicast, link-local)
    NotRoutable,
    /// it is an address of the session itself
    SessionAddress,
    /// the target's network is used for every address
    TargetNetwork,
    /// the name means this machine itself
    LocalHostName,
    /// the name is an address already
    NumericName,
    /// the target's resolver is used for every name
    TargetResolver,
    /// the port is chosen by the kernel
    EphemeralPort,
    /// the port is on the configuration's `ignore_ports` list
    IgnoredPort,
    /// the port is not on the configuration's `ports` list
    UnlistedPort,
    /// traffic of the target's port comes to the program
    StolenPort,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_half_a_sentence() {
        for reason in Reason::ALL {
            let text = reason.text();
            assert!(!text.ends_with('.') && text.starts_with(|first: char| first.is_lowercase()), "{text}");
        }
    }
}
