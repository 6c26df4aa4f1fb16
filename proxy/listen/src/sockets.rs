//! The listening sockets of the process: each address is bound once for all workers, and they can be handed to the
//! process that takes this one's place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lateen_proxy_model::ListenSocket;
use quinn::ServerConfig;
use socket2::Socket;

use crate::quic::{QuicGroup, QuicListening};
use crate::socket::{Listening, bind, bind_pipe};

/// What a listening socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Pipe(PathBuf),
    /// A UDP address, for QUIC. Its socket is not handed to another process.
    Quic(SocketAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Quic(address) => address.fmt(f),
            Self::Pipe(path) => path.display().fmt(f),
        }
    }
}

impl Place {
    /// As one process tells it another.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Tcp(address) => format!("tcp:{address}"),
            Self::Quic(address) => format!("quic:{address}"),
            Self::Pipe(path) => format!("pipe:{}", path.display()),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("tcp", address) => address.parse().ok().map(Self::Tcp),
            ("pipe", path) => Some(Self::Pipe(path.into())),
            _ => None,
        }
    }
}

/// The sockets of all workers. Share it in an `Arc`.
#[derive(Debug, Default)]
pub struct Sockets {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    open: BTreeMap<Place, Group>,
    quic: BTreeMap<SocketAddr, QuicGroup>,
    /// Those of the process before this one, until a listener asks for them.
    inherited: BTreeMap<Place, Vec<Socket>>,
}

/// The sockets of one place.
#[derive(Debug)]
struct Group {
    sockets: Vec<Socket>,
    users: usize,
}

/// Keeps the sockets of a place open.
#[derive(Debug)]
pub struct Lease {
    sockets: Arc<Sockets>,
    place: Place,
}

impl Sockets {
    /// The sockets of a place that one of `workers` accepts from: with `SO_REUSEPORT` its share of them, else the one
    /// that all share. Must be called within the worker's runtime.
    ///
    /// # Errors
    /// The kernel's: the address is in use or not ours, or a privileged port without the privilege.
    pub fn open(
        self: &Arc<Self>,
        place: &Place,
        settings: &ListenSocket,
        (worker, workers): (usize, usize),
    ) -> io::Result<(Vec<Listening>, Lease)> {
        let mut tables = self.lock();
        let tables = &mut *tables;
        if !tables.open.contains_key(place) {
            let inherited = tables.inherited.remove(place).unwrap_or_default();
            let sockets = bound(place, settings, workers, inherited)?;
            tables
                .open
                .insert(place.clone(), Group { sockets, users: 0 });
        }
        let Some(group) = tables.open.get_mut(place) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let shared = group.sockets.len() < workers;
        let own = group
            .sockets
            .iter()
            .enumerate()
            .filter(|(index, _)| shared || index % workers == worker)
            .map(|(_, socket)| Listening::new(socket.try_clone()?, matches!(place, Place::Pipe(_))))
            .collect::<io::Result<_>>()?;
        group.users += 1;
        let lease = Lease {
            sockets: Arc::clone(self),
            place: place.clone(),
        };
        Ok((own, lease))
    }

    /// This worker's share of the connections of a UDP address; the first worker that asks for it takes its packets in.
    /// `config` makes what the first packets are protected with. Must be called within the worker's runtime.
    ///
    /// # Errors
    /// The kernel's, and those of `config`.
    pub fn open_quic(
        self: &Arc<Self>,
        address: SocketAddr,
        settings: &ListenSocket,
        config: impl FnOnce() -> io::Result<ServerConfig>,
    ) -> io::Result<(QuicListening, Lease)> {
        let mut tables = self.lock();
        let group = match tables.quic.entry(address) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(QuicGroup::bind(address, settings, config()?)?),
        };
        let lease = Lease {
            sockets: Arc::clone(self),
            place: Place::Quic(address),
        };
        Ok((group.share(), lease))
    }

    /// Ends all connections of QUIC; whether there are addresses of it.
    pub fn close_quic(&self) -> bool {
        let tables = self.lock();
        for group in tables.quic.values() {
            group.close();
        }
        !tables.quic.is_empty()
    }

    /// Keeps sockets of the process before this one for the listeners to come.
    pub fn inherit(&self, place: Place, socket: Socket) {
        let mut tables = self.lock();
        tables.inherited.entry(place).or_default().push(socket);
    }

    /// Closes what was inherited and no listener asked for; connections in it are reset.
    pub fn forget_inherited(&self) {
        self.lock().inherited.clear();
    }

    /// Whether each of `workers` accepts from this place.
    pub fn is_served(&self, place: &Place, workers: usize) -> bool {
        let tables = self.lock();
        if let Place::Quic(address) = place {
            let group = tables.quic.get(address);
            return group.is_some_and(|group| group.users >= workers);
        }
        tables
            .open
            .get(place)
            .is_some_and(|group| group.users >= workers)
    }

    /// The address that the sockets of a place have; the kernel may have chosen its port.
    pub fn bound(&self, place: &Place) -> Option<SocketAddr> {
        let tables = self.lock();
        let group = tables.open.get(place)?;
        group.sockets.first()?.local_addr().ok()?.as_socket()
    }

    /// All open sockets with their places, for another process.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn all(&self) -> io::Result<Vec<(Place, Socket)>> {
        let tables = self.lock();
        let each = tables.open.iter().flat_map(|(place, group)| {
            let sockets = group.sockets.iter();
            sockets.map(move |socket| Ok((place.clone(), socket.try_clone()?)))
        });
        each.collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut tables = self.sockets.lock();
        if let Place::Quic(address) = &self.place {
            if let Some(group) = tables.quic.get_mut(address) {
                group.users -= 1;
                if group.users == 0 {
                    tables.quic.remove(address);
                }
            }
            return;
        }
        if let Some(group) = tables.open.get_mut(&self.place) {
            group.users -= 1;
            if group.users == 0 {
                tables.open.remove(&self.place);
            }
        }
    }
}

