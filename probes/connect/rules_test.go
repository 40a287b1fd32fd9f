//go:build linux

package connect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
)

func unknown(t *probes.Target)   { t.Endpoint.Addresses = nil }
func dualStack(t *probes.Target) { t.Endpoint.Addresses = append(t.Endpoint.Addresses, a6) }
func twoForms(t *probes.Target)  { t.Via = []probes.Via{probes.ViaPrivateDNS, probes.ViaAlias} }
func custom(t *probes.Target) {
	t.Kind, t.Domain, t.Via, t.Endpoint = probes.CustomDomain, "api.example.com", []probes.Via{probes.ViaDomain}, probes.Endpoint{}
}

var scenarios = []struct {
	name    string
	change  func(*probes.Target)
	answers []netip.Addr // of every name
	world   world
	finding []string
}{
	{"all open", nil, []netip.Addr{a1, a2}, world{a1: open, a2: open}, nil},
	{"one open, the other answers nobody's question", unknown, []netip.Addr{a1}, world{a1: open}, nil},
	{"all silent", nil, []netip.Addr{a1, a2}, world{a1: silent, a2: silent}, []string{"traffic-dropped likely"}},
	{"all silent, no answer from DNS", nil, nil, world{a1: silent, a2: silent}, []string{"traffic-dropped likely"}},
	{"all silent, in two forms", twoForms, []netip.Addr{a1, a2}, world{a1: silent, a2: silent}, []string{"traffic-dropped likely"}},
	{"the only one silent", unknown, []netip.Addr{a1}, world{a1: silent}, []string{"traffic-dropped likely"}},
	{"one silent", nil, []netip.Addr{a1, a2}, world{a1: open, a2: silent}, []string{"subnet-dropped likely"}},
	{"one silent, in two forms", twoForms, []netip.Addr{a1, a2}, world{a1: open, a2: silent}, []string{"subnet-dropped likely"}},
	{"one silent, which DNS does not answer", nil, []netip.Addr{a1}, world{a1: open, a2: silent}, []string{"subnet-dropped likely"}},
	{"IPv6 silent", dualStack, []netip.Addr{a1, a2, a6}, world{a1: open, a2: open, a6: silent}, []string{"subnet-dropped likely"}},
	{"all refused", nil, []netip.Addr{a1, a2}, world{a1: refusing, a2: refusing}, []string{"connection-refused likely"}},
	{"one refused", nil, []netip.Addr{a1, a2}, world{a1: open, a2: refusing}, []string{"connection-refused likely"}},
	{"accepted, then reset", nil, []netip.Addr{a1, a2}, world{a1: resetting, a2: resetting}, []string{"connection-reset likely"}},
	{"accepted, then closed", nil, []netip.Addr{a1, a2}, world{a1: hangingUp, a2: resetting}, []string{"connection-reset likely"}},
	{"no route", nil, []netip.Addr{a1, a2}, world{}, []string{"no-route likely"}}, // or a firewall, or a loop
	{"no route, or a prohibited network", custom, []netip.Addr{a1}, world{a1: saying(syscall.ENETUNREACH)}, []string{"no-route likely"}},
	{"no route for IPv6", custom, []netip.Addr{a6}, world{a6: saying(syscall.ENETUNREACH)}, []string{"no-route certain"}},
	{"no host, or a loop, for IPv6", custom, []netip.Addr{a6}, world{a6: saying(syscall.EHOSTUNREACH)}, []string{"no-route likely"}},
	{"prohibited", nil, []netip.Addr{a1, a2}, world{a1: saying(syscall.EACCES), a2: saying(syscall.EPERM)}, []string{"traffic-prohibited certain"}},
	{"one silent, one refused", nil, []netip.Addr{a1, a2}, world{a1: silent, a2: refusing}, []string{"connection-refused likely", "subnet-dropped likely"}},
	{"one unreachable, one reset", nil, []netip.Addr{a1, a2}, world{a2: resetting}, []string{"connection-reset likely", "no-route likely"}},
	{"our own trouble", nil, []netip.Addr{a1, a2}, world{a1: saying(syscall.EMFILE), a2: saying(syscall.EMFILE)}, nil},
	{"our own trouble, and silence", nil, []netip.Addr{a1, a2}, world{a1: saying(syscall.EMFILE), a2: silent}, []string{"traffic-dropped possible"}},

	// Where only DNS leads, nobody is to blame for silence.
	{"DNS leads to the internet, which is silent", nil, []netip.Addr{foreign}, world{a1: open, a2: open, foreign: silent}, nil},
	{"DNS leads to the internet, nothing known", unknown, []netip.Addr{foreign}, world{foreign: silent}, nil},
	{"DNS leads elsewhere, where it is refused", nil, []netip.Addr{odd}, world{a1: open, a2: open, odd: refusing}, nil},
	{"DNS leads to the internet, and the endpoint is silent", nil, []netip.Addr{foreign}, world{a1: silent, a2: silent, foreign: silent},
		[]string{"traffic-dropped likely"}},
	{"DNS leads in part elsewhere, and one is silent", nil, []netip.Addr{a1, odd}, world{a1: silent, a2: open, odd: silent}, []string{"subnet-dropped likely"}},

	// A custom domain may be anywhere.
	{"custom domain silent", custom, []netip.Addr{foreign}, world{foreign: silent}, []string{"traffic-dropped likely"}},
	{"custom domain refused at one", custom, []netip.Addr{foreign, odd}, world{foreign: open, odd: refusing}, []string{"connection-refused likely"}},
}

func findings(seen probes.Evidence) []string {
	var all []string
	for _, f := range probes.Diagnose(Rules, seen) {
		all = append(all, fmt.Sprintf("%s %v", f.Rule.ID, f.Certainty))
	}
	slices.Sort(all)
	return all
}

