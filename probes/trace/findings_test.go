//go:build linux

package trace

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpcprobe/lab/netns"
	"vpcprobe/probes"
	"vpcprobe/probes/connect"
)

// A complaint asks a confined child to connect to an address, to trace the
// path, and to say what it found.
type complaint struct {
	Target  netip.AddrPort
	Timeout time.Duration // of connecting
	Hangs   bool          // as if the TLS handshake had timed out
	Blind   bool          // without tracing the path
}

// A diagnosis is one finding.
type diagnosis struct {
	ID, Certainty string
	Notes         []string
}

func diagnoseChild(args []string) error {
	var c complaint
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		return err
	}
	target := &probes.Target{Name: "x", Kind: probes.CustomDomain, Domain: "lab", Settings: &probes.Settings{Via: []probes.Via{probes.ViaDomain}, Port: 443, Timeout: c.Timeout}}
	lane := probes.Lane{Via: probes.ViaDomain, ServerName: "lab", Addr: c.Target, Answered: true}
	seen := probes.Evidence{Target: target, Lanes: []probes.Lane{lane}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kinds := []probes.Kind{connect.Kind, Kind}
	if c.Blind {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		probe, err := kind.New(probes.System{Network: &net.Dialer{}})(target)
		if err != nil {
			return err
		}
		line := &probes.Line{Lane: lane, More: true}
		obs := slices.Clone(probe.Probe(ctx, seen, line))
		line.Close()
		for i := range obs {
			obs[i].Kind = kind.Name
		}
		seen = seen.With(kind.Name, obs)
		if kind.Name == connect.Kind.Name && c.Hangs {
			seen = seen.With("handshake", []probes.Observation{{Kind: "handshake", Via: lane.Via, Addr: lane.Addr, Outcome: probes.Timeout}})
		}
	}
	found := probes.Diagnose(slices.Concat(connect.Rules, Rules), seen)
	list := []diagnosis{}
	for _, f := range probes.Refine([]probes.Kind{connect.Kind, Kind}, seen, found) {
		list = append(list, diagnosis{f.Rule.ID, f.Certainty.String(), f.Notes})
	}
	return json.NewEncoder(os.Stdout).Encode(list)
}

func TestEveryFaultIsFound(t *testing.T) {
	for _, tt := range []struct {
		fault   netns.Fault
		timeout time.Duration
		hangs   bool
		want    []string // findings with their certainty
		note    string   // part of one of the notes
	}{
		{fault: netns.Drop, want: []string{"likely traffic-dropped"}, note: "silence from hop 3; UDP reaches the target at hop 5: the path is up, TCP 443 is filtered"},
		{fault: netns.SecurityGroup, want: []string{"likely traffic-dropped"}, note: "silence from hop 5; UDP stops there too"},
		{fault: netns.ReturnDropped, want: []string{"likely traffic-dropped"}, note: "silence from hop 5"},
		{fault: netns.LocalDrop, want: []string{"likely traffic-dropped"}, note: "cannot be told apart from here; Reachability Analyzer"},
		{fault: netns.ResetByRouter, want: []string{"likely refused-by-middlebox"}, note: "a device at or behind hop 2"},
		{fault: netns.Reject, want: []string{"certain refused-by-middlebox"}, note: "(hop 2)"},
		{fault: netns.Prohibit, want: []string{"certain traffic-prohibited"}, note: "(hop 2)"},
		{fault: netns.LocalReject, want: []string{"certain traffic-prohibited"}, note: "from this host itself"},
		{fault: netns.NoRoute, want: []string{"certain no-route"}, note: "(no route to the network) from"},
		{fault: netns.LocalNoRoute, want: []string{"certain no-route"}, note: "this host refuses to send"},
		{fault: netns.TargetGone, timeout: 5 * time.Second, want: []string{"certain no-route"}, note: "(host unreachable) from"},
		{fault: netns.RoutingLoop, want: []string{"certain routing-loop"}, note: "packets circle between hop"},
		{fault: netns.Proxy, want: []string{"likely tcp-terminated-early"}, note: "the handshake completes at hop 2, but UDP reaches the target at hop 5"},
		{fault: netns.ClampMSS, want: []string{"certain mss-rewritten"}, note: "to 1200 before hop 3"},
		{fault: netns.RaiseMSS, want: []string{"certain mss-rewritten"}, note: "to 8460 before hop 3"},
		{fault: netns.BlackHole, hangs: true, want: []string{"certain mtu-black-hole"}, note: "(to the server)"},
		{fault: netns.BlackHoleBack, hangs: true, want: []string{"certain mtu-black-hole"}, note: "(from the server)"},
		{fault: netns.Narrow, hangs: true},
		{fault: netns.SilentRouter},
		{fault: netns.NoICMP},
		{fault: netns.NAT},
	} {
		t.Run(tt.fault.Name, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, netns.Row())
			breakWith(t, l, tt.fault)
			for family, v6 := range families {
				c := complaint{Target: l.Target(v6), Timeout: 2 * time.Second, Hangs: tt.hangs}
				if tt.timeout > 0 {
					c.Timeout = tt.timeout
				}
				found := diagnose(t, l, c)
				var got []string
				noted := tt.note == ""
				for _, d := range found {
					got = append(got, d.Certainty+" "+d.ID)
					noted = noted || slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, tt.note) })
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("%s: got %q, want %q\n%+v", family, got, tt.want, found)
				}
				if !noted {
					t.Errorf("%s: no note says %q: %+v", family, tt.note, found)
				}
			}
		})
	}
}

