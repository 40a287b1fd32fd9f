package status

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// An agentOf shows given rounds.
type agentOf struct {
	rounds []agent.Round
	ill    error
}

func (a agentOf) Status() []agent.Round        { return a.rounds }
func (a agentOf) Health(context.Context) error { return a.ill }
func (a agentOf) Document(r []agent.Round) agent.Document {
	return agent.NewDocument("v1", time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), r)
}

func (a agentOf) StatusOf(name string) (agent.Round, bool) {
	for _, r := range a.rounds {
		if r.Evidence.Target.Name == name {
			return r, true
		}
	}
	return agent.Round{}, false
}

func round(name string, v agent.Verdict, paths, working int) agent.Round {
	lane := probes.Lane{Via: probes.ViaDomain, ServerName: name}
	o := probes.Observation{Kind: "connect", Via: probes.ViaDomain, Outcome: probes.OK, Err: errors.New("<script>alert(1)</script>")}
	return agent.Round{
		Evidence: probes.Evidence{Target: &probes.Target{Name: name, Settings: &probes.Settings{}}, Lanes: []probes.Lane{lane}}.With("connect", []probes.Observation{o}),
		Findings: []probes.Finding{{Rule: &probes.Rule{ID: "x"}, Because: []probes.Observation{o}}},
		Verdict:  v, Started: time.Now(), Paths: paths, Working: working, Failing: paths - working,
	}
}

func two() agentOf {
	return agentOf{rounds: []agent.Round{round("orders", agent.Reachable, 2, 2), round("carts", agent.Unreachable, 3, 0)}}
}

func ask(a Agent, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "vpcprobe_x 1\n") })
	New(a, Options{Metrics: metrics}).ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEndpoints(t *testing.T) {
	ill := two()
	ill.ill = errors.New("the scheduler does not answer")
	for _, tt := range []struct {
		agent        Agent
		method, path string
		status       int
		contentType  string
		body         string // its beginning
	}{
		{two(), "GET", "/", 200, "text/html; charset=utf-8", "<!doctype html>"},
		{two(), "GET", "/style.css", 200, "text/css; charset=utf-8", ":root {"},
		{two(), "GET", "/page.js", 200, "text/javascript; charset=utf-8", "// Draws"},
		{two(), "GET", "/favicon.svg", 200, "image/svg+xml", "<svg"},
		{two(), "GET", "/metrics", 200, "", "vpcprobe_x 1\n"},
		{two(), "GET", "/healthz", 200, "text/plain; charset=utf-8", "ok\n"},
		{ill, "GET", "/healthz", 503, "text/plain; charset=utf-8", "the scheduler does not answer\n"},
		{two(), "GET", "/readyz", 200, "text/plain; charset=utf-8", "ok\n"},
		{ill, "GET", "/readyz?require=orders", 503, "text/plain; charset=utf-8", "the scheduler does not answer\n"},
		{two(), "GET", "/readyz?require=orders", 200, "text/plain; charset=utf-8", "ok\n"},
		{two(), "GET", "/readyz?require=orders&require=carts", 503, "text/plain; charset=utf-8", "carts is unreachable: none of 3 paths works\n"},
		{two(), "GET", "/readyz?require=cart", 404, "text/plain; charset=utf-8", "no target is called \"cart\"\n"},
		{two(), "GET", "/api/v1/status", 200, "application/json", `{"schema_version":1,`},
		{two(), "GET", "/api/v1/status?target=nobody", 404, "application/json", `{"error":"no target is called \"nobody\""}`},
		{two(), "GET", "/page/index.html", 404, "text/plain; charset=utf-8", "404"},
		{two(), "GET", "/api/v1/status/../../../etc/passwd", 307, "text/html; charset=utf-8", ""},
		{two(), "POST", "/api/v1/status", 405, "text/plain; charset=utf-8", "Method Not Allowed"},
		{two(), "DELETE", "/", 405, "text/plain; charset=utf-8", "Method Not Allowed"},
		{two(), "HEAD", "/healthz", 200, "text/plain; charset=utf-8", ""},
	} {
		r := ask(tt.agent, tt.method, tt.path)
		text := body(t, r)
		if r.StatusCode != tt.status || tt.contentType != "" && r.Header.Get("Content-Type") != tt.contentType || !strings.HasPrefix(text, tt.body) {
			t.Errorf("%s %s: %d %s %.60q", tt.method, tt.path, r.StatusCode, r.Header.Get("Content-Type"), text)
		}
		if got := r.Header.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: policy %q", tt.path, got)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may guess the type", tt.path)
		}
	}
}

