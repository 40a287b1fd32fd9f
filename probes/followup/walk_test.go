package followup_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/config"
	"vpcprobe/lab"
	"vpcprobe/lab/apigateway"
	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/followup"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/invoke"
	"vpcprobe/probes/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A walker walks one target like the agent does, without schedule and pace.
type walker struct {
	seen   probes.Evidence
	probes map[string]probes.Probe
}

var onLane = []probes.Kind{connect.Kind, handshake.Kind, invoke.Kind}

func newWalker(t *testing.T, sys probes.System, target *probes.Target) *walker {
	t.Helper()
	w := &walker{seen: probes.Evidence{Target: target}, probes: map[string]probes.Probe{}}
	for _, k := range []probes.Kind{resolve.Kind, connect.Kind, identify.Kind, handshake.Kind, invoke.Kind, followup.Kind} {
		p, err := k.New(sys)(target)
		if err != nil {
			t.Fatalf("%s: %v", k.Name, err)
		}
		w.probes[k.Name] = p
	}
	return w
}

func (w *walker) target(k probes.Kind) {
	if p := w.probes[k.Name]; p != nil {
		w.seen = w.seen.With(k.Name, p.Probe(context.Background(), w.seen, nil))
	}
}

// round walks once, all kinds.
func (w *walker) round() []probes.Finding {
	w.target(resolve.Kind)
	w.seen.Lanes = resolve.Lanes(w.seen)
	var wg sync.WaitGroup
	perLane := make([]map[string][]probes.Observation, len(w.seen.Lanes))
	seen := w.seen
	for i, lane := range seen.Lanes {
		wg.Go(func() { perLane[i] = w.lane(seen, lane) })
	}
	w.target(identify.Kind)
	wg.Wait()
	for _, k := range onLane {
		var obs []probes.Observation
		for _, found := range perLane {
			obs = append(obs, found[k.Name]...)
		}
		w.seen = w.seen.With(k.Name, obs)
	}
	w.target(followup.Kind)
	return probes.Diagnose(slices.Concat(resolve.Rules, connect.Rules, identify.Rules, handshake.Rules, invoke.Rules, followup.Rules), w.seen)
}

func (w *walker) lane(seen probes.Evidence, lane probes.Lane) map[string][]probes.Observation {
	found := map[string][]probes.Observation{}
	line := &probes.Line{Lane: lane}
	defer line.Close()
	for i, k := range onLane {
		line.More = i < len(onLane)-1
		obs := w.probes[k.Name].Probe(context.Background(), seen, line)
		for j := range obs {
			obs[j].Kind, obs[j].Via, obs[j].Addr = k.Name, lane.Via, lane.Addr
		}
		found[k.Name] = obs
		seen = seen.With(k.Name, obs)
	}
	return found
}

func idsOf(found []probes.Finding) []string {
	ids := []string{}
	for _, f := range found {
		ids = append(ids, f.Rule.ID)
	}
	slices.Sort(ids)
	return ids
}

// startLab starts a lab and returns it with its targets by name.
func startLab(t *testing.T) (*lab.Lab, map[string]*probes.Target) {
	t.Helper()
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // so that it is restored
			os.Unsetenv(name)
		}
	}
	for _, v := range l.Environment(lab.SourceIMDS) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(l.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{Path: path, Kinds: []string{"resolve", "connect", "trace", "identify", "handshake", "invoke", "followup"}})
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]*probes.Target{}
	for _, target := range loaded.Targets {
		target.Timeout = 2 * time.Second
		targets[target.Name] = target
	}
	return l, targets
}

// Each scenario of these layers leads to exactly its findings, and to nothing
// else, with at most twelve follow-ups that are marked and carry nothing.
func TestScenarios(t *testing.T) {
	l, targets := startLab(t)
	for _, s := range lab.Scenarios() {
		if s.Layer != "invoke" && !strings.HasPrefix(s.ID, "client-cert") && s.ID != "strict-endpoint-access" {
			continue
		}
		t.Run(s.ID, func(t *testing.T) {
			target := targets[s.Target].Clone()
			if s.Edit != nil {
				s.Edit(target)
			}
			if s.Break != nil {
				l.Break(s.Break)
			}
			defer l.Heal()
			before := len(l.Requests())
			w := newWalker(t, l.System(), target)
			want := s.Want
			found := w.round()
			if got := idsOf(found); !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
				w.tell(t)
			}
			checkFollowUps(t, l.Requests()[min(before, len(l.Requests())):])
			if got := idsOf(w.round()); !slices.Equal(got, want) {
				t.Errorf("in the second round: got %v, want %v", got, want)
			}
		})
	}
}

