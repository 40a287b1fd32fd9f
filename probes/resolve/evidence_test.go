package resolve

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
)

// show writes lanes down: form, address, and a star where no resolver gave it.
func show(lanes []probes.Lane) []string {
	var all []string
	for _, l := range lanes {
		star := ""
		if !l.Answered {
			star = "*"
		}
		all = append(all, fmt.Sprintf("%s %s%s", l.Via, l.Addr, star))
	}
	return all
}

func TestLanes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*probes.Target)
		at     map[string]zone
		want   []string
	}{
		{"each form at each address", nil, map[string]zone{first: healthy()}, []string{
			"private-dns 10.0.1.17:443", "private-dns 10.0.2.23:443",
			"endpoint 10.0.1.17:443", "endpoint 10.0.2.23:443",
			"alias 10.0.1.17:443", "alias 10.0.2.23:443",
		}},
		{"what the name does not lead to comes last", via(probes.ViaPrivateDNS), map[string]zone{first: healthy().with(api, "10.0.9.9", "10.0.2.23", "10.0.2.23")}, []string{
			"private-dns 10.0.2.23:443", "private-dns 10.0.9.9:443", "private-dns 10.0.1.17:443*",
		}},
		{"any resolver's answer counts", all(via(probes.ViaPrivateDNS), both), map[string]zone{first: healthy().with(api, "10.0.1.17"), second: healthy().with(api, "10.0.2.23")}, []string{
			"private-dns 10.0.1.17:443", "private-dns 10.0.2.23:443",
		}},
		{"no answer", via(probes.ViaPrivateDNS), map[string]zone{first: healthy().with(api)}, []string{
			"private-dns 10.0.1.17:443*", "private-dns 10.0.2.23:443*",
		}},
		{"no answer, and the endpoint's name is all that is known", all(via(probes.ViaPrivateDNS), unknownAddresses),
			map[string]zone{first: healthy().with(api)}, []string{
				"private-dns 10.0.1.17:443*", "private-dns 10.0.2.23:443*",
			}},
		{"nothing", nothingKnown, map[string]zone{first: {}}, nil},
		{"both families", via(probes.ViaPrivateDNS), map[string]zone{first: healthy().with(api, "2600:1f18::17", "10.0.1.17")}, []string{
			"private-dns 10.0.1.17:443", "private-dns [2600:1f18::17]:443", "private-dns 10.0.2.23:443*",
		}},
		{"another port", all(anywhere, func(t *probes.Target) { t.Port = 8443 }), map[string]zone{first: {domain: {public}}}, []string{
			"domain 203.0.113.7:8443",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := world{target: orders(), resolvers: one(tt.at[first])}
			if z, ok := tt.at[second]; ok {
				w.resolvers[second] = z
			}
			if tt.change != nil {
				tt.change(&w.target)
			}
			if diff := cmp.Diff(tt.want, show(Lanes(w.walk(t)))); diff != "" {
				t.Errorf("lanes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLaneNamesItsServer(t *testing.T) {
	t.Parallel()
	w := world{target: orders(), resolvers: one(healthy())}
	for _, l := range Lanes(w.walk(t)) {
		if want := w.target.NameOf(l.Via); l.ServerName != want {
			t.Errorf("%s: server name %q, want %q", l.Via, l.ServerName, want)
		}
	}
}

// A hostile answer with very many addresses must not become as many
// connections; those of the endpoint stay.
func TestLanesAreBounded(t *testing.T) {
	t.Parallel()
	w := world{target: orders(), resolvers: one(truncating(big().with(api, append(big()[api], "10.0.2.23")...)))}
	w.target.Via = []probes.Via{probes.ViaPrivateDNS}
	lanes := Lanes(w.walk(t))
	known := slices.ContainsFunc(lanes, func(l probes.Lane) bool { return l.Addr.Addr() == netip.MustParseAddr("10.0.2.23") && l.Answered })
	if len(lanes) != maxLanes || !known {
		t.Errorf("%d lanes, the endpoint's among them: %v; want %d", len(lanes), known, maxLanes)
	}
}

func TestExpectedAndAnswers(t *testing.T) {
	t.Parallel()
	z := healthy().with(endpoint, "10.0.3.3", "10.0.1.17").with(api, "10.0.2.23", "10.0.1.17")
	configured := world{target: orders(), resolvers: one(z)}
	if got := Expected(configured.walk(t)); !slices.Equal(got, addrs("10.0.1.17", "10.0.2.23")) {
		t.Errorf("configured: %v", got)
	}
	derived := world{target: orders(), resolvers: one(z)}
	unknownAddresses(&derived.target)
	seen := derived.walk(t)
	if got := Expected(seen); !slices.Equal(got, addrs("10.0.1.17", "10.0.3.3")) {
		t.Errorf("derived: %v", got)
	}
	if got := Answers(seen, api); !slices.Equal(got, addrs("10.0.1.17", "10.0.2.23")) {
		t.Errorf("answers: %v", got)
	}
	if got := Answers(seen, "other.example.com"); len(got) != 0 {
		t.Errorf("answers for a name that was not asked for: %v", got)
	}
	if got := Expected(probes.Evidence{Target: &derived.target}); got != nil {
		t.Errorf("before the first walk: %v", got)
	}
}

func TestInside(t *testing.T) {
	for _, tt := range []struct {
		name            string
		change          func(*probes.Target)
		zone            zone
		inside, outside []netip.Addr
	}{
		{"configured", nil, healthy(), addrs("10.0.1.17", "10.0.2.23", "::ffff:10.0.1.17"), addrs("10.0.9.9", public)},
		{"derived from the endpoint's name", unknownAddresses, healthy().with(api, "10.0.9.9"), addrs("10.0.1.17"), addrs("10.0.9.9", public)},
		{"unknown", nothingKnown, zone{api: {"10.0.9.9"}}, addrs("10.0.9.9", "10.0.1.17", "2600:1f18::17"), addrs(public)},
		{"unknown, answered with public addresses of both families", nothingKnown, zone{api: {public, "2600:9000::1"}}, addrs("10.0.1.17"), addrs(public, "2600:9000::1")},
		{"the other family", nil, healthy().with(api, "10.0.1.17", "2600:1f18::17"), addrs("2600:1f18::17"), addrs(public)},
		{"custom domain anywhere", anywhere, zone{domain: {public}}, addrs(public, "10.1.1.1"), nil},
		{"custom domain with an endpoint", ofEndpoint, healthy(), addrs("10.0.1.17"), addrs(public)},
		{"endpoint created anew", nil, zone{api: {"10.0.7.7"}, alias: {"10.0.7.7"}, endpoint: {"10.0.7.7"}}, addrs("10.0.7.7"), addrs("10.0.1.17", public)},
		{"endpoint's name is the odd one", nil, healthy().with(endpoint, "10.0.9.9"), addrs("10.0.1.17"), addrs("10.0.9.9")},
		{"endpoint got another subnet", nil, healthy().with(endpoint, "10.0.1.17", "10.0.2.23", "10.0.3.3"), addrs("10.0.1.17", "10.0.3.3"), addrs("10.0.9.9")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := world{target: orders(), resolvers: one(tt.zone)}
			if tt.change != nil {
				tt.change(&w.target)
			}
			seen := w.walk(t)
			for _, a := range tt.inside {
				if !Inside(seen, a) {
					t.Errorf("%v is not inside", a)
				}
			}
			for _, a := range tt.outside {
				if Inside(seen, a) {
					t.Errorf("%v is inside", a)
				}
			}
		})
	}
}

func TestExplains(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*probes.Target)
		zone   zone
		want   []string // the forms
	}{
		{"healthy", nil, healthy(), nil},
		{"private DNS off", nil, healthy().with(api, public), nil},
		{"API unknown, and its alias", nil, healthy().with(api).with(alias), nil},
		{"alias not associated", nil, healthy().with(alias), []string{"alias"}},
		{"two regions", otherRegion, zone{endpoint: {"10.0.1.17"}}, []string{"private-dns", "endpoint"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := world{target: orders(), resolvers: one(tt.zone)}
			if tt.change != nil {
				tt.change(&w.target)
			}
			seen := w.walk(t)
			var got []string
			for _, l := range Lanes(seen) {
				if Explains(seen, l) && !slices.Contains(got, string(l.Via)) {
					got = append(got, string(l.Via))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("forms (-want +got):\n%s", diff)
			}
		})
	}
}

// Before anything was walked, only what is configured is known.
func TestEmptyEvidence(t *testing.T) {
	target := orders()
	seen := probes.Evidence{Target: &target}
	if got := show(Lanes(seen)); len(got) != 6 || got[0] != "private-dns 10.0.1.17:443*" {
		t.Errorf("lanes %v, want those to the configured addresses", got)
	}
	if found := findings(seen); found != nil {
		t.Errorf("findings %v without evidence", found)
	}
}

func TestDetailInALine(t *testing.T) {
	for want, d := range map[string]*Detail{
		"10.0.1.17, 10.0.2.23 from 10.0.0.2:53, TTL 20 s": {Server: first, Transport: OverUDP, Rcode: "NOERROR",
			Answers: []Answer{{netip.MustParseAddr("10.0.1.17"), 60}, {netip.MustParseAddr("10.0.2.23"), 20}}},
		"NXDOMAIN from 10.0.0.2:53, after 10.9.0.2:53: timeout": {Server: first, Transport: OverUDP, Rcode: "NXDOMAIN",
			Course: &Course{Tried: []Failure{{What: second, Outcome: probes.Timeout}}}},
		"NXDOMAIN from 10.0.0.2:53, after 10.9.0.2:53: timeout sooner than resolv.conf's, so it may be slow": {Server: first, Transport: OverUDP, Rcode: "NXDOMAIN",
			Course: &Course{Tried: []Failure{{second, probes.Timeout, true}}}},
		"NOERROR from 10.0.0.2:53, asked for AAAA only": {Server: first, Transport: OverUDP, Rcode: "NOERROR", Course: &Course{Only: "AAAA"}},
		"no reply from 10.0.0.2:53":                     {Server: first, Transport: OverUDP},
		"203.0.113.7 from the hosts file /etc/hosts, the DNS says 10.0.1.17, not the endpoint's: 203.0.113.7": {Server: "/etc/hosts", Transport: OverHosts,
			Answers: []Answer{{Addr: netip.MustParseAddr(public)}}, Course: &Course{Behind: addrs("10.0.1.17")}, Comparison: &Comparison{Unexpected: addrs(public)}},
		"10.0.1.17 from 10.0.0.2:53, TTL 5 s, asked as a.corp.example.com, AAAA: server_failed": {Server: first, Transport: OverTCP, Rcode: "NOERROR",
			Answers: []Answer{{netip.MustParseAddr("10.0.1.17"), 5}}, Course: &Course{Asked: "a.corp.example.com", Failed: []Failure{{What: "AAAA", Outcome: probes.ServerFailed}}}},
	} {
		if got := d.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// Every rule says what to do about it, and where that is known from.
func TestRulesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if r.ID == "" || r.Title == "" || r.Means == "" || r.Fix == "" || r.Source == "" || r.Match == nil || r.Notes == nil {
			t.Errorf("rule %q is incomplete", r.ID)
		}
		if seen[r.ID] {
			t.Errorf("two rules %q", r.ID)
		}
		seen[r.ID] = true
	}
}

func TestNotesSayWhoAnsweredWhat(t *testing.T) {
	t.Parallel()
	w := world{target: orders(), resolvers: one(healthy().with(api, public))}
	found := probes.Diagnose(Rules, w.walk(t))
	want := []string{
		api + " at resolver 10.0.0.2:53: 203.0.113.7 from 10.0.0.2:53, TTL 60 s, not the endpoint's: 203.0.113.7",
		"the endpoint's addresses: 10.0.1.17, 10.0.2.23",
	}
	if len(found) != 1 || !slices.Equal(found[0].Notes, want) {
		t.Errorf("findings %+v, want one with notes %q", found, want)
	}
}

// Where the addresses may be the endpoint's all the same, the notes say so.
func TestNotesSayWhatElseMayBe(t *testing.T) {
	t.Parallel()
	const configured = "or endpoint.addresses is out of date or lacks some: answers that rotate do not tell, since each shows only some"
	for _, tt := range []struct {
		id, last string
		scenario
	}{
		{hostsOverride, configured, scenario{change: system, hosts: "10.0.9.9 " + api, at: one(healthy())}},
		{hostsOverride, "the endpoint's addresses: 10.0.1.17, 10.0.2.23", scenario{change: system, hosts: public + " " + api, at: one(healthy())}},
		{hostsOverride, "or the endpoint has addresses that its own name has not shown: endpoint.addresses would tell",
			scenario{change: all(system, unknownAddresses), hosts: "10.0.9.9 " + api, at: one(healthy())}},
		{resolversDisagree, configured, scenario{change: both, at: two(healthy(), healthy().with(api, "10.0.9.9"))}},
		{wrongAddresses, configured, scenario{change: system, at: one(healthy().with(api, "10.0.9.9"))}},
	} {
		w := world{target: orders(), resolvers: tt.at, hosts: tt.hosts, conf: "nameserver 10.0.0.2"}
		tt.change(&w.target)
		found := probes.Diagnose(Rules, w.walk(t))
		if len(found) != 1 || found[0].Rule.ID != tt.id || found[0].Notes[len(found[0].Notes)-1] != tt.last {
			t.Errorf("findings %+v, want %s with the last note %q", found, tt.id, tt.last)
		}
	}
}

// A field that is forgotten there is lost with the whole course.
func TestEveryFieldOfACourseIsToTell(t *testing.T) {
	t.Parallel()
	if !new(Course).straight() {
		t.Error("nothing is something")
	}
	for i := range reflect.TypeFor[Course]().NumField() {
		var c Course
		field := reflect.ValueOf(&c).Elem().Field(i)
		switch field.Kind() {
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		case reflect.String:
			field.SetString("x")
		case reflect.Int:
			field.SetInt(1)
		case reflect.Bool:
			field.SetBool(true)
		default:
			t.Fatalf("a kind of field that this test does not know: %s", field.Kind())
		}
		if c.straight() {
			t.Errorf("%s is forgotten", reflect.TypeFor[Course]().Field(i).Name)
		}
	}
}