/// Enough sockets for all workers, the inherited ones first.
fn bound(
    place: &Place,
    settings: &ListenSocket,
    workers: usize,
    mut sockets: Vec<Socket>,
) -> io::Result<Vec<Socket>> {
    let wanted = match place {
        Place::Tcp(_) if settings.reuse_port => workers,
        _ => 1,
    };
    let mut place = place.clone();
    while sockets.len() < wanted {
        let socket = match &place {
            Place::Tcp(address) => bind(*address, settings)?,
            Place::Pipe(path) => match &settings.pipe {
                Some(pipe) if pipe.path == *path => bind_pipe(pipe, settings)?,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            },
            Place::Quic(_) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if let Some(address) = socket.local_addr()?.as_socket() {
            // A port that the kernel chose is the same for all workers.
            place = Place::Tcp(address);
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use lateen_proxy_model::Pipe;
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::original_destination;

    fn any_port() -> Place {
        Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn address(listening: &Listening) -> SocketAddr {
        match listening {
            Listening::Tcp(listener) => listener.local_addr().unwrap(),
            Listening::Unix(_) => panic!("no TCP"),
        }
    }

    #[tokio::test]
    async fn workers_share_a_port_and_the_last_one_closes_it() {
        let sockets = Arc::new(Sockets::default());
        let settings = ListenSocket::default();
        let (first, lease) = sockets.open(&any_port(), &settings, (0, 2)).unwrap();
        let (second, other) = sockets.open(&any_port(), &settings, (1, 2)).unwrap();
        assert_eq!(address(&first[0]), address(&second[0]));
        assert_eq!(sockets.all().unwrap().len(), 2);
        drop((first, lease));
        assert_eq!(sockets.all().unwrap().len(), 2);
        drop((second, other));
        assert!(sockets.all().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_socket_for_all_where_ports_are_not_shared() {
        let sockets = Arc::new(Sockets::default());
        let settings = ListenSocket {
            reuse_port: false,
            ..ListenSocket::default()
        };
        let (first, _lease) = sockets.open(&any_port(), &settings, (0, 2)).unwrap();
        let (second, _other) = sockets.open(&any_port(), &settings, (1, 2)).unwrap();
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_eq!(sockets.all().unwrap().len(), 1);
        let client = TcpStream::connect(address(&first[0])).await.unwrap();
        let (server, peer) = second[0].accept().await.unwrap();
        assert_eq!(peer, client.local_addr().ok());
        let server = server.tcp().unwrap();
        let own = server.local_addr().unwrap();
        assert!(original_destination(server).is_none_or(|original| original == own));
    }

    #[tokio::test]
    async fn inherited_sockets_keep_what_waits_in_them() {
        let old = Arc::new(Sockets::default());
        let settings = ListenSocket::default();
        let (listening, lease) = old.open(&any_port(), &settings, (0, 1)).unwrap();
        let address = address(&listening[0]);
        let client = TcpStream::connect(address).await.unwrap();
        let new = Arc::new(Sockets::default());
        for (_, socket) in old.all().unwrap() {
            new.inherit(Place::Tcp(address), socket);
        }
        drop((listening, lease));
        let (taken, _lease) = new.open(&Place::Tcp(address), &settings, (0, 1)).unwrap();
        let (_, peer) = taken[0].accept().await.unwrap();
        assert_eq!(peer, client.local_addr().ok());
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_the_file_of_a_dead_one() {
        let folder = std::env::temp_dir().join(format!("lateen-pipe-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let settings = ListenSocket {
            pipe: Some(Pipe {
                path: path.clone(),
                mode: 0o600,
            }),
            ..ListenSocket::default()
        };
        let sockets = Arc::new(Sockets::default());
        for _ in 0..2 {
            let place = Place::Pipe(path.clone());
            let (listening, _lease) = sockets.open(&place, &settings, (0, 1)).unwrap();
            let _client = UnixStream::connect(&path).await.unwrap();
            assert_eq!(listening[0].accept().await.unwrap().1, None);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