// tell logs what was seen of requests.
func (w *walker) tell(t *testing.T) {
	for o := range w.seen.All() {
		if o.Kind == "invoke" || o.Kind == "handshake" || followup.Of(o) != nil {
			t.Logf("%s %s %v %s %v %v", o.Kind, o.Via, o.Addr, o.Outcome, o.Err, o.Detail)
		}
	}
}

func checkFollowUps(t *testing.T, sent []apigateway.Request) {
	t.Helper()
	marked, keys := 0, 0
	for _, r := range sent {
		if !strings.HasPrefix(r.UserAgent, "vpcprobe-followup/") {
			continue
		}
		marked++
		if r.APIKey {
			keys++
		}
	}
	if marked > 12 || keys > 1 {
		t.Errorf("%d follow-ups, %d of them with an API key", marked, keys)
	}
}

// A healthy lab gives no finding and no follow-up, on any target.
func TestHealthy(t *testing.T) {
	l, targets := startLab(t)
	for name, target := range targets {
		w := newWalker(t, l.System(), target)
		for range 5 {
			if found := w.round(); len(found) > 0 {
				t.Errorf("%s: %v", name, idsOf(found))
				w.tell(t)
			}
			if n := len(w.seen.Of("followup")); n > 0 {
				t.Errorf("%s: %d follow-ups", name, n)
			}
		}
	}
}

// Two name forms that are Forbidden for two reasons have the causes of both.
func TestEachNameFormIsAskedAbout(t *testing.T) {
	l, targets := startLab(t)
	target := targets["billing"].Clone()
	target.Via = []probes.Via{probes.ViaPrivateDNS, probes.ViaEndpoint}
	l.Break(lab.APIKeyDisabled)
	l.Break(lab.StrictAccess)
	w := newWalker(t, l.System(), target)
	want := []string{"api-key-rejected", "strict-endpoint-access", "waf-blocked"}
	if got := idsOf(w.round()); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
		w.tell(t)
	}
	checkFollowUps(t, l.Requests())
}

// That the walk tries the alias where it does not resolve says nothing of it.
func TestAliasThatDoesNotResolve(t *testing.T) {
	l, targets := startLab(t)
	for name, fault := range map[string]lab.Fault{"deleted": lab.APIDeleted, "public": lab.APIPublic} {
		before := len(l.Requests())
		l.Break(fault)
		w := newWalker(t, l.System(), targets["orders"])
		got := idsOf(w.round())
		if !slices.Contains(got, "api-not-found") || !slices.Contains(got, "public-api-captured") {
			t.Errorf("%s: %v", name, got)
			w.tell(t)
		}
		checkFollowUps(t, l.Requests()[before:])
		l.Heal()
	}
}

// A failure is asked about once, however long it lasts, and again when it
// comes back.
func TestOncePerEpisode(t *testing.T) {
	l, targets := startLab(t)
	target := targets["billing"]
	w := newWalker(t, l.System(), target)
	followUps := func() (sent int) {
		for _, r := range l.Requests() {
			if strings.HasPrefix(r.UserAgent, "vpcprobe-followup/") {
				sent++
			}
		}
		return sent
	}
	l.Break(lab.APIKeyDisabled)
	first := idsOf(w.round())
	asked := followUps()
	if asked == 0 {
		t.Fatal("nothing was asked")
	}
	counted := counts(w.seen)
	if counted != asked {
		t.Errorf("counted %d of %d follow-ups", counted, asked)
	}
	for range 3 {
		if again := idsOf(w.round()); !slices.Equal(again, first) {
			t.Errorf("%v became %v", first, again)
		}
	}
	if n := followUps(); n != asked {
		t.Errorf("asked again: %d instead of %d", n, asked)
	}
	if n := counts(w.seen); n != 0 {
		t.Errorf("%d follow-ups counted again", n)
	}
	l.Heal()
	if found := w.round(); len(found) > 0 || len(w.seen.Of("followup")) > 0 {
		t.Errorf("healed: %v, %d follow-ups", idsOf(found), len(w.seen.Of("followup")))
	}
	l.Break(lab.APIKeyDisabled)
	w.round()
	if n := followUps(); n != 2*asked {
		t.Errorf("the second failure: %d follow-ups in all, want %d", n, 2*asked)
	}
}

