// Package status serves what the agent knows over HTTP: a page for people,
// the document, the metrics, and the agent's own health.
//
// It only shows. No request makes the agent probe anything, nothing in a
// request reaches the network, and no secret is part of what is shown, because
// none is part of the evidence.
package status

import (
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"vpcprobe/agent"
)

// Options say what is served beside the status.
type Options struct {
	Metrics http.Handler // at /metrics; nothing if nil
	Probe   http.Handler // at /probe, for what expects blackbox_exporter; nothing if nil

	// Reload reads the configuration again, at POST /-/reload; that is refused
	// if nil. ConfigError says why the latest attempt to reload changed
	// nothing; nil if it did, or if nobody knows.
	Reload      func() error
	ConfigError func() error
}

// An Agent is what is shown.
type Agent interface {
	Status() []agent.Round
	StatusOf(target string) (agent.Round, bool)
	Document([]agent.Round) agent.Document
	Health(context.Context) error
}

// healthTimeout is how long the scheduler may take to answer.
const healthTimeout = 2 * time.Second

//go:embed page
var files embed.FS

// pages are the files of the page, by path.
var pages = map[string]struct{ file, contentType string }{
	"/{$}":         {"page/index.html", "text/html; charset=utf-8"},
	"/style.css":   {"page/style.css", "text/css; charset=utf-8"},
	"/page.js":     {"page/page.js", "text/javascript; charset=utf-8"},
	"/favicon.svg": {"page/favicon.svg", "image/svg+xml"},
}

type server struct {
	agent   Agent
	options Options
}

// New returns the handler of all endpoints: / (the page), /metrics, /probe,
// /healthz, /readyz and /api/v1/status, which answer GET and HEAD, and
// /-/reload, which answers POST.
func New(a Agent, o Options) http.Handler {
	if o.ConfigError == nil {
		o.ConfigError = func() error { return nil }
	}
	s := server{a, o}
	mux := http.NewServeMux()
	for path, p := range pages {
		content, _ := files.ReadFile(p.file) // embedded; a test serves each
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", p.contentType)
			w.Header().Set("Cache-Control", "no-cache")
			w.Write(content)
		})
	}
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	if o.Probe != nil {
		mux.Handle("GET /probe", o.Probe)
	}
	s.healthRoutes(mux)
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("POST /-/reload", s.reload)
	return secured(mux)
}

// NewHealth returns the handler of /healthz and /readyz alone, for the
// container runtime.
func NewHealth(a Agent) http.Handler {
	mux := http.NewServeMux()
	server{agent: a}.healthRoutes(mux)
	return secured(mux)
}

func (s server) healthRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
}

// reload reads the configuration again. The answer says whether that changed
// anything, and if not, why. Pages of other sites are refused: browsers say on
// whose behalf they ask, in Sec-Fetch-Site or, in the clear, in Origin.
func (s server) reload(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.options.Reload == nil:
		plain(w, http.StatusForbidden, "reloading by HTTP is off: set reload.http in the configuration, or send SIGHUP")
		return
	case http.NewCrossOriginProtection().Check(r) != nil:
		plain(w, http.StatusForbidden, "refused: the request comes from another site's page")
		return
	}
	if err := s.options.Reload(); err != nil {
		plain(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	plain(w, http.StatusOK, "reloaded")
}

// NewServer returns a server with strict limits: a slow or careless client
// costs little and ends soon.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // foreign connections that fail are no news of ours
	}
}

// policy lets the page load its own files and nothing else. Foreign text that
// slipped into the page could run no script and send nothing anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secured sets the headers that tell browsers to be careful, but for those that
// the web configuration has set to the user's liking.
func secured(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range [...][2]string{
			{"Content-Security-Policy", policy}, {"X-Content-Type-Options", "nosniff"}, {"X-Frame-Options", "DENY"},
			{"Referrer-Policy", "no-referrer"}, {"Cross-Origin-Resource-Policy", "same-origin"}, {"Cache-Control", "no-store"},
		} {
			if w.Header().Get(h[0]) == "" {
				w.Header().Set(h[0], h[1])
			}
		}
		h.ServeHTTP(w, r)
	})
}

