//go:build linux

package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Enter(map[string]Child{"rights": rights})
	goleak.VerifyTestMain(m)
}

// rights prints what a process may do.
func rights([]string) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	may := map[string]string{}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		may[key] = strings.TrimSpace(value)
	}
	var root unix.Statfs_t
	if err := unix.Statfs("/", &root); err != nil {
		return err
	}
	may["ReadOnly"] = fmt.Sprint(root.Flags&unix.ST_RDONLY != 0)
	return json.NewEncoder(os.Stdout).Encode(may)
}

func TestConfinedProgramsHaveNoRights(t *testing.T) {
	l := Start(t, Topology{})
	out, err := l.Client().Confined("rights")
	if err != nil {
		t.Fatal(err)
	}
	var may map[string]string
	if err := json.Unmarshal(out, &may); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534",
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "ReadOnly": "true",
	} {
		if may[key] != want {
			t.Errorf("%s is %q, want %q", key, may[key], want)
		}
	}
}

// dial connects from the client.
func dial(l *Lab, to netip.AddrPort, timeout time.Duration) error {
	return l.Client().Do(func() error {
		conn, err := net.DialTimeout("tcp", to.String(), timeout)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func TestFaultsStopConnectionsOrDoNot(t *testing.T) {
	silent := func(err error) bool { var e net.Error; return errors.As(err, &e) && e.Timeout() }
	errno := func(want ...error) func(error) bool {
		return func(err error) bool {
			return slices.ContainsFunc(want, func(e error) bool { return errors.Is(err, e) })
		}
	}
	works := func(err error) bool { return err == nil }
	refused, unreachable := errno(unix.ECONNREFUSED), errno(unix.EHOSTUNREACH, unix.ENETUNREACH)
	prohibited := errno(unix.EHOSTUNREACH, unix.EACCES) // IPv4 and IPv6
	want := map[string]func(error) bool{
		Drop.Name: silent, ResetByRouter.Name: refused, Prohibit.Name: prohibited, Reject.Name: refused, NoRoute.Name: unreachable,
		TargetGone.Name: silent, SecurityGroup.Name: silent, ReturnDropped.Name: silent, SilentRouter.Name: works, NoICMP.Name: works,
		RoutingLoop.Name: unreachable, Proxy.Name: works, ClampMSS.Name: works, RaiseMSS.Name: works, LocalReject.Name: prohibited,
		LocalDrop.Name: silent, LocalNoRoute.Name: unreachable, NAT.Name: works, BlackHole.Name: works,
		BlackHoleBack.Name: works, BlackHoleLast.Name: works, BlackHoleTunnel.Name: works, Narrow.Name: works, Detour.Name: works,
	}
	for _, fault := range Faults {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			l := Start(t, Topology{Routers: 4, Twin: true})
			for _, v6 := range []bool{false, true} {
				if err := dial(l, l.Target(v6), 2*time.Second); err != nil {
					t.Fatalf("before the fault: %v", err)
				}
			}
			if err := fault.Break(l); err != nil {
				t.Fatal(err)
			}
			if fault.Name == Loss.Name {
				return // sometimes works
			}
			for _, v6 := range []bool{false, true} {
				// Within a second: on a veth pair the kernel takes an ICMP error
				// to heart only when the SYN is sent again.
				if err := dial(l, l.Target(v6), 2*time.Second); !want[fault.Name](err) {
					t.Errorf("IPv6 %v: %v", v6, err)
				}
			}
		})
	}
}

func TestWiresDelay(t *testing.T) {
	const delay = 20 * time.Millisecond
	l := Start(t, Topology{Routers: 1, Links: map[int]Link{0: {Delay: delay}, 1: {Delay: delay}}})
	for _, v6 := range []bool{false, true} {
		start := time.Now()
		if err := dial(l, l.Target(v6), 2*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 4*delay {
			t.Errorf("IPv6 %v: a handshake over 80 ms there and back took %v", v6, took)
		}
	}
}

func TestWiresLose(t *testing.T) {
	l := Start(t, Topology{Links: map[int]Link{0: {Loss: 1}}})
	err := dial(l, l.Target(false), 100*time.Millisecond)
	if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
		t.Errorf("through a link that loses everything: %v", err)
	}
}

func TestNetworksOfOneProcessAreApart(t *testing.T) {
	a, b := Start(t, Row()), Start(t, Row())
	if err := dial(a, a.Target(false), 2*time.Second); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if a.Accepted() > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if a.Accepted() != 1 || b.Accepted() != 0 {
		t.Errorf("the servers accepted %d and %d connections, want 1 and 0", a.Accepted(), b.Accepted())
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	Start(t, Topology{}) // skips where there are no labs; and opens what stays open
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := count()
	for range 3 {
		l, err := Build(Topology{Routers: 2, Links: map[int]Link{1: {Delay: time.Millisecond}}})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(Proxy.Break(l), dial(l, l.Target(false), time.Second))
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestProgramsMustEnter(t *testing.T) {
	t.Setenv(childKey, "x")
	if l, err := Build(Topology{}); err == nil {
		l.Close()
		t.Error("a child could build a lab of its own, and start children without end")
	}
}