func TestEveryStateYieldsExactlyItsFindings(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			target := orders()
			target.Timeout = time.Second
			if s.change != nil {
				s.change(target)
			}
			seen := walk(t, target, s.world.network(t), s.answers...)
			if diff := cmp.Diff(s.finding, findings(seen)); diff != "" {
				for _, o := range seen.Of(name) {
					t.Logf("%s %v: %s (%v)", o.Via, o.Addr, o.Outcome, o.Err)
				}
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// attempts makes evidence by hand: outcomes at one address, in several forms.
func attempts(outcomes ...probes.Outcome) probes.Evidence {
	target := orders()
	forms := []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint, probes.ViaAlias}
	var obs []probes.Observation
	for i, outcome := range outcomes {
		obs = append(obs, probes.Observation{Via: forms[i], Addr: netip.AddrPortFrom(a1, 443), Outcome: outcome})
	}
	return probes.Evidence{Target: target}.With(name, obs)
}

// Of several attempts at one address in one round, one that succeeds shows
// that nothing blocks the way.
func TestIntermittent(t *testing.T) {
	for _, tt := range []struct {
		seen probes.Evidence
		want []string
	}{
		{attempts(probes.OK, probes.OK), nil},
		{attempts(probes.OK, probes.Timeout), []string{"connection-intermittent certain"}},
		{attempts(probes.Timeout, probes.OK, probes.Reset), []string{"connection-intermittent certain"}},
		{attempts(probes.OK, probes.Fault, probes.Skipped), nil},
		{attempts(probes.Timeout, probes.Refused), []string{"traffic-dropped likely"}},
	} {
		if diff := cmp.Diff(tt.want, findings(tt.seen)); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
	}
}

func TestScenariosCoverTheRules(t *testing.T) {
	reached := map[string]bool{"connection-intermittent": true} // see TestIntermittent
	for _, s := range scenarios {
		for _, f := range s.finding {
			id, _, _ := strings.Cut(f, " ")
			reached[id] = true
		}
	}
	var ids []string
	for _, r := range Rules {
		ids = append(ids, r.ID)
		if r.Title == "" || r.Means == "" || r.Fix == "" || r.Source == "" || r.Match == nil || r.Notes == nil {
			t.Errorf("rule %q is incomplete", r.ID)
		}
	}
	slices.Sort(ids)
	if diff := cmp.Diff(ids, slices.Sorted(maps.Keys(reached))); diff != "" {
		t.Errorf("rules (-) and what scenarios reach (+):\n%s", diff)
	}
}

func TestNotesNameAddressesAndCommands(t *testing.T) {
	t.Parallel()
	target := orders()
	dualStack(target)
	target.Timeout = time.Second
	found := probes.Diagnose(Rules, walk(t, target, world{a1: open, a2: open, a6: silent}.network(t), a1, a2, a6))
	want := []string{
		"timeout: [fd00::17]:443",
		"open: 10.0.1.17:443, 10.0.2.23:443",
		"only the IPv6 addresses fail: rules and routes for IPv6 (::/0) are separate from those for IPv4",
		"aws ec2 create-network-insights-path --region eu-west-1 --source ENI-OF-THIS-HOST --destination vpce-0a1b2c3d4e5f67890 --protocol tcp --destination-port 443",
	}
	if len(found) != 1 {
		t.Fatalf("%d findings, want one", len(found))
	}
	if diff := cmp.Diff(want, found[0].Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// A custom domain may lead to a load balancer or anything else: what the rules
// say holds there, too. The command for an endpoint is shown where it is known
// that the addresses are one's.
func TestWordsHoldForCustomDomains(t *testing.T) {
	t.Parallel()
	for _, r := range Rules {
		for _, text := range []string{r.Title, r.Means, r.Fix} {
			if strings.Contains(text, "the endpoint") {
				t.Errorf("%s takes for granted that there is an endpoint: %s", r.ID, text)
			}
		}
	}
	behind := func(t *probes.Target) { e := t.Endpoint; custom(t); t.Endpoint = e }
	for _, tt := range []struct {
		name   string
		change func(*probes.Target)
		want   []string
	}{
		{"anything", custom, []string{"timeout: 10.0.1.17:443"}},
		{"an endpoint", behind, []string{
			"timeout: 10.0.1.17:443",
			"aws ec2 create-network-insights-path --region eu-west-1 --source ENI-OF-THIS-HOST --destination vpce-0a1b2c3d4e5f67890 --protocol tcp --destination-port 443",
		}},
	} {
		target := orders()
		tt.change(target)
		lost := probes.Observation{Via: probes.ViaDomain, Addr: netip.AddrPortFrom(a1, 443), Outcome: probes.Timeout}
		found := probes.Diagnose(Rules, probes.Evidence{Target: target}.With(name, []probes.Observation{lost}))
		if len(found) != 1 || found[0].Rule.ID != "traffic-dropped" {
			t.Fatalf("%s: %v", tt.name, found)
		}
		if diff := cmp.Diff(tt.want, found[0].Notes); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	target := orders()
	twoForms(target)
	seen := walk(t, target, world{a1: open, a2: refusing, odd: open}.network(t), odd, a1)
	var got []string
	for _, s := range Sites(seen) {
		got = append(got, fmt.Sprintf("%v %s %d", s.Addr, s.Outcome, len(s.Attempts)))
	}
	if diff := cmp.Diff([]string{"10.0.1.17:443 ok 2", "10.0.2.23:443 refused 2"}, got); diff != "" {
		t.Errorf("sites (-want +got):\n%s", diff)
	}
}