// health says whether the agent itself is well; it never reflects targets.
func (s server) health(w http.ResponseWriter, r *http.Request) {
	if err := s.well(r.Context()); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ok")
}

func (s server) well(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return s.agent.Health(ctx)
}

// ready says whether the agent itself is ready, and, if targets are required,
// whether they are reachable.
func (s server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.well(r.Context()); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	rounds, missing := s.rounds(r.URL.Query()["require"])
	if missing != "" {
		plain(w, http.StatusNotFound, fmt.Sprintf("no target is called %q", missing))
		return
	}
	var lacking []string
	for _, round := range rounds {
		if round.Verdict != agent.Reachable {
			lacking = append(lacking, fmt.Sprintf("%s is %s: %s", round.Evidence.Target.Name, round.Verdict, round.Sentence()))
		}
	}
	if len(lacking) > 0 {
		plain(w, http.StatusServiceUnavailable, strings.Join(lacking, "\n"))
		return
	}
	plain(w, http.StatusOK, "ok")
}

// rounds returns the latest rounds of the named targets, or the first name
// that no target has.
func (s server) rounds(names []string) (rounds []agent.Round, missing string) {
	for _, name := range names {
		round, ok := s.agent.StatusOf(name)
		if !ok {
			return nil, name
		}
		rounds = append(rounds, round)
	}
	return rounds, ""
}

// status serves the document: of all targets, or of those that the query
// names; without what was observed, if it says brief. One target is rendered
// after the other: all of thousands at once would take more memory than all
// else that the agent does.
func (s server) status(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	rounds, missing := s.rounds(query["target"])
	if missing != "" {
		serveJSON(w, r, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("no target is called %q", missing)})
		return
	}
	if !query.Has("target") {
		rounds = s.agent.Status()
	}
	head := s.agent.Document(nil)
	head.Summary = agent.Summarize(rounds)
	if err := s.options.ConfigError(); err != nil {
		head.ConfigurationError = err.Error()
	}
	out, end := startJSON(w, r, http.StatusOK)
	defer end()
	var opening strings.Builder
	encoder(&opening).Encode(head)
	io.WriteString(out, strings.TrimSuffix(opening.String(), noTargets))
	targets := encoder(out)
	for i, round := range rounds {
		t := agent.NewTargetDocument(round)
		if query.Has("brief") {
			shorten(&t)
		}
		if i > 0 {
			io.WriteString(out, ",")
		}
		if targets.Encode(t) != nil {
			return // the client is gone
		}
	}
	io.WriteString(out, noTargets)
}

// noTargets is how a document without targets ends.
const noTargets = "]}\n"

// shorten takes out of a target's document what was observed.
func shorten(t *agent.TargetDocument) {
	t.Lanes, t.Observations = []agent.LaneDocument{}, []agent.ObservationDocument{}
	for i := range t.Findings {
		t.Findings[i].Because = []int{}
	}
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n")
}

func serveJSON(w http.ResponseWriter, r *http.Request, code int, v any) {
	out, end := startJSON(w, r, code)
	defer end()
	encoder(out).Encode(v) // fails only if the client is gone
}

// startJSON begins an answer in JSON, which goes to out until end is called.
func startJSON(w http.ResponseWriter, r *http.Request, code int) (out io.Writer, end func() error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding")
	if !acceptsGzip(r) {
		w.WriteHeader(code)
		return w, func() error { return nil }
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // this level is known to exist
	return z, z.Close
}

func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

func acceptsGzip(r *http.Request) bool {
	codings := strings.Split(r.Header.Get("Accept-Encoding"), ",")
	return slices.ContainsFunc(codings, func(c string) bool { return strings.TrimSpace(c) == "gzip" })
}
