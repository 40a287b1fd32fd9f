package report

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// says is a detail that people are shown.
type says string

func (s says) String() string { return string(s) }

var orders = &probes.Target{
	Name:   "orders",
	Kind:   probes.PrivateAPI,
	API:    "a1b2c3d4e5",
	Region: "eu-west-1",
	Stage:  "prod",
	Path:   "/health?key=secret",
	Settings: &probes.Settings{
		Method:   "GET",
		Port:     443,
		Via:      []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint},
		Endpoint: probes.Endpoint{DNSName: "vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com"},
	},
}

var carts = &probes.Target{Name: "carts", Kind: probes.CustomDomain, Domain: "api.example.com", Path: "/", Settings: &probes.Settings{Method: "GET", Port: 443, Via: []probes.Via{probes.ViaDomain}}}

func addr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 17}), 443)
}

func on(kind string, via probes.Via, n int, o probes.Outcome, took time.Duration, text string) probes.Observation {
	obs := probes.Observation{Kind: kind, Via: via, Name: orders.NameOf(via), Addr: addr(n), Outcome: o}
	if text != "" {
		obs.Detail = says(text)
	}
	if took > 0 {
		obs.Phases = []probes.Phase{{Name: "x", Took: took}}
	}
	return obs
}

func lookup(via probes.Via, name string, o probes.Outcome, text string) probes.Observation {
	return probes.Observation{
		Kind: "resolve", Via: via, Name: name, Resolver: "system", Outcome: o, Detail: says(text),
		Phases: []probes.Phase{{Name: probes.PhaseResolve, Took: 1234 * time.Microsecond}},
	}
}

var silence = &probes.Rule{
	ID: "address-silent", Severity: probes.Error,
	Title:  "One of the endpoint's addresses swallows every packet",
	Means:  "The other addresses of the endpoint answer, so its security group and its policy are not to blame: what differs is the subnet. A network ACL or a route that is wrong there lets packets in but no answers out.",
	Fix:    "Compare the network ACL of the silent address's subnet with the others': aws ec2 describe-network-acls --filters Name=association.subnet-id,Values=SUBNET. It must allow TCP 443 in and the ephemeral ports 1024-65535 out.",
	Source: "AWS re:Post Knowledge Center, api-gateway-private-endpoint-connection",
}

var expiring = &probes.Rule{
	ID: "certificate-expiring", Severity: probes.Warning, Title: "The client certificate expires soon",
	Means: "It does.", Fix: "Renew it.", Source: "RFC 5280, section 4.1.2.5",
}

var moved = &probes.Rule{
	ID: "path-moved", Severity: probes.Notice, Title: "Packets take another way than before",
	Means: "They do.", Fix: "There is nothing to do.", Source: "RFC 792",
}

// broken is a check of a target of which one address is silent, as the steps
// and the round that an agent would give.
func broken() ([]agent.Step, agent.Round) {
	lanes := []probes.Lane{
		{Via: probes.ViaPrivateDNS, Addr: addr(1), Answered: true},
		{Via: probes.ViaPrivateDNS, Addr: addr(2), Answered: true},
		{Via: probes.ViaEndpoint, Addr: addr(3)},
	}
	silent := on("connect", probes.ViaPrivateDNS, 2, probes.Timeout, 0, "")
	silent.Err = errors.New("dial tcp 10.0.2.17:443: i/o timeout")
	steps := []agent.Step{
		{Kind: "resolve", Observations: []probes.Observation{
			lookup(probes.ViaPrivateDNS, orders.NameOf(probes.ViaPrivateDNS), probes.OK, "10.0.1.17, 10.0.2.17 from 10.0.0.2:53, TTL 60 s"),
			lookup(probes.ViaEndpoint, orders.Endpoint.DNSName, probes.NoSuchName, "NXDOMAIN from 10.0.0.2:53"),
		}},
		{Kind: "connect", Observations: []probes.Observation{
			on("connect", probes.ViaPrivateDNS, 1, probes.OK, 412*time.Microsecond, "open, MSS 1460, from 10.0.9.9:40000"),
			silent,
			on("connect", probes.ViaEndpoint, 3, probes.Refused, 300*time.Microsecond, ""),
		}},
		{Kind: "identify"},
		{Kind: "handshake", Observations: []probes.Observation{
			on("handshake", probes.ViaPrivateDNS, 1, probes.OK, 3*time.Millisecond, "TLS 1.3, *.execute-api.eu-west-1.amazonaws.com, 291 days left"),
			on("handshake", probes.ViaPrivateDNS, 2, probes.Skipped, 0, ""),
			on("handshake", probes.ViaEndpoint, 3, probes.Skipped, 0, ""),
		}},
		{Kind: "invoke", Last: true, Observations: []probes.Observation{
			on("invoke", probes.ViaPrivateDNS, 1, probes.Fault, 0, "no credentials"),
			on("invoke", probes.ViaPrivateDNS, 2, probes.Skipped, 0, ""),
			on("invoke", probes.ViaEndpoint, 3, probes.Skipped, 0, ""),
		}},
	}
	r := agent.Round{
		Evidence: probes.Evidence{Target: orders, Lanes: lanes}, Verdict: agent.Degraded, Started: time.Now(),
		Paths: 2, Failing: 1, Working: 1,
		Findings: []probes.Finding{
			{Rule: moved, Certainty: probes.Certain},
			{Rule: expiring, Certainty: probes.Certain},
			{Rule: silence, Certainty: probes.Likely, Because: []probes.Observation{silent}, Notes: []string{"10.0.2.17 is in subnet-0b"}},
		},
	}
	for i := range steps {
		steps[i].Target, steps[i].Lanes = orders, lanes
		r.Evidence = r.Evidence.With(steps[i].Kind, steps[i].Observations)
	}
	return steps, r
}

