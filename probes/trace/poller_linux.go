package trace

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A poller waits for many sockets at once. It is one epoll descriptor, for
// which in turn Go's runtime waits: so a trace needs one goroutine and blocks
// no thread, and its deadline and cancellation are those of any file. (Handing
// each socket to the runtime instead would take a goroutine per TTL; waiting
// with epoll_wait itself took 24 threads for 20 traces at a time, against 9.)
type poller struct {
	fd     int
	file   *os.File
	raw    syscall.RawConn
	events [64]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile would not pass it to the runtime
		unix.Close(fd)
		return nil, err
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // an error if the runtime cannot wait for it
	}
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("wait for an epoll descriptor: %w", err)
	}
	return p, nil
}

// add watches a socket, which must have been connected before: one that was
// not reports EPOLLHUP at once. What arrived in between is not lost, since
// epoll is level-triggered unless asked to be otherwise.
func (p *poller) add(s socket) error {
	events := uint32(unix.EPOLLOUT) // errors are always reported
	if s.udp {
		events = unix.EPOLLIN
	}
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: events, Fd: int32(s.fd)})
}

// wait returns what happened, or nothing at the deadline or when ctx ends. What
// has happened by then is always returned: where the process was not scheduled
// for a while, an answer that is there must not count as silence. Closed
// sockets leave the set by themselves.
func (p *poller) wait(ctx context.Context, until time.Time) []unix.EpollEvent {
	n := 0
	ready := func(uintptr) bool {
		n, _ = unix.EpollWait(p.fd, p.events[:], 0)
		return n > 0
	}
	p.file.SetReadDeadline(until)
	// In this order: ctx may end after the check, but then interrupt comes
	// after the deadline above and moves it.
	if ctx.Err() == nil {
		p.raw.Read(ready)
	}
	if n <= 0 {
		ready(0)
	}
	return p.events[:max(n, 0)]
}

// interrupt ends the current wait, or the next one.
func (p *poller) interrupt() { p.file.SetReadDeadline(time.Unix(1, 0)) }

func (p *poller) close() { p.file.Close() }
