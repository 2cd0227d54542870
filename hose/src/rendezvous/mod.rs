//! Where the ends of a tenant's hoses find each other on one host: the runtime's side of it.
//!
//! ```text
//! <base>/                 0700, the runtime's user
//! ├── .lock               0600, held while anything below changes
//! └── <tenant>/           0711: can be entered, not listed; what a container sees is a clone of this mount
//!     ├── HASH.record     0644: who that is, public key, name of the socket
//!     └── HASH.RANDOM.sock  0666: the listening socket
//! ```
//!
//! HASH is of workflow and name: every name gives a file name of one short length, and no name a path.
//!
//! # Invariants
//!
//! - A name is claimed by its *record* alone, and a record appears and changes by one `rename`: whoever reads one gets a key and
//!   a socket that belong together.
//! - A claim is *live* as long as anyone holds its listening socket. The kernel says so: `connect` to a socket that nobody holds is
//!   refused. No pid is compared, so none can be reused, and nothing has to be written when a container dies.
//! - Only the runtime's user writes. Containers get a read-only clone, in which records can be read and sockets be
//!   connected to under any uid; that is safe because neither of them is secret ([`crate::identity`]).
//! - Records are not synced to disk: no claim outlives its kernel. One that a crash left empty or torn is no claim.

mod folder;
mod mount;
mod record;

pub use folder::{Folder, Published};
pub(crate) use record::Record;