// refused is a check of a target that is refused as it must be.
func refused() ([]agent.Step, agent.Round) {
	o := on("connect", probes.ViaDomain, 4, probes.Refused, time.Second+234*time.Millisecond, "")
	o.Name = "api.example.com"
	obs := []probes.Observation{o}
	lanes := []probes.Lane{{Via: probes.ViaDomain, Addr: addr(4), Answered: true}}
	return []agent.Step{{Target: carts, Position: 1, Kind: "connect", Observations: obs, Lanes: lanes, Last: true}}, agent.Round{
		Evidence: probes.Evidence{Target: carts, Lanes: lanes}.With("connect", obs), Verdict: agent.Reachable, Started: time.Now(), Paths: 1, Failing: 1,
		Findings: []probes.Finding{{Rule: &probes.Rule{ID: "refused", Title: "Nothing listens on the port"}, Certainty: probes.Certain, Expected: true}},
	}
}

// show prints both checks, the second before the first is complete.
func show(t *testing.T, style Style) string {
	t.Helper()
	var b strings.Builder
	synctest.Test(t, func(t *testing.T) {
		r := New(&b, style)
		steps, first := broken()
		other, second := refused()
		r.Step(other[0])
		r.Step(steps[0])
		r.Step(steps[1])
		for _, s := range steps[2:] {
			r.Step(s)
		}
		time.Sleep(5200 * time.Millisecond)
		if err := r.Finish([]agent.Round{first, second}); err != nil {
			t.Fatal(err)
		}
	})
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, style := range map[string]Style{
		"plain":  {},
		"ascii":  {ASCII: true},
		"color":  {Color: true, Width: 100},
		"narrow": {Width: 50},
	} {
		t.Run(name, func(t *testing.T) { golden(t, name+".txt", show(t, style)) })
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; if that is meant, run the test with UPDATE_GOLDEN=1:\n%s", path, diff)
	}
}

// The styles say the same: color only repeats what is there without it, and
// ASCII is ASCII.
func TestStyles(t *testing.T) {
	color := show(t, Style{Color: true})
	for _, m := range marks {
		for _, code := range []string{m.color, "1", "2"} {
			color = strings.ReplaceAll(color, "\x1b["+code+"m", "")
		}
	}
	if diff := cmp.Diff(show(t, Style{}), strings.ReplaceAll(color, "\x1b[0m", "")); diff != "" {
		t.Error(diff)
	}
	for i, r := range show(t, Style{ASCII: true}) {
		if r > unicode.MaxASCII {
			t.Fatalf("%q at %d", r, i)
		}
	}
	for _, w := range []int{40, 60, 80, 100} {
		for line := range strings.Lines(show(t, Style{Width: w})) {
			words := strings.Fields(line)
			if width(strings.TrimSpace(line)) > w && len(words) > 3 {
				t.Errorf("%d columns in %d: %s", width(line), w, line)
			}
		}
	}
}