// What the web configuration sets before (package web) is the user's choice.
func TestHeadersThatAreSetStay(t *testing.T) {
	for name, value := range map[string]string{
		"X-Frame-Options": "sameorigin", "Content-Security-Policy": "frame-ancestors https://grafana.example.com",
	} {
		w := httptest.NewRecorder()
		w.Header().Set(name, value)
		New(two(), Options{}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Result().Header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// A sidecar that waits for a target must not be let through by a target that
// was never walked.
func TestReadyBeforeTheFirstWalk(t *testing.T) {
	never := agentOf{rounds: []agent.Round{{Evidence: probes.Evidence{Target: &probes.Target{Name: "orders", Settings: &probes.Settings{}}}, Verdict: agent.Unknown}}}
	r := ask(never, "GET", "/readyz?require=orders")
	if got := body(t, r); r.StatusCode != 503 || got != "orders is unknown: not walked yet\n" {
		t.Errorf("%d %q", r.StatusCode, got)
	}
	if r := ask(never, "GET", "/readyz"); r.StatusCode != 200 {
		t.Errorf("the agent itself is ready, but says %d", r.StatusCode)
	}
}

func document(t *testing.T, r *http.Response) agent.Document {
	t.Helper()
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		in = z
	}
	var d agent.Document
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStatus(t *testing.T) {
	names := func(d agent.Document) string {
		var n []string
		for _, t := range d.Targets {
			n = append(n, t.Name)
		}
		return strings.Join(n, " ")
	}
	full := document(t, ask(two(), "GET", "/api/v1/status"))
	if got := names(full); got != "orders carts" || len(full.Targets[0].Observations) != 1 || len(full.Targets[0].Lanes) != 1 {
		t.Errorf("%+v", full)
	}
	if diff := cmp.Diff(full, document(t, ask(two(), "GET", "/api/v1/status", "Accept-Encoding", "deflate, gzip")), cmp.FilterPath(func(p cmp.Path) bool {
		return strings.HasSuffix(p.String(), "Started") || strings.HasSuffix(p.String(), "Since")
	}, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	if got := names(document(t, ask(two(), "GET", "/api/v1/status?target=carts"))); got != "carts" {
		t.Error(got)
	}
	brief := document(t, ask(two(), "GET", "/api/v1/status?brief"))
	if len(brief.Targets) != 2 || brief.Targets[1].Findings[0].ID != "x" || len(brief.Targets[0].Observations)+len(brief.Targets[0].Lanes)+len(brief.Targets[1].Findings[0].Because) != 0 {
		t.Errorf("%+v", brief)
	}
}

// A meter is a client that looks, while it is being answered, how much memory
// is in use.
type meter struct {
	header http.Header
	size   int
	writes int
	most   uint64
}

func (m *meter) Header() http.Header { return m.header }
func (m *meter) WriteHeader(int)     {}
func (m *meter) Write(b []byte) (int, error) {
	if m.writes%100 == 0 {
		m.most = max(m.most, heapInUse())
	}
	m.size, m.writes = m.size+len(b), m.writes+1
	return len(b), nil
}

func heapInUse() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// Whoever asks for the status of thousands of targets does not make the agent
// hold what it says of all of them.
func TestStatusOfManyTargets(t *testing.T) {
	var many agentOf
	for i := range 2000 {
		r := round(fmt.Sprintf("target-%d", i), agent.Unreachable, 4, 0)
		var obs []probes.Observation
		for range 20 {
			obs = append(obs, probes.Observation{Outcome: probes.Timeout, Err: errors.New(strings.Repeat("x", 100)), Detail: &struct{ Text string }{"y"}})
		}
		r.Evidence = r.Evidence.With("connect", obs)
		many.rounds = append(many.rounds, r)
	}
	for _, query := range []string{"", "?brief"} {
		before, m := heapInUse(), &meter{header: http.Header{}}
		New(many, Options{}).ServeHTTP(m, httptest.NewRequest("GET", "/api/v1/status"+query, nil))
		if took := int(m.most) - int(before); took > 1<<20 {
			t.Errorf("%q: %d kB are in use to say %d kB", query, took>>10, m.size>>10)
		}
	}
	runtime.KeepAlive(many)
}

// The page's own policy forbids what would let foreign text act: scripts and
// styles within the markup, and markup made of strings.
func TestPageKeepsItsPolicy(t *testing.T) {
	html, script := page(t, "index.html"), page(t, "page.js")
	for _, bad := range []string{`<style`, ` style=`, ` on\w+=`, `javascript:`, `<script(?:[^>]*)>[^<]`, `https?://`} {
		if m := regexp.MustCompile(bad).FindString(html); m != "" {
			t.Errorf("index.html holds %q", m)
		}
	}
	for _, bad := range []string{`innerHTML`, `outerHTML`, `insertAdjacentHTML`, `document\.write`, `\beval\b`, `new Function`, `\.style\b`, `DOMParser`, `https?://`, `srcdoc`} {
		if m := regexp.MustCompile(bad).FindString(script); m != "" {
			t.Errorf("page.js holds %q", m)
		}
	}
	if !strings.Contains(html, "<noscript>") || !strings.Contains(html, `src="page.js"`) || !strings.Contains(html, `href="style.css"`) {
		t.Error("the page lacks its parts")
	}
}

// Elements that the script looks up exist, and every file is served.
func TestPageIsWhole(t *testing.T) {
	html, script := page(t, "index.html"), page(t, "page.js")
	ids := regexp.MustCompile(`\$\("(\w+)"\)`).FindAllStringSubmatch(script, -1)
	for _, id := range ids {
		if !strings.Contains(html, `id="`+id[1]+`"`) {
			t.Errorf("the script looks for %q, which is not there", id[1])
		}
	}
	if len(ids) < 5 {
		t.Errorf("only %d look-ups found", len(ids))
	}
	served := map[string]bool{}
	for _, p := range pages {
		served[p.file] = true
	}
	err := fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !served[path] {
			t.Errorf("%s is not served", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := files.ReadFile("page/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every field that the script reads of the document exists.
func TestPageReadsTheDocument(t *testing.T) {
	script := page(t, "page.js")
	var doc map[string]any
	b, err := json.Marshal(agent.NewDocument("v1", time.Now(), two().rounds))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	target := doc["targets"].([]any)[1].(map[string]any)
	finding := target["findings"].([]any)[0].(map[string]any)
	for _, group := range []struct {
		variable string
		fields   map[string]any
		optional string
	}{
		{"t", target, ""},
		{"f", finding, " notes expected "},
		{"lane", target["lanes"].([]any)[0].(map[string]any), ""},
	} {
		found := regexp.MustCompile(`\b`+group.variable+`\.(\w+)`).FindAllStringSubmatch(script, -1)
		for _, m := range found {
			if _, ok := group.fields[m[1]]; !ok && !strings.Contains(group.optional, " "+m[1]+" ") {
				t.Errorf("the script reads %s, which the document lacks", m[0])
			}
		}
		if len(found) < 3 {
			t.Errorf("only %d fields of %s found", len(found), group.variable)
		}
	}
}

func TestServerIsStrict(t *testing.T) {
	s := NewServer(http.NotFoundHandler())
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("%+v", s)
	}
}

// A real agent is well while it runs, and serves what it learns.
func TestARunningAgent(t *testing.T) {
	k := probes.Kind{
		Name: "resolve", Lanes: func(probes.Evidence) []probes.Lane { return nil },
		New: func(probes.System) probes.Constructor {
			return func(*probes.Target) (probes.Probe, error) { return well{}, nil }
		},
	}
	a, err := agent.New([]*probes.Target{{Name: "orders", Settings: &probes.Settings{}}}, []probes.Kind{k}, probes.System{}, agent.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r := ask(a, "GET", "/api/v1/status"); document(t, r).Targets[0].Sentence != "not walked yet" {
		t.Error("walked before it ran")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, walked := make(chan struct{}), make(chan struct{}, 1)
	go func() { a.Run(ctx, sink(walked)); close(ended) }()
	<-walked
	if r := ask(a, "GET", "/readyz?require=orders"); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, body(t, r))
	}
	if d := document(t, ask(a, "GET", "/api/v1/status?target=orders")); d.Targets[0].Verdict != agent.Reachable {
		t.Errorf("%+v", d)
	}
	cancel()
	<-ended
}

type well struct{}

func (well) Probe(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
	return []probes.Observation{{Outcome: probes.OK}}
}

type sink chan<- struct{}

func (s sink) Record(agent.Update) { s <- struct{}{} }
