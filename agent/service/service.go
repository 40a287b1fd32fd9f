// Package service makes the agent a good citizen of whatever runs it: it tells
// systemd that it is ready, reloading, alive or about to stop, keeps the
// garbage collector within the cgroup's memory, and reads which shard of the
// targets this instance is to take.
//
// It starts nothing and imports nothing else of ours.
package service

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// A Notifier tells the service manager how the agent is doing, by the protocol
// of sd_notify(3). Without a service manager that wants to know, which is a
// nil Notifier, its methods do nothing.
type Notifier struct {
	socket   string
	watchdog time.Duration // the manager's patience; 0 if it does not watch
}

// patience bounds how long a message may wait for a manager that does not read.
const patience = time.Second

// FromEnvironment returns the notifier that the service manager asks for, nil
// if it does not ask. It takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID
// out of the environment, so that no child speaks in the agent's name.
func FromEnvironment() (*Notifier, error) {
	socket, usec, pid := take("NOTIFY_SOCKET"), take("WATCHDOG_USEC"), take("WATCHDOG_PID")
	if socket == "" {
		return nil, nil
	}
	if socket[0] != '/' && socket[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q is neither a path nor an abstract socket", socket)
	}
	n := &Notifier{socket: socket}
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil
	}
	us, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || us <= 0 || us > int64(1<<62)/1000 {
		return n, fmt.Errorf("WATCHDOG_USEC %q is not a number of microseconds", usec)
	}
	n.watchdog = time.Duration(us) * time.Microsecond
	return n, nil
}

// take returns a variable and removes it from the environment.
func take(name string) string {
	value := os.Getenv(name)
	os.Unsetenv(name)
	return value
}

// Ready tells that the start, or a reload, is complete.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+line(status)) }

// Reloading tells that the configuration is being read again; Ready must
// follow, also if the configuration was bad.
func (n *Notifier) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Stopping tells that the agent is about to end.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Status tells in a line what the agent is doing, for systemctl status.
func (n *Notifier) Status(status string) error { return n.send("STATUS=" + line(status)) }

// Watch pets the watchdog twice in the time that the service manager allows,
// as long as health returns nil, until ctx is done; it returns at once if the
// manager does not watch. An agent that is not well is left to be restarted:
// the log and the manager are told why, and the manager no longer that it is
// alive.
func (n *Notifier) Watch(ctx context.Context, log *slog.Logger, health func(context.Context) error) {
	if n == nil || n.watchdog == 0 {
		return
	}
	every := n.watchdog / 2
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := ""
	for {
		trouble := n.pet(ctx, every, health)
		if ctx.Err() != nil {
			return // what failed now failed because of the end
		}
		if trouble != before && trouble != "" {
			log.Error("the watchdog is not being petted", "because", trouble)
		} else if trouble != before {
			log.Info("the watchdog is being petted again")
		}
		before = trouble
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pet asks for the agent's health once and passes it on. It returns why the
// watchdog was not petted, "" if it was.
func (n *Notifier) pet(ctx context.Context, within time.Duration, health func(context.Context) error) string {
	asking, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := health(asking)
	if err == nil {
		err = n.send("WATCHDOG=1")
	} else if ctx.Err() == nil {
		n.Status("not well: " + err.Error()) // nobody is left to tell if this fails
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// send tells the manager some assignments in one message.
func (n *Notifier) send(assignments ...string) error {
	if n == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err = conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	return nil
}

// line makes text one line: a line break would begin another assignment.
func line(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