// counts is how many follow-ups the metric counts in the latest observations.
func counts(seen probes.Evidence) (n int) {
	for _, o := range seen.Of("followup") {
		n += len(o.Values)
	}
	return n
}

// Without follow-ups the same rules leave the wider set.
func TestOff(t *testing.T) {
	l, targets := startLab(t)
	target := targets["billing"].Clone()
	target.FollowUp = false
	l.Break(lab.APIKeyDisabled)
	want := []string{"api-key-rejected", "api-not-found", "default-endpoint-disabled", "host-not-recognized", "public-api-captured", "stage-not-found", "waf-blocked"}
	found := newWalker(t, l.System(), target).round()
	if got := idsOf(found); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, f := range found {
		if f.Certainty != probes.Possible {
			t.Errorf("%s is %v", f.Rule.ID, f.Certainty)
		}
	}
	for _, r := range l.Requests() {
		if strings.HasPrefix(r.UserAgent, "vpcprobe-followup/") {
			t.Fatal("a follow-up was sent")
		}
	}
}

// No follow-up of a method that may change something repeats it.
func TestUnsafeMethodsAreNotRepeated(t *testing.T) {
	l, targets := startLab(t)
	target := targets["billing"].Clone()
	target.Method, target.Body = "POST", "order"
	l.Break(lab.StageDeleted)
	newWalker(t, l.System(), target).round()
	asked := 0
	for _, r := range l.Requests() {
		if strings.HasPrefix(r.UserAgent, "vpcprobe-followup/") {
			asked++
			if r.Method != "GET" {
				t.Errorf("a follow-up %s %s", r.Method, r.Target)
			}
		}
	}
	if asked == 0 {
		t.Error("nothing was asked")
	}
}

// What surfaces of a denial names the log to read.
func TestLogsAreNamed(t *testing.T) {
	l, targets := startLab(t)
	l.Break(lab.EndpointPolicySilent)
	found := newWalker(t, l.System(), targets["orders"]).round()
	if len(found) != 1 {
		t.Fatalf("%v", idsOf(found))
	}
	id := invoke.Of(found[0].Because[0]).RequestID
	want := `aws logs filter-log-events --region eu-west-1 --log-group-name API-Gateway-Execution-Logs_a1b2c3d4e5/prod --filter-pattern '"` + id + `"'`
	if id == "" || !slices.Contains(found[0].Notes, want) {
		t.Errorf("the notes lack %s:\n%s", want, strings.Join(found[0].Notes, "\n"))
	}
}

// The control is asked once per failure, is counted, and gets nothing of the
// target: no signature, key, header, body or client certificate.
func TestControl(t *testing.T) {
	l, targets := startLab(t)
	for _, tt := range []struct {
		target string
		fault  lab.Fault
		asked  string // readings of P14
		counts int    // P0 and P14
	}{
		{"orders", lab.Faults(lab.AnsweredByFirewall, lab.ControlByFirewall), "the same answer", 2},
		{"billing", lab.AnsweredByFirewall, "passed", 1}, // a request with an API key is not repeated
		{"partners", lab.PartnersAnsweredByFirewall, "passed", 2},
		{"partners", lab.APIKeyDisabled, "", 0},
		{"catalog", lab.Faults(lab.AnsweredByFirewall, lab.NoEgress), "no answer in time", 2},
		{"orders", lab.AnsweredByBalancer, "", 0}, // it says who it is
		{"orders", lab.StageDeleted, "", -1},      // API Gateway answers: follow-ups, but no control
	} {
		t.Run(tt.target, func(t *testing.T) {
			target := targets[tt.target].Clone()
			target.Headers = []probes.Header{{Name: "X-Tenant", Value: "tenant-7"}, {Name: "X-Apigw-Api-Id", Value: "a1"}}
			target.Control = probes.Control{URL: fmt.Sprintf("https://%s:%d/ip?v=4", lab.ControlDomain, target.Port)}
			l.Break(tt.fault)
			defer l.Heal()
			before := len(l.Visits())
			w := newWalker(t, l.System(), target)
			w.round()
			sent := counts(w.seen)
			if tt.counts >= 0 && sent != tt.counts {
				t.Errorf("%d follow-ups are counted, want %d", sent, tt.counts)
			}
			w.round()
			if again := counts(w.seen); again != 0 {
				t.Errorf("%d follow-ups are counted again", again)
			}
			if got := readings(w.seen, "P14"); got != tt.asked {
				t.Errorf("the control reads %q, want %q", got, tt.asked)
				w.tell(t)
			}
			checkVisits(t, l.Visits()[before:], tt.asked != "" && tt.asked != "no answer in time")
		})
	}
}