// The first target streams, whichever comes first; the others wait for their turn.
func TestStreaming(t *testing.T) {
	var b strings.Builder
	r := New(&b, Style{})
	steps, _ := broken()
	other, _ := refused()
	r.Step(other[0])
	if b.Len() > 0 {
		t.Error("the second target did not wait for the first")
	}
	r.Step(steps[0])
	if !strings.Contains(b.String(), "NXDOMAIN") {
		t.Error("the first step was not printed at once")
	}
	if strings.Contains(b.String(), "carts") {
		t.Error("the second target did not wait")
	}
	for _, s := range steps[1:] {
		r.Step(s)
	}
	if !strings.Contains(b.String(), "carts") {
		t.Error("the second target was not printed when its turn had come")
	}
}

// What foreign text may hold cannot move the cursor or pose as our output.
func TestForeignText(t *testing.T) {
	var b strings.Builder
	r := New(&b, Style{Color: true})
	o := on("invoke", probes.ViaPrivateDNS, 1, probes.Denied, 0, "403\x1b[2J\x1b[31mowned\x07\r\nOK \u202e evil")
	o.Name = "\x1b]0;title\x07name"
	o.Err = errors.New("more\x1b[0m")
	r.Step(agent.Step{Target: orders, Kind: "invoke", Observations: []probes.Observation{o}, Last: true})
	text := b.String()
	for _, m := range marks {
		text = strings.ReplaceAll(text, "\x1b["+m.color+"m", "")
	}
	text = strings.NewReplacer("\x1b[1m", "", "\x1b[0m", "", "\n", "").Replace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
		t.Errorf("%q", text)
	}
}

// Of many paths, those of a name form that fared alike take a line, whether they
// went well or not.
func TestCondense(t *testing.T) {
	var obs []probes.Observation
	for i := range 20 {
		obs = append(obs, on("connect", probes.ViaPrivateDNS, i, probes.OK, time.Duration(i+1)*time.Millisecond, fmt.Sprint("open ", i%2)))
		obs = append(obs, on("connect", probes.ViaEndpoint, i, probes.OK, time.Millisecond, "same"))
		obs = append(obs, on("connect", probes.ViaAlias, i, probes.Refused, 0, ""))
		obs = append(obs, on("connect", probes.ViaDomain, i, probes.Skipped, 0, ""))
	}
	var b strings.Builder
	New(&b, Style{}).Step(agent.Step{Target: orders, Kind: "connect", Observations: obs})
	golden(t, "many.txt", b.String())
}

// What differs among many paths is told apart: how they ended, what was said
// first, and whether callers get there at all. What a row says anyway, such as
// the address that was dialed, and what only tells one path from the other, such
// as a request's id, is left out.
func TestCondenseMixed(t *testing.T) {
	said := func(via probes.Via, n int, o probes.Outcome, text, err string) probes.Observation {
		obs := on("invoke", via, n, o, 2*time.Millisecond, text)
		if err != "" {
			obs.Err = errors.New(err)
		}
		return obs
	}
	const a, b, ok, denied = probes.ViaPrivateDNS, probes.ViaEndpoint, probes.OK, probes.Denied
	obs := []probes.Observation{
		said(a, 1, ok, "200, request 11", ""),
		said(a, 2, probes.Timeout, "", "dial tcp 10.0.2.17:443: i/o timeout"),
		said(a, 3, ok, "200, request 13", ""),
		said(a, 4, denied, `403 ForbiddenException "Forbidden", request 14`, `403 ForbiddenException "Forbidden"`),
		said(a, 5, denied, `403 ForbiddenException "Forbidden", request 15`, `403 ForbiddenException "Forbidden"`),
		said(a, 6, denied, `403 AccessDeniedException "User: anonymous", request 16`, `403 AccessDeniedException "User: anonymous"`),
		said(b, 1, ok, "200, request 21", ""),
		said(b, 2, probes.Timeout, "", "dial tcp 10.0.2.17:443: i/o timeout"),
		said(b, 3, probes.Timeout, "", "dial tcp 10.0.3.17:443: i/o timeout"),
		said(b, 4, ok, "200, request 24", ""),
		said(b, 5, ok, "200, request 25", ""),
		said(b, 6, probes.Refused, "", ""),
		said(b, 7, probes.Refused, "", ""),
	}
	unanswered := map[probes.Via]int{b: 4} // from this address on
	var lanes []probes.Lane
	for _, o := range obs {
		from, some := unanswered[o.Via]
		lanes = append(lanes, probes.Lane{Via: o.Via, Addr: o.Addr, Answered: !some || o.Addr.Addr().Less(addr(from).Addr())})
	}
	var text strings.Builder
	New(&text, Style{}).Step(agent.Step{Target: orders, Kind: "invoke", Observations: obs, Lanes: lanes})
	golden(t, "mixed.txt", text.String())
}

