package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vpcprobe/agent"
	"vpcprobe/lab"
	"vpcprobe/probes"
)

// A journal is a log that a test reads while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A running agent is one as it is in production, in this process.
type running struct {
	t      *testing.T
	log    *journal
	url    string
	health string // address:port
	stop   context.CancelFunc
	done   chan error
}

// onFreePorts goes in front of a configuration under test.
const onFreePorts = "listen: 127.0.0.1:0\nhealth_listen: 127.0.0.1:0\n"

// launch serves a configuration file. It stops with the test, which fails if
// the service ended with an error.
func launch(t *testing.T, src source, sys probes.System, sinks ...agent.Sink) *running {
	t.Helper()
	loaded, err := src.load()
	if err != nil {
		t.Fatal(stays(err))
	}
	s := &running{t: t, log: &journal{}, done: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		s.done <- serve(ctx, daemon{config: loaded.Config, source: src, system: sys, log: log, sinks: sinks})
	}()
	t.Cleanup(func() { s.ends() })
	ready := regexp.MustCompile(`msg=listening address=(\S+) for="(metrics|the health)`)
	s.eventually("listening", func() bool {
		found := ready.FindAllStringSubmatch(s.log.String(), -1)
		for _, f := range found {
			if f[2] == "metrics" {
				s.url = "http://" + f[1]
			} else {
				s.health = f[1]
			}
		}
		return len(found) == 2
	})
	return s
}

// patience is how long a test waits for what must happen before it gives up.
// It guards against hanging; how long anything takes is not asserted.
const patience = 20 * time.Second

func (s *running) eventually(what string, f func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for: %s\n%s", what, s.log)
		}
		select {
		case err := <-s.done:
			s.done <- err
			s.t.Fatalf("the service ended while waiting for: %s: %v\n%s", what, err, s.log)
		default:
		}
	}
}

// ends stops the service, once, and fails the test if that was not clean.
func (s *running) ends() {
	s.t.Helper()
	s.stop()
	if s.done == nil {
		return
	}
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("the service ended with: %v", err)
		}
	case <-time.After(patience):
		s.t.Errorf("the service does not stop\n%s", s.log)
	}
	s.done = nil
}

// do sends a request and returns status and body.
func (s *running) do(method, path string, header ...string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// document is the JSON status, without details.
func (s *running) document() (d agent.Document) {
	s.t.Helper()
	code, text := s.do("GET", "/api/v1/status?brief")
	if err := json.Unmarshal([]byte(text), &d); err != nil || code != http.StatusOK {
		s.t.Fatalf("%d %v: %s", code, err, text)
	}
	return d
}

// names are the configured targets, sorted.
func (s *running) names() (names []string) {
	s.t.Helper()
	for _, t := range s.document().Targets {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

// metric is the value of a series, given as /metrics writes it, without the
// prefix; false if there is no such series.
func (s *running) metric(series string) (float64, bool) {
	s.t.Helper()
	code, text := s.do("GET", "/metrics")
	if code != http.StatusOK {
		s.t.Fatalf("%d: %s", code, text)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "vpcprobe_"+series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return v, true
		}
	}
	return 0, false
}

// walked waits until every target has been walked.
func (s *running) walked() {
	s.t.Helper()
	s.eventually("every target walked", func() bool {
		return !slices.ContainsFunc(s.document().Targets, func(t agent.TargetDocument) bool { return t.Started == nil })
	})
}

// startLab starts a lab that closes with the test.
func startLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// write writes a file and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A counting network counts what is dialed.
type counting struct {
	probes.Network
	mu    sync.Mutex
	dials []string
}

func (c *counting) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	c.dials = append(c.dials, address)
	c.mu.Unlock()
	return c.Network.DialContext(ctx, network, address)
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.dials)
}

// labSource is a configuration file with the targets of a lab and what is
// written before them.
func labSource(t *testing.T, l *lab.Lab, head string) source {
	t.Helper()
	config := l.Config()
	for _, key := range []string{"every: 1s\n", "timeout: 2s\n"} {
		if name, _, _ := strings.Cut(key, " "); strings.Contains("\n"+head, "\n"+name) {
			config = strings.Replace(config, key, "", 1)
		}
	}
	return source{path: write(t, t.TempDir(), "vpcprobe.yaml", onFreePorts+head+config)}
}

// No request makes the agent dial anything: not for a target that it knows,
// and not for one that the request names.
func TestEndpointsNeverProbe(t *testing.T) {
	l := startLab(t)
	sys := l.System()
	network := &counting{Network: sys.Network}
	sys.Network = network
	s := launch(t, labSource(t, l, "every: 1h\n"), sys)
	s.walked()
	before := network.count()
	for _, path := range []string{
		"/", "/metrics", "/api/v1/status", "/api/v1/status?target=orders", "/readyz?require=orders", "/healthz",
		"/probe?target=orders", "/probe?target=orders&module=invoke", "/probe?target=partners&module=trace",
		"/probe?target=127.0.0.1:22", "/probe?target=http://169.254.169.254/latest/meta-data/&module=invoke",
		"/probe?target=orders&module=http_2xx&hostname=169.254.169.254",
		"/readyz?require=169.254.169.254", "/api/v1/status?target=http://127.0.0.1/",
	} {
		s.do("GET", path)
		s.do("POST", path)
	}
	if code, text := s.do("GET", "/probe?target=orders"); code != http.StatusOK || !strings.Contains(text, "\nprobe_success 1\n") {
		t.Errorf("%d %s", code, text)
	}
	if after := network.count(); after != before {
		t.Errorf("%d dials because of requests: %v", after-before, network.dials[before:])
	}
}

// What /probe says of real targets is what blackbox_exporter's dashboards
// read: a fault shows where they look.
func TestProbeOfALab(t *testing.T) {
	l := startLab(t)
	l.Break(lab.CertificateExpiring) // a warning is no failure
	l.Break(lab.APIKeyDisabled)
	s := launch(t, labSource(t, l, "every: 1h\n"), l.System())
	s.walked()
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"target=billing", []string{"probe_success 0", "probe_http_status_code 403", "probe_http_version 1.1", "probe_http_ssl 1", "probe_ip_protocol 4",
			`probe_tls_version_info{version="TLS 1.3"} 1`}},
		{"target=billing&module=handshake", []string{"probe_success 1", "probe_ip_protocol 4"}},
		{"target=orders", []string{"probe_success 1", "probe_http_status_code 200"}},
		{"target=partners", []string{"probe_success 1", "probe_http_version 2", `probe_tls_version_info{version="TLS 1.2"} 1`}},
		{"target=partners&module=identify", []string{"probe_success 1"}},
		{"target=orders&module=resolve", []string{"probe_success 1", "probe_dns_query_succeeded 1"}},
	} {
		code, text := s.do("GET", "/probe?"+tt.query)
		for _, want := range tt.want {
			if code != http.StatusOK || !strings.Contains("\n"+text, "\n"+want+"\n") {
				t.Errorf("%s: %d: %s is not in\n%s", tt.query, code, want, text)
			}
		}
	}
	_, text := s.do("GET", "/probe?target=orders")
	expiry := regexp.MustCompile(`(?m)^probe_ssl_earliest_cert_expiry (\S+)$`).FindStringSubmatch(text)
	if expiry == nil {
		t.Fatalf("no expiry in\n%s", text)
	}
	at, err := strconv.ParseFloat(expiry[1], 64)
	if in := time.Until(time.Unix(int64(at), 0)); err != nil || in < 4*24*time.Hour || in > 6*24*time.Hour {
		t.Errorf("the certificate ends in %v, %v; want about five days", in, err)
	}
}
