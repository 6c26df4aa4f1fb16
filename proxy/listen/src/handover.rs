//! Hand-over of listening sockets to the process that takes this one's place, over a Unix socket in the kernel's own
//! space of names. Only processes of the same user are spoken to.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use socket2::{SockRef, Socket};

use crate::sockets::{Place, Sockets};

/// Longest message.
const MESSAGE: usize = 4096;
/// Longest wait for an answer of the other process.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ends the list of sockets.
const END: &[u8] = b"end";

/// What a new process asks of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Its listening sockets.
    Sockets,
    /// To serve no admin pages any more.
    Admin,
    /// To accept no more connections, and to end those it has.
    Drain,
    /// To end.
    Terminate,
}

/// The side of the process that is there.
#[derive(Debug)]
pub struct Heir(OwnedFd);

/// The side of the process that takes over.
#[derive(Debug)]
pub struct Ancestor(OwnedFd);

impl Request {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Sockets => b"sockets",
            Self::Admin => b"admin",
            Self::Drain => b"drain",
            Self::Terminate => b"terminate",
        }
    }

    fn read(word: &[u8]) -> Option<Self> {
        [Self::Sockets, Self::Admin, Self::Drain, Self::Terminate]
            .into_iter()
            .find(|request| request.word() == word)
    }
}

impl Heir {
    /// Listens for the process of the next epoch.
    ///
    /// # Errors
    /// When another process has this name already.
    pub fn listen(base_id: u32, epoch: u32) -> io::Result<Self> {
        let socket = seqpacket()?;
        rustix::net::bind(&socket, &address(base_id, epoch)?)?;
        rustix::net::listen(&socket, 1)?;
        Ok(Self(socket))
    }

    /// Answers requests for ever, on a thread of its own: `act` does what is asked beside the sockets themselves.
    pub fn serve(&self, sockets: &Sockets, mut act: impl FnMut(Request)) {
        loop {
            let Ok(peer) = rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC) else {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            if let Err(error) = answer(&peer, sockets, &mut act) {
                tracing::warn!(%error, "a request of the next process failed");
            }
        }
    }
}

impl Ancestor {
    /// Finds the process of an epoch.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(base_id: u32, epoch: u32) -> io::Result<Self> {
        let socket = seqpacket()?;
        rustix::net::connect(&socket, &address(base_id, epoch)?)?;
        own_user(&socket)?;
        SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// Takes its listening sockets; gives how many there are.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn sockets(&self, into: &Sockets) -> io::Result<usize> {
        send(&self.0, Request::Sockets.word(), None)?;
        let mut count = 0;
        loop {
            let (text, descriptor) = receive(&self.0)?;
            if text == END {
                return Ok(count);
            }
            if text.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let place = std::str::from_utf8(&text).ok().and_then(Place::parse);
            if let (Some(place), Some(descriptor)) = (place, descriptor) {
                into.inherit(place, Socket::from(descriptor));
                count += 1;
            }
        }
    }

    /// Asks for something else, and waits until it is done.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, request: Request) -> io::Result<()> {
        send(&self.0, request.word(), None)?;
        let (text, _) = receive(&self.0)?;
        if text == END {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

fn answer(peer: &OwnedFd, sockets: &Sockets, act: &mut impl FnMut(Request)) -> io::Result<()> {
    own_user(peer)?;
    loop {
        let (word, _) = receive(peer)?;
        let Some(request) = Request::read(&word) else {
            return Ok(());
        };
        if request == Request::Sockets {
            for (place, socket) in sockets.all()? {
                send(peer, place.text().as_bytes(), Some(&socket))?;
            }
        }
        act(request);
        send(peer, END, None)?;
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(rustix::net::socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn address(base_id: u32, epoch: u32) -> io::Result<SocketAddrUnix> {
    let name = format!("lateen-proxy-{base_id}-{epoch}");
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

fn own_user(peer: &OwnedFd) -> io::Result<()> {
    let own = std::fs::metadata("/proc/self")?.uid();
    let theirs = rustix::net::sockopt::socket_peercred(peer)?;
    if theirs.uid.as_raw() == own {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn send(to: &OwnedFd, text: &[u8], descriptor: Option<&Socket>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(AsFd::as_fd);
    if descriptors.is_some() {
        control.push(SendAncillaryMessage::ScmRights(descriptors.as_slice()));
    }
    let parts = [IoSlice::new(text)];
    rustix::net::sendmsg(to, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A message, and the descriptor that came with it.
fn receive(from: &OwnedFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; MESSAGE];
    let got = {
        let mut parts = [IoSliceMut::new(&mut text)];
        rustix::net::recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?
    };
    text.truncate(got.bytes);
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((text, descriptor))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::mpsc;

    use lateen_proxy_model::ListenSocket;

    use super::*;

    #[tokio::test]
    async fn sockets_go_over_with_the_connections_that_wait_in_them() {
        let base_id = std::process::id();
        let old = Arc::new(Sockets::default());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = free.local_addr().unwrap();
        drop(free);
        let place = Place::Tcp(address);
        let settings = ListenSocket::default();
        let (_listening, _lease) = old.open(&place, &settings, (0, 1)).unwrap();
        let client = TcpStream::connect(address).unwrap();
        let heir = Heir::listen(base_id, 0).unwrap();
        assert!(Heir::listen(base_id, 0).is_err(), "the name is taken");
        let (asked, requests) = mpsc::channel();
        let serving = Arc::clone(&old);
        std::thread::spawn(move || heir.serve(&serving, |request| asked.send(request).unwrap()));
        let new = Arc::new(Sockets::default());
        let ancestor = Ancestor::find(base_id, 0).unwrap();
        assert_eq!(ancestor.sockets(&new).unwrap(), 1);
        ancestor.ask(Request::Drain).unwrap();
        assert_eq!(requests.recv().unwrap(), Request::Sockets);
        assert_eq!(requests.recv().unwrap(), Request::Drain);
        drop((_listening, _lease));
        let (taken, _lease) = new.open(&place, &settings, (0, 1)).unwrap();
        let (_, peer) = taken[0].accept().await.unwrap();
        assert_eq!(peer, client.local_addr().ok());
        assert!(Ancestor::find(base_id, 7).is_err());
    }
}