// Where the path is not traced, the error of a connection is all there is, and
// most have several causes.
func TestWithoutThePathCausesStayOpen(t *testing.T) {
	netProhibited := netns.Fault{Name: "net-prohibited", Break: func(l *netns.Lab) error {
		return l.Router(2).NFT("table inet fault { chain forward { type filter hook forward priority 0; meta nfproto ipv4 tcp dport 443 reject with icmp type net-prohibited; }; }")
	}}
	for _, tt := range []struct {
		fault  netns.Fault
		v4, v6 []string
	}{
		{netns.Prohibit, []string{"likely no-route"}, []string{"certain traffic-prohibited"}},
		{netns.LocalReject, []string{"likely no-route"}, []string{"certain traffic-prohibited"}},
		{netns.RoutingLoop, []string{"likely no-route"}, []string{"likely no-route"}},
		{netns.NoRoute, []string{"likely no-route"}, []string{"certain no-route"}},
		{netns.LocalNoRoute, []string{"likely no-route"}, []string{"certain no-route"}},
		{netProhibited, []string{"likely no-route"}, nil},
	} {
		t.Run(tt.fault.Name, func(t *testing.T) {
			t.Parallel()
			l := netns.Start(t, netns.Row())
			breakWith(t, l, tt.fault)
			for family, v6 := range families {
				want := tt.v4
				if v6 {
					want = tt.v6
				}
				var got []string
				for _, d := range diagnose(t, l, complaint{Target: l.Target(v6), Timeout: 2 * time.Second, Blind: true}) {
					got = append(got, d.Certainty+" "+d.ID)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", family, got, want)
				}
			}
		})
	}
}

func diagnose(t *testing.T, l *netns.Lab, c complaint) []diagnosis {
	t.Helper()
	arg, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.Client().Confined("diagnose", string(arg))
	if err != nil {
		t.Fatal(err)
	}
	var found []diagnosis
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTracedConnectionCarriesTLS(t *testing.T) {
	l := netns.Start(t, netns.Row())
	for family, v6 := range families {
		var r *Result
		if err := l.Client().Do(func() (err error) {
			r, err = Run(t.Context(), l.Target(v6), Options{Paris: true, KeepConn: true})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if r.Conn == nil {
			t.Fatalf("%s: no connection was kept\n%s", family, describe(r))
		}
		defer r.Conn.Close()
		if got := r.Conn.LocalAddr().(*net.TCPAddr).Port; got != int(r.Hop(1).Fixed.Port) {
			t.Errorf("%s: the connection has the port %d, the hops were traced with %d", family, got, r.Hop(1).Fixed.Port)
		}
		client := tls.Client(r.Conn, &tls.Config{InsecureSkipVerify: true})
		if _, err := client.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(client); err != nil || string(answer) != "ok\n" {
			t.Errorf("%s: the answer over it is %q, %v", family, answer, err)
		}
	}
}
