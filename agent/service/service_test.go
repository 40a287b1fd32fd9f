package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager listens as systemd does and returns the socket's name.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// told returns the next message to the manager.
func told(t *testing.T, manager *net.UnixConn) string {
	t.Helper()
	manager.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	n, err := manager.Read(b)
	if err != nil {
		t.Fatalf("the manager was told nothing: %v", err)
	}
	return string(b[:n])
}

// sockets are the names of sockets of both kinds.
func sockets(t *testing.T) map[string]string {
	return map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@vpcprobe-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-")),
	}
}

// environment sets the variables that systemd would.
func environment(t *testing.T, socket, usec, pid string) {
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", usec)
	t.Setenv("WATCHDOG_PID", pid)
}

func TestLifeIsTold(t *testing.T) {
	for kind, socket := range sockets(t) {
		t.Run(kind, func(t *testing.T) {
			systemd := manager(t, socket)
			environment(t, socket, "", "")
			n, err := FromEnvironment()
			if err != nil {
				t.Fatal(err)
			}
			steps := []struct {
				do   func() error
				want string
			}{
				{func() error { return n.Ready("3 targets") }, "READY=1\nSTATUS=3 targets"},
				{func() error { return n.Status("all\nREADY=1\r\x00done") }, "STATUS=all READY=1  done"},
				{n.Stopping, "STOPPING=1"},
			}
			for _, s := range steps {
				if err := s.do(); err != nil {
					t.Fatal(err)
				}
				if got := told(t, systemd); got != s.want {
					t.Errorf("the manager was told %q, want %q", got, s.want)
				}
			}
		})
	}
}

// The manager orders reloads by the monotonic clock: the time must be between
// two readings of ours.
func TestReloadingCarriesTheMonotonicClock(t *testing.T) {
	socket := sockets(t)["path"]
	systemd := manager(t, socket)
	before := monotonic(t)
	if err := (&Notifier{socket: socket}).Reloading(); err != nil {
		t.Fatal(err)
	}
	after := monotonic(t)
	got := told(t, systemd)
	m := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=(\d+)$`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("the manager was told %q", got)
	}
	if us, _ := strconv.ParseInt(m[1], 10, 64); us < before || us > after {
		t.Errorf("MONOTONIC_USEC is %d, not between %d and %d", us, before, after)
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// Children must not speak in the agent's name.
func TestEnvironmentIsTakenAway(t *testing.T) {
	environment(t, "@nowhere", "1000000", strconv.Itoa(os.Getpid()))
	n, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if n == nil || n.socket != "@nowhere" || n.watchdog != time.Second {
		t.Errorf("the notifier is %+v", n)
	}
	out, err := exec.Command("env").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if bytes.Contains(out, []byte(name)) {
			t.Errorf("a child sees %s", name)
		}
	}
}

func TestEnvironment(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	tests := []struct {
		socket, usec, pid string
		want              *Notifier
		fails             string
	}{
		{"", "", "", nil, ""},
		{"", "1000000", self, nil, ""},
		{"/run/n", "", "", &Notifier{socket: "/run/n"}, ""},
		{"/run/n", "30000000", self, &Notifier{"/run/n", 30 * time.Second}, ""},
		{"/run/n", "30000000", "", &Notifier{"/run/n", 30 * time.Second}, ""},
		{"/run/n", "30000000", "1", &Notifier{socket: "/run/n"}, ""}, // another process is watched
		{"/run/n", "0", self, &Notifier{socket: "/run/n"}, `WATCHDOG_USEC "0" is not a number of microseconds`},
		{"/run/n", "soon", self, &Notifier{socket: "/run/n"}, `WATCHDOG_USEC "soon" is not a number of microseconds`},
		{"/run/n", "9223372036854775807", self, &Notifier{socket: "/run/n"}, `WATCHDOG_USEC "9223372036854775807" is not a number of microseconds`},
		{"vsock:2:99", "", "", nil, `NOTIFY_SOCKET "vsock:2:99" is neither a path nor an abstract socket`},
	}
	for _, tt := range tests {
		environment(t, tt.socket, tt.usec, tt.pid)
		n, err := FromEnvironment()
		if got := fmt.Sprint(n); got != fmt.Sprint(tt.want) {
			t.Errorf("%q %q %q: the notifier is %s, want %v", tt.socket, tt.usec, tt.pid, got, tt.want)
		}
		if got := text(err); got != tt.fails {
			t.Errorf("%q %q %q: the error is %q, want %q", tt.socket, tt.usec, tt.pid, got, tt.fails)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Without a manager nothing happens, and nothing fails.
func TestNobodyAsks(t *testing.T) {
	var n *Notifier
	if err := errors.Join(n.Ready("x"), n.Reloading(), n.Status("x"), n.Stopping()); err != nil {
		t.Error(err)
	}
	n.Watch(t.Context(), nil, nil)
	(&Notifier{socket: "@nowhere"}).Watch(t.Context(), nil, nil) // told, but not watched
}

func TestManagerIsGone(t *testing.T) {
	err := (&Notifier{socket: filepath.Join(t.TempDir(), "gone")}).Ready("")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// The watchdog is petted while the agent is well, told why while it is not,
// and petted again after that; the log has one line for each change.
func TestWatchdogFollowsHealth(t *testing.T) {
	socket := sockets(t)["path"]
	systemd := manager(t, socket)
	n := &Notifier{socket, 20 * time.Millisecond}
	health := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	var logged bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Watch(ctx, slog.New(slog.NewTextHandler(&logged, nil)), func(ctx context.Context) error {
			select {
			case err := <-health:
				return err
			case <-ctx.Done():
				return errors.New("no answer")
			}
		})
	}()
	sick := errors.New("the scheduler sleeps")
	for _, s := range []struct {
		err  error
		want string
	}{{nil, "WATCHDOG=1"}, {sick, "STATUS=not well: the scheduler sleeps"}, {sick, "STATUS=not well: the scheduler sleeps"}, {nil, "WATCHDOG=1"}} {
		ask(t, health, s.err)
		for got := told(t, systemd); got != s.want; got = told(t, systemd) {
			if got != "STATUS=not well: no answer" {
				t.Fatalf("the manager was told %q, want %q", got, s.want)
			}
		}
	}
	ask(t, health, nil) // by now the recovery is in the log
	cancel()
	<-done
	if got := strings.Count(logged.String(), "scheduler sleeps"); got < 1 || got > 2 {
		t.Errorf("the log tells of the illness %d times:\n%s", got, &logged)
	}
	if !strings.Contains(logged.String(), "petted again") {
		t.Errorf("the log does not tell of the recovery:\n%s", &logged)
	}
}

// ask answers the watchdog's next question.
func ask(t *testing.T, health chan<- error, err error) {
	t.Helper()
	select {
	case health <- err:
	case <-time.After(10 * time.Second):
		t.Fatal("the watchdog does not ask")
	}
}

// A health check that hangs is an agent that hangs.
func TestHangingHealthIsNotPetted(t *testing.T) {
	socket := sockets(t)["path"]
	systemd := manager(t, socket)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&Notifier{socket, 20 * time.Millisecond}).Watch(ctx, slog.New(slog.DiscardHandler), func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	for range 3 {
		if got := told(t, systemd); got != "STATUS=not well: context deadline exceeded" {
			t.Errorf("the manager was told %q", got)
		}
	}
	cancel()
	<-done
}
