package metrics_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpcprobe/agent"
	"vpcprobe/agent/metrics"
	"vpcprobe/config"
	"vpcprobe/lab"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

// A target with one address and one name form has at most 60 series, with
// mutual TLS and all kinds of probe.
func TestBudget(t *testing.T) {
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(l.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var partners []*probes.Target
	for _, target := range loaded.Targets {
		if target.Name == "partners" {
			partners = append(partners, target)
		}
	}
	a, err := agent.New(partners, all.Kinds, l.System(), agent.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rounds, err := a.Check(t.Context(), nil, func(agent.Step) {})
	if err != nil || len(rounds) != 1 || rounds[0].Verdict != agent.Reachable {
		t.Fatalf("%v, %+v", err, rounds)
	}
	m := metrics.New(all.Kinds, metrics.Options{})
	m.Record(agent.Update{Round: &rounds[0], Fresh: slices.Collect(rounds[0].Evidence.All())})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	n := 0
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, `target="partners"`) {
			n++
		}
	}
	t.Logf("%d series", n)
	if n > 60 || n < 40 {
		t.Errorf("%d series; the budget is 60:\n%s", n, w.Body)
	}
}