// What went unanswered is asked again, ever more rarely, until it is answered.
func TestUnansweredIsAskedAgain(t *testing.T) {
	l, targets := startLab(t)
	target := targets["catalog"].Clone()
	target.Timeout = 300 * time.Millisecond
	target.Control = probes.Control{URL: fmt.Sprintf("https://%s:%d/ip?v=4", lab.ControlDomain, target.Port)}
	w := newWalker(t, l.System(), target)
	for i, step := range []struct {
		fault   lab.Fault
		later   time.Duration
		reading string
		asked   int
	}{
		{lab.Faults(lab.AnsweredByFirewall, lab.NoEgress), 0, "no answer in time", 2},
		{lab.AnsweredByFirewall, 4 * time.Minute, "no answer in time", 0},
		{lab.Faults(lab.AnsweredByFirewall, lab.NoEgress), time.Minute, "no answer in time", 2},
		{lab.AnsweredByFirewall, 9 * time.Minute, "no answer in time", 0},
		{lab.AnsweredByFirewall, time.Minute, "passed", 2},
		{lab.AnsweredByFirewall, 24 * time.Hour, "passed", 0},
	} {
		l.Heal()
		l.Break(step.fault)
		followup.Later(w.probes["followup"], step.later)
		w.round()
		if got, asked := readings(w.seen, "P14"), counts(w.seen); got != step.reading || asked != step.asked {
			t.Errorf("step %d: the control reads %q after %d requests, want %q after %d", i, got, asked, step.reading, step.asked)
		}
	}
}

// readings are what follow-ups of that id read, with commas between.
func readings(seen probes.Evidence, id string) string {
	var all []string
	for _, o := range seen.Of("followup") {
		if d := followup.Of(o); d != nil && d.Probe == id {
			all = append(all, string(d.Reading))
		}
	}
	return strings.Join(all, ", ")
}

func checkVisits(t *testing.T, visits []lab.Visit, once bool) {
	t.Helper()
	if once != (len(visits) == 1) || len(visits) > 1 {
		t.Fatalf("%d requests came to the control", len(visits))
	}
	for _, v := range visits {
		if v.Method != "GET" || v.Path != "/ip?v=4" || v.Length != 0 || v.Certificate {
			t.Errorf("the control got %+v", v)
		}
		if agent := v.Header.Get("User-Agent"); !strings.HasPrefix(agent, "vpcprobe-followup/") {
			t.Errorf("the control was told %q", agent)
		}
		v.Header.Del("User-Agent")
		v.Header.Del("Connection")
		v.Header.Del("Accept-Encoding")
		if len(v.Header) > 0 {
			t.Errorf("the control got the headers %v", v.Header)
		}
	}
}

// A control that cannot be is a mistake of the configuration.
func TestControlMustBeAPage(t *testing.T) {
	target := &probes.Target{Kind: probes.CustomDomain, Domain: "x.example", Region: "eu-west-1", Path: "/", Settings: &probes.Settings{Via: []probes.Via{probes.ViaDomain}, Method: "GET", FollowUp: true}}
	for _, control := range []probes.Control{{URL: "http://y.example/"}, {URL: "https://y.example/", Body: "("}} {
		target.Control = control
		if _, err := followup.Kind.New(probes.Host())(target); err == nil || !strings.HasPrefix(err.Error(), "control: ") {
			t.Errorf("%+v: %v", control, err)
		}
	}
}

// Without a control, an answer that is nobody's leads to no question: none
// would tell.
func TestStrangersAreNotAskedAboutThemselves(t *testing.T) {
	l, targets := startLab(t)
	l.Break(lab.AnsweredByFirewall)
	w := newWalker(t, l.System(), targets["orders"])
	if got, want := idsOf(w.round()), []string{"not-api-gateway", "proxy-in-the-way"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(w.seen.Of("followup")); n > 0 {
		t.Errorf("%d follow-ups", n)
	}
}