// However different they are, no more rows than a few are about one outcome.
func TestCondenseIsBounded(t *testing.T) {
	var obs []probes.Observation
	for i := range 30 {
		obs = append(obs, on("invoke", probes.ViaPrivateDNS, i, probes.Denied, 0, fmt.Sprint("403 ", i)))
	}
	var text strings.Builder
	New(&text, Style{}).Step(agent.Step{Target: orders, Kind: "invoke", Observations: obs})
	if got := strings.Count(text.String(), "denied: 403"); got != fewAlike {
		t.Errorf("%d rows", got)
	}
	if !strings.Contains(text.String(), "✗ and 22 more: denied\n") {
		t.Error(text.String())
	}
	lanes := make([]probes.Lane, len(obs))
	for i, o := range obs {
		lanes[i] = probes.Lane{Via: o.Via, Addr: o.Addr}
	}
	for last, want := range map[bool]string{false: "‼ and 22 more: denied\n", true: "✗ and 22 more: denied\n"} {
		lanes[len(lanes)-1].Answered = last
		text.Reset()
		New(&text, Style{}).Step(agent.Step{Target: orders, Kind: "invoke", Observations: obs, Lanes: lanes})
		if !strings.Contains(text.String(), want) {
			t.Errorf("callers take the last: %t\n%s", last, &text)
		}
	}
}

// A resolver that is asked by its address is named once.
func TestTheResolverIsNamedOnce(t *testing.T) {
	o := lookup(probes.ViaPrivateDNS, orders.NameOf(probes.ViaPrivateDNS), probes.Elsewhere, "10.9.9.9 from 10.0.0.2:53, TTL 60 s, not the endpoint's: 10.9.9.9")
	o.Resolver, o.Err = "10.0.0.2:53", errors.New("not the endpoint's: 10.9.9.9")
	r := one(agent.Step{Target: orders}, o)
	if want := "elsewhere: 10.9.9.9, TTL 60 s, not the endpoint's: 10.9.9.9"; r.text != want || r.who != "private-dns  by 10.0.0.2:53" {
		t.Errorf("%q: %q, want %q", r.who, r.text, want)
	}
}

// Interrupted, the report still says what was learned.
func TestInterrupted(t *testing.T) {
	var b strings.Builder
	r := New(&b, Style{})
	steps, round := broken()
	r.Step(steps[0])
	aborted := steps[1]
	aborted.Observations = []probes.Observation{on("connect", probes.ViaPrivateDNS, 1, probes.Aborted, 0, "")}
	r.Step(aborted)
	round.Findings, round.Verdict = nil, agent.Unknown
	if err := r.Finish([]agent.Round{round}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NXDOMAIN", "not done: interrupted", "– orders unknown:", "1 target: 1 unknown. 0 errors, 0 warnings"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestExplainAndSaved(t *testing.T) {
	var b strings.Builder
	if err := Explain(&b, silence, Style{}); err != nil {
		t.Fatal(err)
	}
	b.WriteString("=== saved\n")
	if err := Saved(&b, []says{"403 ForbiddenException \"Forbidden\""}, []probes.Finding{{Rule: silence, Certainty: probes.Possible}}, Style{}); err != nil {
		t.Fatal(err)
	}
	b.WriteString("=== nothing\n")
	if err := Saved(&b, []says{"200"}, nil, Style{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.txt", b.String())
}

// A disk that is full or a pipe that is closed is told once, at the end.
func TestWriteError(t *testing.T) {
	full := errors.New("no space left")
	r := New(failing{full}, Style{})
	steps, round := broken()
	for _, s := range steps {
		r.Step(s)
	}
	if err := r.Finish([]agent.Round{round}); !errors.Is(err, full) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		4200 * time.Nanosecond:    "4 µs",
		412 * time.Microsecond:    "0.41 ms",
		1234 * time.Microsecond:   "1.2 ms",
		35400 * time.Microsecond:  "35 ms",
		1234 * time.Millisecond:   "1.2 s",
		61500 * time.Millisecond:  "1m2s",
		9999999 * time.Nanosecond: "10.0 ms",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
